"""Charts by day: lines, and the axes that they are drawn between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from jobs.adapters.charts.drawing import between

DAILY = "days"
"""Name of the rows of days."""
PARAMETERS = ("low", "high", "first", "last")
"""Ends of the axes of a chart by day: values, and milliseconds."""
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TICKS = 5
"""Days that an axis names, about."""
_LONG = 200
"""Days from which an axis names months."""


@dataclass(frozen=True)
class DayLine:
    """A line over days."""

    name: str
    values: Sequence[float | None]


def rows_of(days: Sequence[date], columns: Mapping[str, DayLine]) -> list[dict[str, Any]]:
    """Return a row of each day: its time in milliseconds, its name, and its value of each line."""
    return [
        {"day": _milliseconds(day), "name": _named(day), **{name: line.values[at] for name, line in columns.items()}}
        for at, day in enumerate(days)
    ]


def ends_of(days: Sequence[date], values: Sequence[float]) -> dict[str, float]:
    """Return the parameters of a chart by day: the ends of its axes."""
    low, high = limits(values)
    first, last = _milliseconds(days[0]), _milliseconds(days[-1])
    return dict(zip(PARAMETERS, (low, high, first, max(last, first + 1)), strict=True))


def _milliseconds(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 86_400_000


def _named(day: date) -> str:
    """Write a day in full."""
    return f"{_DAYS[day.weekday()]} {day.isoformat()}"


@dataclass(frozen=True)
class Axes:
    """How axes are written; where they end are parameters."""

    is_long: bool
    """Whether days are written as months."""
    is_large: bool
    """Whether values have no digits after the point."""
    is_short: bool
    """Whether each day is written."""

    @classmethod
    def of(cls, days: Sequence[date], values: Sequence[float]) -> "Axes":
        span = (days[-1] - days[0]).days
        return cls(span > _LONG, max(map(abs, limits(values))) >= 10, span < _TICKS)

    def days(self) -> Any:
        import altair as alt

        form = "%b %Y" if self.is_long else "%-d %b"
        count = {"interval": "day", "step": 1} if self.is_short else _TICKS
        axis = alt.Axis(title=None, format=form, tickCount=count, grid=False, labelOverlap=True)
        ends = {"domainMin": alt.ExprRef(expr="first"), "domainMax": alt.ExprRef(expr="last")}
        return alt.X("day:T", axis=axis, scale=alt.Scale(type="utc", nice=False, **ends))

    def values(self, column: str) -> Any:
        import altair as alt

        form = "replace(format(datum.value, '~s'), 'G', 'bn')" if self.is_large else "format(datum.value, '~g')"
        axis = alt.Axis(title=None, tickCount=4, labelExpr=form)
        return alt.Y(f"{column}:Q", scale=between("low", "high"), axis=axis)


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: from 0, unless values are below."""
    low, high = min([0.0, *values]), max([0.0, *values])
    return low * 1.05, high * 1.05 or 1.0
