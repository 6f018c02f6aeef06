"""What a reader has chosen: the address of a page is its whole state.

Default values are left out of an address. A name or a value that is not known is taken out with a sentence, so that an
old link still opens.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Literal, cast
from urllib.parse import urlencode

from marts.compute.versions import month_after
from marts.dashboard import Dashboard

Compare = Literal["before", "month", "year", "none"]
"""month: the same days of the month before; reports only."""
COMPARES: Mapping[str, str] = {"before": "period before", "year": "year before", "none": "nothing"}
FROM, TO, COMPARE, PINNED = "from", "to", "compare", "as_of_run"
LONGEST = 3660
"""Days of a range, at most: ten years."""


@dataclass(frozen=True)
class Bounds:
    """The days that a publication has cells of."""

    first: date
    last: date
    """as_of: cells end here."""

    @property
    def default(self) -> "Range":
        """Return the quarter of as_of, up to it."""
        start = self.last.replace(month=(self.last.month - 1) // 3 * 3 + 1, day=1)
        return Range(max(start, self.first), self.last)


@dataclass(frozen=True)
class Range:
    """Days from the first to the last."""

    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def months(self) -> list[str]:
        """Return its months, YYYY-MM."""
        months, day = [], self.first.replace(day=1)
        while day <= self.last:
            months.append(f"{day:%Y-%m}")
            day = month_after(day)
        return months

    def is_of_whole_months(self, as_of: date) -> bool:
        """Return whether it has whole months, the last one up to as_of."""
        after = self.last + timedelta(days=1)
        return self.first.day == 1 and (after.day == 1 or self.last == as_of)

    def with_days_before(self, count: int) -> "Range":
        return Range(self.first - timedelta(days=count), self.last)

    def before(self, compare: Compare) -> "Range | None":
        """Return the days that it is compared with: as many before it, or the same of the year before.

        Whole months are compared with as many whole months: December with November, not with 31 days.
        """
        if compare == "year":
            return Range(_a_year_before(self.first), _a_year_before(self.last))
        if compare == "none":
            return None
        if compare == "month":
            return Range(*(_a_month_before(day) for day in (self.first, self.last)))
        after = self.last + timedelta(days=1)
        if self.first.day == 1 and after.day == 1:
            months = (after.year - self.first.year) * 12 + after.month - self.first.month
            return Range(month_after(self.first, -months), self.first - timedelta(days=1))
        return Range(self.first - timedelta(days=self.days), self.first - timedelta(days=1))


@dataclass(frozen=True)
class Choice:
    """A range of days, values of dimensions, and what to compare with."""

    range: Range
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values by dimension, in the order of the dashboard; a dimension without any is left out."""
    compare: Compare = "before"
    pinned: str = ""
    """The run whose publication the address asks for."""

    @property
    def compared(self) -> Range | None:
        return self.range.before(self.compare)

    def values(self, dimension: str) -> tuple[str, ...]:
        return self.chosen.get(dimension, ())

    def with_values(self, dimension: str, values: Iterable[str]) -> "Choice":
        """Return it with other values of a dimension; none takes it out."""
        chosen = {**self.chosen, dimension: tuple(values)}
        return replace(self, chosen={name: own for name, own in chosen.items() if own})

    def query(self, bounds: Bounds) -> str:
        """Return the query string of an address: defaults are left out."""
        pairs: list[tuple[str, str]] = []
        if self.range != bounds.default:
            pairs += [(FROM, self.range.first.isoformat()), (TO, self.range.last.isoformat())]
        pairs += [(name, value) for name, values in self.chosen.items() for value in values]
        pairs += [(COMPARE, self.compare)] if self.compare != "before" else []
        pairs += [(PINNED, self.pinned)] if self.pinned else []
        return urlencode(pairs)


def parse(pairs: Sequence[tuple[str, str]], dashboard: Dashboard, bounds: Bounds) -> tuple[Choice, list[str]]:
    """Read the names and values of an address. Return the choice, and a sentence for each that is taken out."""
    dropped: list[str] = []
    days, compare, pinned = dict[str, date](), "before", ""
    chosen: dict[str, list[str]] = {name: [] for name in dashboard.dimensions}
    for name, value in pairs:
        if not value:
            continue
        if name in (FROM, TO):
            day = day_of(value)
            days |= {name: day} if day else {}
            dropped += [] if day else [f"{name} is not a date: taken out."]
        elif name == COMPARE:
            compare = value if value in COMPARES else compare
            dropped += [] if value in COMPARES else ["The comparison is not known: taken out."]
        elif name == PINNED:
            pinned = value
        elif name in chosen:
            chosen[name] += [value] if value not in chosen[name] else []
        else:
            dropped.append("The address has a name that is not known: taken out.")
    range_, more = _range(days, bounds)
    own = {name: tuple(values) for name, values in chosen.items() if values}
    return Choice(range_, own, cast(Compare, compare), pinned), [*dict.fromkeys([*dropped, *more])]


def _range(days: Mapping[str, date], bounds: Bounds) -> tuple[Range, list[str]]:
    """Return the days between two dates, within what there is."""
    if not days:
        return bounds.default, []
    first, last = days.get(FROM, bounds.first), days.get(TO, bounds.last)
    first, last, remarks = in_order(first, last)
    inside = Range(min(max(first, bounds.first), bounds.last), max(min(last, bounds.last), bounds.first))
    if (inside.first, inside.last) != (first, last):
        remarks.append(f"There are figures from {bounds.first} to {bounds.last}: the dates are cut to these.")
    if inside.days > LONGEST:
        inside = Range(inside.last - timedelta(days=LONGEST - 1), inside.last)
        remarks.append(f"A range has at most {LONGEST:,} days: the last ones are shown.")
    return inside, remarks


def in_order(first: date, last: date) -> tuple[date, date, list[str]]:
    """Return two days in order, and a sentence if they were not."""
    return (last, first, ["The dates were the wrong way round."]) if first > last else (first, last, [])


def day_of(text: str) -> date | None:
    """Return the day that a text says; None if it is no date."""
    try:
        return date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        return None


def _a_month_before(day: date) -> date:
    """Return the same day of the month before, or its last one; of the last day of a month the last one."""
    end, is_last = day.replace(day=1) - timedelta(days=1), (day + timedelta(days=1)).day == 1
    return end if is_last else end.replace(day=min(day.day, end.day))


def _a_year_before(day: date) -> date:
    """Return the same day of the year before; of the last day of February the last one."""
    after = day + timedelta(days=1)
    if (after.month, after.day) == (3, 1):
        return after.replace(year=after.year - 1) - timedelta(days=1)
    return day.replace(year=day.year - 1)
