"""Find the months whose total is unusual for their season."""

from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from statistics import median

from pydantic import BaseModel, ConfigDict

_BEFORE = 12
"""Number of preceding months whose year-to-year change defines the usual total."""
_ENOUGH = 3
"""Minimum number of preceding months with a year-to-year change; with fewer, a month is not judged."""
_SIGMAS = 3
_MAD = Decimal("1.4826")
"""Median absolute deviation to standard deviation of a normal distribution (Rousseeuw and Croux, 1993)."""
_LEAST = Decimal("0.2")
"""Minimum deviation of an unusual month, as a share of the usual total, however steady the other months were."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class MonthTotal(_Part):
    """Money of one month, and a count beside it."""

    month: str
    total: Decimal
    count: int = 0


class UnusualMonth(_Part):
    """A month whose total deviates from the usual one."""

    month: str
    total: Decimal
    usual: Decimal
    """Total a year before, times the median year-to-year change of the preceding months."""


def unusual_months(months: Sequence[MonthTotal], as_of: date) -> tuple[UnusualMonth, ...]:
    """Return the months whose total is unusual for their season.

    The usual total is that of the same month a year before, times the median year-to-year change of up to 12
    preceding months. A month is unusual if it deviates by more than 3 robust sigma of these changes (1.4826 times their
    median absolute deviation) and by more than a fifth of the usual total. A month is not judged if it continues
    after as_of, has no month a year before with a total above 0, or has fewer than 3 changes to compare with.
    """
    results = []
    for month, year_before, changes in _judged(months, as_of):
        change = median(changes)
        sigma = _MAD * median([abs(value - change) for value in changes])
        usual = year_before * change
        if abs(month.total - usual) > max(_SIGMAS * sigma * year_before, abs(usual) * _LEAST):
            results.append(UnusualMonth(month=month.month, total=month.total, usual=_cents(usual)))
    return tuple(results)


def judged_months(months: Sequence[MonthTotal], as_of: date) -> list[str]:
    """Return the months with enough history for ``unusual_months``."""
    return [month.month for month, _, _ in _judged(months, as_of)]


def _judged(months: Sequence[MonthTotal], as_of: date) -> Iterator[tuple[MonthTotal, Decimal, list[Decimal]]]:
    """Yield each month that can be judged, the total a year before, and the changes of the preceding months."""
    totals = {month.month: month.total for month in months}
    changes: list[Decimal] = []
    for month in months:
        year_before = totals.get(f"{int(month.month[:4]) - 1:04d}{month.month[4:]}", Decimal(0))
        if year_before <= 0 or goes_on(month.month, as_of):
            continue
        if len(changes) >= _ENOUGH:
            yield month, year_before, changes[-_BEFORE:]
        changes.append(month.total / year_before)


def goes_on(month: str, as_of: date) -> bool:
    """Return whether a month continues after a day."""
    now = as_of.isoformat()[:7]
    return month > now or (month == now and as_of.day < monthrange(as_of.year, as_of.month)[1])


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"))
