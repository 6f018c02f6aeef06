"""Charts of served pages: a figure by day, several by day, bars. Each has one Vega-Lite spec.

The server renders it for the first paint, print and browsers without scripts; others draw the same spec with Vega.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from jobs.adapters.charts.days import DAILY, PARAMETERS, Axes, DayLine, ends_of, limits, rows_of
from jobs.adapters.charts.drawing import (
    BAR,
    DIM,
    HEIGHT,
    INK,
    LEFT,
    TOP,
    Bar,
    Drawing,
    Shape,
    bar_chart,
    brief,
    later,
    named,
    parameters,
    shape,
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
_DAY = "Day"
"""Heading of the day in the small window of a chart."""
_ENDS = "ends"
"""Name of the rows of the names at the ends of lines."""
_DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3])
"""Dashes of lines: they differ without colours, too."""


def trend(
    days: Sequence[date],
    values: DayLine,
    mean: DayLine,
    compared: DayLine | None,
    width: int,
    title: str,
    usual: DayLine | None = None,
    events: DayLine | None = None,
) -> Drawing:
    """Draw the value of each day as a thin line, the mean of 7 days as a thick one, that of other days dashed.

    ``usual`` has what is usual on unusual days, which get a circle; ``events`` has 0 on days that get a triangle.
    """
    columns = {"value": values, "mean": mean} | ({"before": compared} if compared else {})
    columns |= {name: line for name, line in (("usual", usual), ("event", events)) if line}
    every = [v for line in columns.values() for v in line.values if v is not None]
    drawn = _trend(tuple(columns), Axes.of(days, every), width)
    beside = f", and {compared.name} dashed" if compared else ""
    message = (
        f"Lines: {visible(title).lower()}, each day thin, the mean of 7 days thick{beside}, {days[0]} to {days[-1]}."
    )
    rows, names = {DAILY: rows_of(days, columns)}, _names(columns)
    return drawn.filled(rows, ends_of(days, every), f"{message} The table has the numbers.", names)


@lru_cache(128)
def _trend(columns: Sequence[str], axes: Axes, width: int) -> Shape:
    """Return the shape of a trend of some columns."""
    import altair as alt

    data, x, inner = named(DAILY), axes.days(), width - LEFT - 14
    marks = {
        "value": data.mark_line(stroke=BAR, strokeWidth=1, opacity=0.55),
        "before": data.mark_line(stroke=DIM, strokeWidth=1.6, strokeDash=[4, 3]),
        "mean": data.mark_line(stroke=INK, strokeWidth=2.4),
    }
    layers = [mark.encode(x=x, y=axes.values(column)) for column, mark in marks.items() if column in columns]
    if "usual" in columns:
        circles = data.transform_filter("isValid(datum.usual)").mark_point(size=90, strokeWidth=2, stroke=INK)
        layers.append(circles.encode(x=x, y=axes.values("value")))
    if "event" in columns:
        marked = data.transform_filter("isValid(datum.event)")
        days = marked.mark_point(shape="triangle-up", size=90, yOffset=-6, fill=DIM, opacity=1)
        layers.append(days.encode(x=x, y=axes.values("event")))
    layers.append(_hover(data, x, [column for column in columns if column != "event"], inner))
    chart = alt.layer(*layers).properties(width=inner, height=HEIGHT)
    return shape(chart.add_params(*parameters(*PARAMETERS)), width, HEIGHT + TOP + _BELOW)


def lines(days: Sequence[date], drawn: Sequence[DayLine], width: int, title: str) -> Drawing:
    """Draw several lines, each with its name at its end."""
    every = [value for line in drawn for value in line.values if value is not None]
    columns = {f"l{number}": line for number, line in enumerate(drawn)}
    ends = [{"at": at, "name": short(name, 15)} for at, name in _places(drawn, every)]
    message = f"Lines: {visible(title).lower()}: {', '.join(visible(line.name) for line in drawn)}."
    rows = {DAILY: rows_of(days, columns), _ENDS: ends}
    form = _lines(tuple(columns), Axes.of(days, every), width)
    return form.filled(rows, ends_of(days, every), f"{message} The table has the numbers.", _names(columns))


@lru_cache(128)
def _lines(columns: Sequence[str], axes: Axes, width: int) -> Shape:
    """Return the shape of several lines."""
    import altair as alt

    data, x, inner = named(DAILY), axes.days(), width - LEFT - _NAMED
    layers = [
        data.mark_line(stroke=(INK, BAR)[number % 2], strokeWidth=2, strokeDash=_DASHES[number % len(_DASHES)]).encode(
            x=x, y=axes.values(column)
        )
        for number, column in enumerate(columns)
    ]
    layers.append(_hover(data, x, columns, inner))
    layers.append(
        named(_ENDS)
        .mark_text(align="left", dx=8, fill=INK, clip=False)
        .encode(x=alt.value("width"), y=axes.values("at"), text="name:N")
    )
    chart = alt.layer(*layers).properties(width=inner, height=HEIGHT)
    return shape(chart.add_params(*parameters(*PARAMETERS)), width, HEIGHT + TOP + _BELOW)


def bars(rows: Sequence[tuple[str, float]], title: str, unit: str = "") -> Drawing:
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


def _names(columns: Mapping[str, DayLine]) -> dict[str, str]:
    """Return the names of lines as a small window shows them: each another, as Vega needs it."""
    names: dict[str, str] = {}
    for column, line in columns.items():
        name, number = short(line.name, 40), 1
        while name in (_DAY, *names.values()):
            number += 1
            name = f"{short(line.name, 40)} ({number})"
        names[column] = name
    return names


def _hover(data: Any, x: Any, columns: Sequence[str], width: int) -> Any:
    """Return a layer without ink that shows the values of a day under the pointer, and zooms with Shift and wheel."""
    import altair as alt

    tips = [alt.Tooltip("name:N", title=_DAY)]
    tips += [alt.Tooltip(f"{field}_text:N", title=later(field)) for field in columns]
    texts = {f"{field}_text": f"isValid(datum.{field}) ? format(datum.{field}, ',.2~f') : '–'" for field in columns}
    zoom = alt.selection_interval(bind="scales", encodings=["x"], zoom="wheel![event.shiftKey]", name="zoom")
    wide = alt.ExprRef(expr=f"max(1, {width} * 86400000 / (last - first + 86400000))")
    layer = data.transform_calculate(**texts).mark_rule(opacity=0, strokeWidth=wide)
    return layer.encode(x=x, tooltip=tips).add_params(zoom)


def _places(drawn: Sequence[DayLine], values: Sequence[float]) -> list[tuple[float, str]]:
    """Return the values at which the names of lines stand, from above: at their ends, but not over each other."""
    low, high = limits(values)
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
