"""Charts of reports of runs: months, groups, listed rows, steps."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from jobs.adapters.charts.drawing import (
    BAR,
    DIM,
    HEIGHT,
    INK,
    LEFT,
    NARROW,
    PAPER,
    TOP,
    WIDE,
    Bar,
    bar_chart,
    brief,
    short,
    svg,
)
from jobs.runtime.escaping import visible
from marts.compute.unusual import MonthTotal, UnusualMonth
from marts.highlights import ListedChart

_WIDEST = 64
"""Maximum width of a month, in pixels."""
_MOST = {WIDE: 48, NARROW: 24}
"""Maximum number of months by width."""
_NAMES = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_GROUPS = 12
"""Maximum number of groups."""
_EDGE = 1.6
"""Factor beyond the largest and least value of a logarithmic axis: room for a mark without a value."""
_STEP, _MARGIN = 0.25, 0.7
"""Days between the rows of a day, at most, and before the first day and after the last."""
_NUMBER, _DAY = 14, 48
"""Pixels that the number of a row takes, and the name of a day."""


def months(
    totals: Sequence[MonthTotal], unusual: Sequence[UnusualMonth], goes_on: str, width: int, heading: str
) -> str:
    """Draw the totals of the latest months as bars; ``heading`` says what they are.

    An unusual month has a triangle that points up or down, and a line at the usual value. ``goes_on``, the current
    month, is hollow.
    """
    displayed = totals[-_MOST[width] :]
    usual = {month.month: float(month.usual) for month in unusual}
    roomy = (width - LEFT) / len(displayed) >= 27
    years = {month.month for month in displayed if month.month.endswith("-01")}
    if not years & {month.month for month in displayed[1:3]}:  # else the year labels would overlap
        years.add(displayed[0].month)
    rows = [_month(month, usual, goes_on, roomy, month.month in years) for month in displayed]
    period = f"{displayed[0].month} to {displayed[-1].month}"
    message = f"Bars: {visible(heading).lower()} of {len(displayed)} months, {period}. The table has the numbers."
    return svg(_month_layers(rows, width), width, HEIGHT + TOP + 36, message)


def displayed_months(count: int, width: int) -> int:
    """Return how many of the months `months` shows."""
    return min(count, _MOST[width])


def groups(counts: Sequence[tuple[str, bool | None, int]], flags: Sequence[str], title: str) -> str:
    """Draw the counts of the largest groups, each with its name and flag: solid bars, hollow where the flag holds."""
    names = list(dict.fromkeys(name for name, _, _ in counts))[:_GROUPS]
    bars = []
    for name in names:
        own = sorted((bool(flag), count) for other, flag, count in counts if other == name)
        if not flags:
            bars += [Bar(short(name, 16), count, f"{count:,}") for _, count in own]
            continue
        bars.append(Bar(short(name)))
        bars += [Bar(short(flags[flag], 16), count, f"{count:,}", flag) for flag, count in own]
    divided = f", {visible(flags[0])} and {visible(flags[1])}" if flags else ""
    return bar_chart(
        bars, f"Bars: {visible(title).lower()}, {len(names)} of them{divided}. The table has the numbers."
    ).svg()


def listed(chart: ListedChart, rows: Sequence[Mapping[str, Any]], width: int, title: str) -> str:
    """Draw the value of each listed row beside what was expected; ``title`` says what they are.

    Return an empty text if no row has both.
    """
    points = _multiples(chart, rows) if chart.lower else _pairs(chart, rows)
    if not points:
        return ""
    layers = _multiple_layers(points, width) if chart.lower else _pair_layers(points, width)
    message = f"{len(points)} of {len(rows)} rows: {visible(title)}. The table has the numbers."
    return svg(layers, width, HEIGHT + TOP + 36, message)


def steps(seconds: Mapping[str, float]) -> str:
    """Draw the seconds of each step."""
    bars = [Bar(short(step, 16), took, f"{took:,.1f} s") for step, took in seconds.items()]
    return bar_chart(bars, f"Bars: seconds of {len(bars)} steps. The table has the numbers.").svg()


def _month(
    month: MonthTotal, usual: Mapping[str, float], goes_on: str, roomy: bool, year: bool
) -> dict[str, str | float]:
    """Return the position and style of a month."""
    number = month.month[-2:]
    named = roomy or number in ("01", "04", "07", "10")
    total = float(month.total)
    seen = usual.get(month.month, total)
    mark = "" if seen == total else "triangle-up" if total > seen else "triangle-down"
    return {
        "month": month.month,
        "total": total,
        "name": _NAMES[int(number) - 1] if named else "",
        "year": month.month[:4] if year else "",
        "usual": seen,
        "top": max(total, seen, 0),
        "mark": mark,
        "label": brief(total) if mark and roomy else "",
        "open": "so far" if month.month == goes_on else "",
    }


def _month_layers(rows: Sequence[Mapping[str, Any]], width: int) -> Any:
    import altair as alt

    inner = min(width - LEFT - 14, _WIDEST * len(rows))
    low, high = min(0, *(row["total"] for row in rows)), max(1, *(row["top"] for row in rows))
    across = alt.Scale(domain=[row["month"] for row in rows], paddingInner=0.28, paddingOuter=0.14)
    up = alt.Scale(domain=[low * 1.05, high * 1.04], nice=False)
    axis = alt.Axis(title=None, tickCount=4, labelExpr="replace(format(datum.value, '~s'), 'G', 'bn')")
    x = alt.X("month:N", sort=None, axis=None, scale=across)

    def y(name: str) -> Any:
        return alt.Y(f"{name}:Q", scale=up, axis=axis)

    def subset(name: str, *values: str) -> Any:
        return alt.Chart(alt.Data(values=[row for row in rows if row[name] in values]))

    every = alt.Chart(alt.Data(values=list(rows)))
    marked = subset("mark", "triangle-up", "triangle-down")
    layers = [
        subset("open", "").mark_bar(fill=BAR).encode(x=x, y=y("total")),
        subset("open", "so far")
        .mark_bar(fill=PAPER, stroke=BAR, strokeWidth=1.5, strokeDash=[3, 2])
        .encode(x=x, y=y("total")),
        subset("open", "so far").mark_text(dy=-8, fill=DIM).encode(x=x, y=y("top"), text="open:N"),
        marked.mark_tick(orient="horizontal", size=0.9 * inner / len(rows), thickness=2, color=INK, opacity=1).encode(
            x=x, y=y("usual")
        ),
        marked.mark_point(filled=True, size=64, fill=INK, yOffset=-9, opacity=1).encode(
            x=x, y=y("top"), shape=alt.Shape("mark:N", scale=None)
        ),
        marked.mark_text(dy=-22, fill=INK).encode(x=x, y=y("top"), text="label:N"),
        every.mark_text(fill=DIM, y=HEIGHT + 14).encode(x=x, text="name:N"),
        every.mark_text(fill=INK, y=HEIGHT + 30, fontWeight=600).encode(x=x, text="year:N"),
        alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(stroke=INK).encode(y=y("zero")),
    ]
    return alt.layer(*layers).properties(width=inner, height=HEIGHT)


def _pairs(chart: ListedChart, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that have a value and what was expected, by their number."""
    return [
        {
            "at": str(number),
            "name": str(row[chart.along]),
            "value": float(row[chart.value]),
            "expected": float(row[chart.expected]),
        }
        for number, row in enumerate(rows, 1)
        if row[chart.value] is not None and row[chart.expected] is not None
    ]


def _pair_layers(points: Sequence[Mapping[str, Any]], width: int) -> Any:
    """Draw a bar per row, and a line across it at the expected value."""
    import altair as alt

    inner = min(width - LEFT - 14, _WIDEST * len(points))
    values = [point[name] for point in points for name in ("value", "expected")]
    lowest, highest = min(0.0, *values), max(0.0, *values) or 1.0
    across = alt.Scale(domain=[point["at"] for point in points], paddingInner=0.28, paddingOuter=0.14)
    up = alt.Scale(domain=[lowest * 1.05, highest * 1.04], nice=False)
    axis = alt.Axis(title=None, tickCount=4, format="~s" if highest >= 10 else "~g")
    x = alt.X("at:N", sort=None, axis=None, scale=across)
    every = alt.Chart(alt.Data(values=list(points)))
    tick = every.mark_tick(orient="horizontal", size=0.9 * inner / len(points), thickness=2, color=INK, opacity=1)
    layers = [
        every.mark_bar(fill=BAR).encode(x=x, y=alt.Y("value:Q", scale=up, axis=axis)),
        tick.encode(x=x, y=alt.Y("expected:Q", scale=up, axis=axis)),
        every.mark_text(fill=DIM, y=HEIGHT + 14).encode(x=x, text="name:N"),
    ]
    return alt.layer(*layers).properties(width=inner, height=HEIGHT)


def _multiples(chart: ListedChart, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of which something was expected, as multiples of it; 0 stands for a limit that does not exist."""
    points: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        expected, value = float(row[chart.expected] or 0), float(row[chart.value] or 0)
        if expected > 0:
            points.append(
                {
                    "number": str(number),
                    "day": date.fromisoformat(str(row[chart.along])).toordinal(),
                    "value": value / expected,
                    "lower": float(row[chart.lower] or 0) / expected,
                    "upper": float(row[chart.upper] or 0) / expected,
                    "mark": "triangle-up" if value >= expected else "triangle-down",
                }
            )
    return points


def _multiple_layers(points: Sequence[Mapping[str, Any]], width: int) -> Any:
    """Draw each row on its day as a multiple of what was expected, over a bar from its lower limit to its upper.

    The axis has room for all values and the limits that they are beyond. Others end at the edge of the chart, and so
    does a limit that does not exist, or a value of 0 or below.
    """
    import altair as alt

    beyond = [point["upper" if point["value"] >= 1 else "lower"] for point in points]
    ratios = [ratio for ratio in (*beyond, *(point["value"] for point in points)) if ratio > 0]
    low, high = min(1.0, *ratios) / _EDGE, max(1.0, *ratios) * _EDGE
    inner = width - LEFT - 14
    days = sorted({point["day"] for point in points})
    span = days[-1] - days[0] + 2 * _MARGIN
    drawn = [
        {
            **point,
            "value": max(point["value"], low),
            "lower": max(point["lower"], low),
            "upper": min(point["upper"] or high, high),
        }
        for point in _beside_each_other(points, inner / span)
    ]
    x = alt.X("at:Q", axis=None, scale=alt.Scale(domain=[days[0] - _MARGIN, days[-1] + _MARGIN], nice=False))
    up = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(title=None, values=_ticks(low, high), labelExpr="format(datum.value, '~g') + ' ×'")

    def y(name: str) -> Any:
        return alt.Y(f"{name}:Q", scale=up, axis=axis)

    every, shape = alt.Chart(alt.Data(values=drawn)), alt.Shape("mark:N", scale=None)
    named = alt.Chart(alt.Data(values=_named_days(days, inner / span)))
    layers = [
        alt.Chart(alt.Data(values=[{"usual": 1}])).mark_rule(stroke=INK).encode(y=y("usual")),
        every.mark_bar(fill=BAR, width=6, opacity=0.45).encode(x=x, y=y("lower"), y2="upper:Q"),
        every.mark_point(filled=True, size=64, fill=INK, opacity=1).encode(x=x, y=y("value"), shape=shape),
        every.mark_text(dx=11, fill=INK).encode(x=x, y=y("value"), text="label:N"),
        named.mark_text(fill=DIM, y=HEIGHT + 14).encode(x=x, text="name:N"),
    ]
    return alt.layer(*layers).properties(width=inner, height=HEIGHT)


def _ticks(low: float, high: float) -> list[float]:
    """Return the ticks of a logarithmic axis."""
    steps = (1.0, 2.0, 5.0) if high / low < 30 else (1.0, 3.0)
    return [
        round(step * 10.0**power, 6) for power in range(-6, 7) for step in steps if low <= step * 10.0**power <= high
    ]


def _beside_each_other(points: Sequence[Mapping[str, Any]], pixels: float) -> list[dict[str, Any]]:
    """Return rows with their position; those of a day stand beside each other, a day has so many pixels.

    Where their numbers would overlap, the first of a day has one.
    """
    of_day: dict[int, list[Mapping[str, Any]]] = {}
    for point in points:
        of_day.setdefault(point["day"], []).append(point)
    step = min(_STEP, 0.8 / max(map(len, of_day.values())))
    roomy = step * pixels >= _NUMBER
    return [
        {**point, "at": day + place * step, "label": point["number"] if roomy or not place else ""}
        for day, own in of_day.items()
        for place, point in enumerate(own)
    ]


def _named_days(days: Sequence[int], pixels: float) -> list[dict[str, Any]]:
    """Return the days whose names fit below a chart, from the first on; a day has so many pixels."""
    named: list[dict[str, Any]] = []
    for day in days:
        if not named or (day - named[-1]["at"]) * pixels >= _DAY:
            at = date.fromordinal(day)
            named.append({"at": day, "name": f"{at.day} {_NAMES[at.month - 1]}"})
    return named
