"""Charts on paper: in fixed colours and a font of the document, with exact numbers beside bars, without a pointer."""

import json
from bisect import bisect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from itertools import accumulate
from unicodedata import east_asian_width

from jobs.adapters.charts.days import DAILY, PARAMETERS, Axes, DayLine, ends_of, rows_of
from jobs.adapters.charts.drawing import (
    BAR,
    DIM,
    INK,
    LEFT,
    LINE,
    PAPER,
    Drawing,
    Shape,
    between,
    named,
    parameters,
    shape,
)

WIDE, NARROW = 740, 360
"""Width in pixels of a chart over the whole page, and of one of two beside each other."""
_FIXED = {INK: "#1d2430", DIM: "#5b6675", LINE: "#d9dee6", BAR: "#4472b0", PAPER: "#ffffff"}
"""Colours of light pages: paper has no style sheet."""
_HEIGHT, _TOP, _BELOW, _RIGHT = 150, 8, 26, 14
_ROW, _LABEL, _TEXT = 22, 150, 96
"""Pixels of a bar, of the names of bars, and of their numbers."""
_LETTER = 6.4
"""Pixels of a letter, about; those of East Asia are twice as wide."""
_BROAD = "mw@%—æœжшщюфы"
"""Letters of the width of capitals."""
_BARS, _ALONE = "bars", "alone"
"""Names of the rows of bars, and of values between days without any."""


@dataclass(frozen=True)
class Stroke:
    """How a line is drawn: lines differ without colours, too."""

    colour: str
    width: float
    dash: tuple[int, ...] = ()


STROKES = (
    Stroke(_FIXED[BAR], 1),
    Stroke(_FIXED[INK], 2.2),
    Stroke(_FIXED[DIM], 1.4, (4, 3)),
    Stroke(_FIXED[BAR], 2.2, (7, 3)),
    Stroke(_FIXED[INK], 1, (2, 2)),
    Stroke(_FIXED[DIM], 2.2, (9, 3, 2, 3)),
)
"""Of the lines of a chart, in their order; from the beginning again if there are more."""


@dataclass(frozen=True)
class PaperBar:
    """A bar with its name on the left and its number, in full, on the right; a bar below 0 goes to the left."""

    name: str
    value: float | None
    text: str


def lines(days: Sequence[date], drawn: Sequence[DayLine], font: str, message: str) -> Drawing:
    """Draw lines over days, each in its stroke of `STROKES`; the document says which is which."""
    every = [value for line in drawn for value in line.values if value is not None]
    columns = {f"l{number}": line for number, line in enumerate(drawn)}
    rows = rows_of(days, columns)
    alone = [
        {"day": row["day"], "value": row[name], "line": name}
        for name in columns
        for before, row, after in zip([{}, *rows], rows, [*rows[1:], {}], strict=False)
        if row[name] is not None and before.get(name) is None and after.get(name) is None
    ]
    axes = Axes.of(days, every)
    return _lines(len(drawn), axes, font).filled({DAILY: rows, _ALONE: alone}, ends_of(days, every), message)


def bars(rows: Sequence[PaperBar], font: str, message: str) -> Drawing:
    """Draw bars one below the other, from 0 to the right, or to the left if they are below."""
    values = [row.value or 0 for row in rows]
    low, high = min([0, *values]), max([0, *values])
    numbers = {"low": low, "high": high if high > low else low + 1}
    drawn = [{**asdict(row), "row": str(place), "name": _fitting(row.name)} for place, row in enumerate(rows)]
    return _bars(len(rows), font).filled({_BARS: drawn}, numbers, message)


@lru_cache(64)
def _lines(count: int, axes: Axes, font: str) -> Shape:
    """Return the shape of so many lines."""
    import altair as alt

    data, x, inner = named(DAILY), axes.days(), WIDE - LEFT - _RIGHT
    layers = []
    for number in range(count):
        stroke, name = STROKES[number % len(STROKES)], f"l{number}"
        look = {"stroke": stroke.colour, "strokeWidth": stroke.width, "strokeDash": list(stroke.dash or (1, 0))}
        point = named(_ALONE).transform_filter(f"datum.line == '{name}'").mark_point(filled=True, fill=stroke.colour)
        layers.append(data.mark_line(**look).encode(x=x, y=axes.values(name)))
        layers.append(point.encode(x=x, y=axes.values("value")))
    chart = alt.layer(*layers).properties(width=inner, height=_HEIGHT)
    return _fixed(shape(chart.add_params(*parameters(*PARAMETERS)), WIDE, _HEIGHT + _TOP + _BELOW, top=_TOP), font)


@lru_cache(64)
def _bars(count: int, font: str) -> Shape:
    """Return the shape of so many bars."""
    import altair as alt

    every, inner = named(_BARS), NARROW - _LABEL - _TEXT
    x = alt.X("value:Q", axis=None, scale=between("low", "high"))
    places = [str(place) for place in range(count)]
    y = alt.Y("row:N", axis=None, sort=None, scale=alt.Scale(domain=places, paddingInner=0.35, paddingOuter=0.17))
    layers = [
        every.mark_bar(fill=BAR).encode(x=x, x2=alt.X2Datum(0), y=y),
        every.mark_text(align="right", x=-10, fill=INK).encode(y=y, text="name:N"),
        every.mark_text(align="right", x=inner + _TEXT, fill=INK).encode(y=y, text="text:N"),
        alt.Chart(alt.Data(values=[{}])).mark_rule(stroke=DIM, strokeWidth=0.8).encode(x=alt.XDatum(0)),
    ]
    chart = alt.layer(*layers).properties(width=inner, height=_ROW * count).add_params(*parameters("low", "high"))
    return _fixed(shape(chart, NARROW, _ROW * count, left=_LABEL, top=0), font)


def _fixed(drawn: Shape, font: str) -> Shape:
    """Return a shape without variables of a page. It has no text of data yet, which would be replaced, too."""
    spec = json.dumps(drawn.spec).replace('"inherit"', json.dumps(font))
    for variable, colour in _FIXED.items():
        spec = spec.replace(variable, colour)
    return Shape(json.loads(spec), drawn.width, drawn.height)


def _fitting(name: str) -> str:
    """Return a name that is not wider than the space for names of bars; a longer one ends with …"""
    letters = (2 if east_asian_width(letter) in "WF" else 1.6 if _is_broad(letter) else 1 for letter in name)
    ends, room = list(accumulate(letters)), (_LABEL - 14) / _LETTER
    return name if not ends or ends[-1] <= room else f"{name[: bisect(ends, room - 1)]}…"


def _is_broad(letter: str) -> bool:
    return letter.isupper() or letter in _BROAD
