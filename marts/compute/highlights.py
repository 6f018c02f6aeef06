"""Headline figures from the rows of the marts: revenue, segments, the best customers, the leaders.

Figures are computed per part of a mart. Parts are merged in any order, without the rows.
"""

from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, FieldSerializationInfo, field_serializer

from marts.pack import Mart
from marts.privacy.masking import mask_shape

BEST = 10
"""Number of customers listed."""
MOST_LEADERS = 200
"""Maximum number of leaders listed: those with the highest sales."""
_BEFORE = 12
"""Number of preceding months whose year-to-year change defines the usual revenue."""
_ENOUGH = 3
"""Minimum number of preceding months with a year-to-year change; with fewer, a month is not judged."""
_SIGMAS = 3
_MAD = Decimal("1.4826")
"""Median absolute deviation to standard deviation of a normal distribution (Rousseeuw and Croux, 1993)."""
_LEAST = Decimal("0.2")
"""Minimum deviation of an unusual month, as a share of the usual revenue, however steady the other months were."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Person(_Part):
    """A person, named on the page of a run and where the marts' rows are stored; masked in reports."""

    full_name: str

    @field_serializer("full_name")
    def _hidden(self, name: str, info: FieldSerializationInfo) -> str:
        return name if (info.context or {}).get("names") else mask_shape(name)


class MonthFigures(_Part):
    """Sales of one month, net of returns. ``purchases`` counts a basket once per sales person."""

    month: str
    total_sales: Decimal
    purchases: int = 0


class CustomerGroup(_Part):
    """Customers of a segment, active or not."""

    segment: str
    inactive: bool
    customers: int
    lifetime_value: Decimal


class BestCustomer(_Person):
    """One of the customers with the highest lifetime value."""

    customer_id: int
    lifetime_value: Decimal
    purchases: int
    last_purchase_month: str | None
    segment: str


class Leader(_Person):
    """The sales person with the highest sales of a store in the last month; in a tie, one entry each."""

    store_id: int
    sales_person_id: int
    total_sales: Decimal
    incentive: Decimal
    growth: Decimal | None
    """Percent change against the previous calendar month."""
    contribution: Decimal | None
    """Percent of the store's sales of the month."""


class Figures(_Part):
    """Headline figures of a mart, or of a part of it. Money is exact."""

    months: tuple[MonthFigures, ...] = ()
    """In chronological order."""
    groups: tuple[CustomerGroup, ...] = ()
    best: tuple[BestCustomer, ...] = ()
    leaders: tuple[Leader, ...] = ()
    """Leaders of the last month, by store."""
    leaders_left_out: int = 0
    newest_purchase: date | None = None

    @property
    def last_month(self) -> str:
        return self.months[-1].month if self.months else ""


_NOTHING = Figures()


class UnusualMonth(_Part):
    """A month whose revenue deviates from the usual revenue."""

    month: str
    total_sales: Decimal
    usual: Decimal
    """Revenue a year before, times the median year-to-year change of the preceding months."""


def figures_of(mart: Mart, rows: pa.Table, newest: date | None) -> Figures:
    """Compute the figures of some rows of a mart; the rows are sorted by its key. Other marts have none yet."""
    match mart.table:
        case "customers_data_mart":
            return _of_customers(rows, newest)
        case "sales_team_data_mart":
            return _of_sales_team(rows)
        case _:
            return Figures(newest_purchase=newest)


def together(parts: Iterable[Figures]) -> Figures:
    """Merge the figures of several parts of one mart. The sales team mart has one part."""
    known = list(parts)
    months: dict[str, Decimal] = defaultdict(Decimal)
    purchases: Counter[str] = Counter()
    customers: Counter[tuple[str, bool]] = Counter()
    values: dict[tuple[str, bool], Decimal] = defaultdict(Decimal)
    for part in known:
        for month in part.months:
            months[month.month] += month.total_sales
            purchases[month.month] += month.purchases
        for group in part.groups:
            key = (group.segment, group.inactive)
            customers[key] += group.customers
            values[key] += group.lifetime_value
    best = sorted((item for part in known for item in part.best), key=_place)
    newest = [part.newest_purchase for part in known if part.newest_purchase]
    return Figures(
        months=tuple(MonthFigures(month=m, total_sales=months[m], purchases=purchases[m]) for m in sorted(months)),
        groups=tuple(
            CustomerGroup(segment=s, inactive=i, customers=customers[s, i], lifetime_value=values[s, i])
            for s, i in sorted(customers, key=lambda key: (-customers[key], key))
        ),
        best=tuple(best[:BEST]),
        leaders=tuple(leader for part in known for leader in part.leaders),
        leaders_left_out=sum(part.leaders_left_out for part in known),
        newest_purchase=max(newest) if newest else None,
    )


def exchanged(
    before: Figures,
    ids: np.ndarray,
    were: Figures,
    are: Figures,
    months: Sequence[tuple[date, int]],
    newest: date | None,
) -> Figures | None:
    """Update the figures of all customers after some of them (``ids``) changed.

    ``were`` and ``are`` are the old and new figures of the changed customers, ``months`` the cents per month of all
    customers. Return None if the best customers cannot be derived: a changed customer dropped out of the list, and the
    one that moves up is not in ``before``.
    """
    groups = {(group.segment, group.inactive): (group.customers, group.lifetime_value) for group in before.groups}
    for sign, part in ((-1, were), (1, are)):
        for group in part.groups:
            key = (group.segment, group.inactive)
            customers, value = groups.get(key, (0, Decimal(0)))
            groups[key] = (customers + sign * group.customers, value + sign * group.lifetime_value)
    left = [item for item in before.best if item.customer_id not in ids]
    best = sorted([*left, *are.best], key=_place)[:BEST]
    if len(before.best) == BEST and (len(best) < BEST or _place(best[-1]) > _place(before.best[-1])):
        return None
    return Figures(
        months=tuple(MonthFigures(month=f"{m:%Y-%m}", total_sales=Decimal(cents).scaleb(-2)) for m, cents in months),
        groups=tuple(
            CustomerGroup(segment=segment, inactive=inactive, customers=customers, lifetime_value=value)
            for (segment, inactive), (customers, value) in groups.items()
            if customers
        ),
        best=tuple(best),
        newest_purchase=newest,
    )


def _place(item: BestCustomer) -> tuple[Decimal, int]:
    return -item.lifetime_value, item.customer_id


def of_both(customers: Figures, sales_team: Figures = _NOTHING, *_: Figures) -> Figures:
    """Merge the figures of both marts. The sales team's months contain purchases and the sales to erased people."""
    return customers.model_copy(
        update={
            "months": sales_team.months or customers.months,
            "leaders": sales_team.leaders,
            "leaders_left_out": sales_team.leaders_left_out,
        }
    )


def unusual_months(months: Sequence[MonthFigures], as_of: date) -> tuple[UnusualMonth, ...]:
    """Return the months whose revenue is unusual for their season.

    The usual revenue is that of the same month a year before, times the median year-to-year change of up to 12
    preceding months. A month is unusual if it deviates by more than 3 robust sigma of these changes (1.4826 times their
    median absolute deviation) and by more than a fifth of the usual revenue. A month is not judged if it continues
    after as_of, has no month a year before with a revenue above 0, or has fewer than 3 changes to compare with.
    """
    results = []
    for month, year_before, changes in _judged(months, as_of):
        change = median(changes)
        sigma = _MAD * median([abs(value - change) for value in changes])
        usual = year_before * change
        if abs(month.total_sales - usual) > max(_SIGMAS * sigma * year_before, abs(usual) * _LEAST):
            results.append(UnusualMonth(month=month.month, total_sales=month.total_sales, usual=_cents(usual)))
    return tuple(results)


def judged_months(months: Sequence[MonthFigures], as_of: date) -> list[str]:
    """Return the months with enough history for ``unusual_months``."""
    return [month.month for month, _, _ in _judged(months, as_of)]


def _judged(months: Sequence[MonthFigures], as_of: date) -> Iterator[tuple[MonthFigures, Decimal, list[Decimal]]]:
    """Yield each month that can be judged, the revenue a year before, and the changes of the preceding months."""
    revenue = {month.month: month.total_sales for month in months}
    changes: list[Decimal] = []
    for month in months:
        year_before = revenue.get(f"{int(month.month[:4]) - 1:04d}{month.month[4:]}", Decimal(0))
        if year_before <= 0 or goes_on(month.month, as_of):
            continue
        if len(changes) >= _ENOUGH:
            yield month, year_before, changes[-_BEFORE:]
        changes.append(month.total_sales / year_before)


def goes_on(month: str, as_of: date) -> bool:
    """Return whether a month continues after a day."""
    now = as_of.isoformat()[:7]
    return month > now or (month == now and as_of.day < monthrange(as_of.year, as_of.month)[1])


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"))


def _of_customers(rows: pa.Table, newest: date | None) -> Figures:
    ids = rows["customer_id"].combine_chunks()
    first = pa.array([True] * min(len(ids), 1), pa.bool_())
    if len(ids) > 1:
        first = pa.concat_arrays([first, pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))])
    people = rows.filter(first)
    groups = people.group_by(["customer_segment", "inactive_status"], use_threads=False).aggregate(
        [("customer_id", "count"), ("customer_lifetime_value", "sum")]
    )
    order = [("customer_lifetime_value", "descending"), ("customer_id", "ascending")]
    best = people.take(pc.sort_indices(people, order)[:BEST])
    return Figures(
        months=_months(rows, "sales_date_month"),
        groups=tuple(
            CustomerGroup(
                segment=row["customer_segment"],
                inactive=row["inactive_status"],
                customers=row["customer_id_count"],
                lifetime_value=row["customer_lifetime_value_sum"],
            )
            for row in groups.to_pylist()
        ),
        best=tuple(
            BestCustomer(
                customer_id=row["customer_id"],
                full_name=row["full_name"],
                lifetime_value=row["customer_lifetime_value"],
                purchases=row["purchase_frequency"],
                last_purchase_month=row["last_purchase_month"],
                segment=row["customer_segment"],
            )
            for row in best.to_pylist()
        ),
        newest_purchase=newest,
    )


def _of_sales_team(rows: pa.Table) -> Figures:
    months = _months(rows, "sales_month", "total_transactions")
    last = months[-1].month if months else ""
    chosen = pc.and_(pc.equal(rows["sales_month"], last), pc.equal(rows["top_performance_rank"], 1))
    leaders = [
        Leader(
            store_id=row["store_id"],
            sales_person_id=row["sales_person_id"],
            full_name=row["full_name"],
            total_sales=row["total_sales"],
            incentive=row["incentive"],
            growth=row["sales_growth_rate"],
            contribution=row["sales_contribution_percentage"],
        )
        for row in rows.filter(chosen).to_pylist()
    ]
    named = sorted(leaders, key=lambda item: (-item.total_sales, item.store_id, item.sales_person_id))[:MOST_LEADERS]
    return Figures(
        months=months,
        leaders=tuple(sorted(named, key=lambda item: (item.store_id, item.sales_person_id))),
        leaders_left_out=len(leaders) - len(named),
    )


def _months(rows: pa.Table, name: str, purchases: str = "") -> tuple[MonthFigures, ...]:
    wanted = [("total_sales", "sum"), *([(purchases, "sum")] if purchases else [])]
    sums = rows.group_by(name, use_threads=False).aggregate(wanted)
    results = [
        MonthFigures(
            month=row[name],
            total_sales=row["total_sales_sum"],
            purchases=row[f"{purchases}_sum"] if purchases else 0,
        )
        for row in sums.to_pylist()
    ]
    return tuple(sorted(results, key=lambda item: item.month))
