"""Charts of served pages: a figure by day, several by day, bars. Each has one Vega-Lite spec.

The server renders it for the first paint, print and browsers without scripts; others draw the same spec with Vega.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version
from typing import Any

from jobs.adapters.charts.drawing import (
    BAR,
    DIM,
    HEIGHT,
    INK,
    LEFT,
    TOP,
    Bar,
    Drawing,
    bar_chart,
    brief,
    drawing,
    short,
)
from jobs.runtime.escaping import visible

_BELOW = 30
"""Pixels below a chart for the names of its days."""
_NAMED = 118
"""Pixels beside a chart of several lines for their names."""
_LABEL = 134
"""Pixels for the names of bars."""
_APART = 15
"""Pixels between two names, at least."""
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAILY = "days"
"""Name of the rows of days."""
_DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3])
"""Dashes of lines: they differ without colours, too."""


@dataclass(frozen=True)
class DayLine:
    """A line over days."""

    name: str
    values: Sequence[float | None]


def trend(
    days: Sequence[date], values: DayLine, mean: DayLine, compared: DayLine | None, width: int, title: str
) -> Drawing:
    """Draw the value of each day as a thin line, the mean of 7 days as a thick one, that of other days dashed."""
    import altair as alt

    rows = [
        {"day": day.isoformat(), "name": _named(day), "value": value, "mean": middle, "before": before}
        for day, value, middle, before in zip(
            days, values.values, mean.values, compared.values if compared else [None] * len(days), strict=True
        )
    ]
    every = [v for line in (values, mean, compared) if line for v in line.values if v is not None]
    x, y = _day_axis(days), _value_axis(every)
    data = alt.Chart(alt.NamedData(name=_DAILY))
    layers = [
        data.mark_line(stroke=BAR, strokeWidth=1, opacity=0.55).encode(x=x, y=y("value")),
        data.mark_line(stroke=DIM, strokeWidth=1.6, strokeDash=[4, 3]).encode(x=x, y=y("before")),
        data.mark_line(stroke=INK, strokeWidth=2.4).encode(x=x, y=y("mean")),
    ]
    columns = {"value": values.name, "mean": mean.name} | ({"before": compared.name} if compared else {})
    layers.append(_hover(data, x, columns, width, len(days)))
    chart = alt.layer(*layers).properties(width=width - LEFT - 14, height=HEIGHT)
    beside = f", and {compared.name} dashed" if compared else ""
    message = (
        f"Lines: {visible(title).lower()}, each day thin, the mean of 7 days thick{beside}, {days[0]} to {days[-1]}."
    )
    return drawing(
        chart, width, HEIGHT + TOP + _BELOW, f"{message} The table has the numbers.", datasets={_DAILY: rows}
    )


def lines(days: Sequence[date], drawn: Sequence[DayLine], width: int, title: str) -> Drawing:
    """Draw several lines, each with its name at its end."""
    import altair as alt

    every = [value for line in drawn for value in line.values if value is not None]
    x, y = _day_axis(days), _value_axis(every)
    inner = width - LEFT - _NAMED
    rows = [
        {"day": day.isoformat(), "name": _named(day), **{f"l{n}": line.values[at] for n, line in enumerate(drawn)}}
        for at, day in enumerate(days)
    ]
    data = alt.Chart(alt.NamedData(name=_DAILY))
    layers = []
    for number in range(len(drawn)):
        mark = data.mark_line(stroke=(INK, BAR)[number % 2], strokeWidth=2, strokeDash=_DASHES[number % len(_DASHES)])
        layers.append(mark.encode(x=x, y=y(f"l{number}")))
    layers.append(_hover(data, x, {f"l{n}": line.name for n, line in enumerate(drawn)}, inner, len(days)))
    named = [{"at": at, "name": short(name, 15)} for at, name in _places(drawn, every)]
    layers.append(
        alt.Chart(alt.Data(values=named))
        .mark_text(align="left", dx=8, fill=INK, clip=False)
        .encode(x=alt.value("width"), y=y("at"), text="name:N")
    )
    chart = alt.layer(*layers).properties(width=inner, height=HEIGHT)
    message = f"Lines: {visible(title).lower()}: {', '.join(visible(line.name) for line in drawn)}."
    return drawing(
        chart, width, HEIGHT + TOP + _BELOW, f"{message} The table has the numbers.", datasets={_DAILY: rows}
    )


def bars(rows: Sequence[tuple[str, float]], title: str, unit: str = "") -> str:
    """Draw values of names as bars, each with three digits of its value; those below 0 have none."""
    drawn = [Bar(short(name, 16), max(value, 0), f"{brief(value)}{unit}") for name, value in rows]
    message = f"Bars: {visible(title).lower()}, {len(rows)} of them. The table has the numbers."
    return bar_chart(drawn, message, label=_LABEL)


def spark(values: Sequence[float | None]) -> str:
    """Return the points of a small line, 100 wide and 24 high; empty if there are fewer than two values."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    step, size = 100 / (len(values) - 1), (high - low) or 1
    points = [(n * step, 22 - 20 * (value - low) / size) for n, value in enumerate(values) if value is not None]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _hover(data: Any, x: Any, names: Mapping[str, str], width: int, days: int) -> Any:
    """Return a layer without ink that shows the values of a day under the pointer, and zooms with Shift and wheel."""
    import altair as alt

    columns = [alt.Tooltip("name:N", title="Day")]
    columns += [alt.Tooltip(f"{field}:Q", title=short(name, 40), format=",.2~f") for field, name in names.items()]
    zoom = alt.selection_interval(bind="scales", encodings=["x"], zoom="wheel![event.shiftKey]", name="zoom")
    layer = data.mark_rule(opacity=0, strokeWidth=round(max(width / days, 1), 1))
    return layer.encode(x=x, tooltip=columns).add_params(zoom)


def _named(day: date) -> str:
    """Write a day in full."""
    return f"{_DAYS[day.weekday()]} {day.isoformat()}"


def _day_axis(days: Sequence[date]) -> Any:
    import altair as alt

    long = (days[-1] - days[0]).days > 200
    axis = alt.Axis(title=None, format="%b %Y" if long else "%-d %b", tickCount=5, grid=False, labelOverlap=True)
    return alt.X("day:T", axis=axis, scale=alt.Scale(type="utc", nice=False))


def _value_axis(values: Sequence[float]) -> Any:
    import altair as alt

    low, high = _ends(values)
    scale = alt.Scale(domain=[low, high], nice=False)
    form = "replace(format(datum.value, '~s'), 'G', 'bn')" if high >= 10 else "format(datum.value, '~g')"
    axis = alt.Axis(title=None, tickCount=4, labelExpr=form)

    def y(name: str) -> Any:
        return alt.Y(f"{name}:Q", scale=scale, axis=axis)

    return y


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: from 0, unless values are below."""
    low, high = min([0.0, *values]), max([0.0, *values])
    return low * 1.05, high * 1.05 or 1.0


def _places(drawn: Sequence[DayLine], values: Sequence[float]) -> list[tuple[float, str]]:
    """Return the values at which the names of lines stand, from above: at their ends, but not over each other."""
    low, high = _ends(values)
    per_pixel = (high - low) / HEIGHT
    ends = [(next((value for value in reversed(line.values) if value is not None), low), line.name) for line in drawn]
    placed: list[tuple[float, str]] = []
    for end, name in sorted(ends, reverse=True):
        placed.append((min(end, placed[-1][0] - _APART * per_pixel) if placed else end, name))
    below = max(0.0, low - placed[-1][0]) if placed else 0.0
    return [(at + below, name) for at, name in placed]


@cache
def script() -> bytes:
    """Return the script that draws specs in a browser: Vega, as the renderer carries it."""
    import vl_convert

    return str(vl_convert.javascript_bundle()).encode()  # type: ignore[call-arg]  # its stub forgets the default


def script_name() -> str:
    """Return the name of the script; its content takes a second."""
    return f"vega-{version('vl-convert-python')}.js"
