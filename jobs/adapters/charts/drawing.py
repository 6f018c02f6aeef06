"""What charts have in common: colours, bars, and the rendering as an element of a page.

Colours are CSS variables of the page, so one chart works in light, dark and print; fonts are the page's. All positions
are fixed (nothing is measured), so equal numbers produce equal bytes on every machine. Shapes or labels repeat what
colours show; a table next to the chart has the numbers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from jobs.runtime.escaping import visible

INK, DIM, LINE, BAR, PAPER = (f"var(--{name})" for name in ("ink", "dim", "line", "bar", "paper"))
WIDE, NARROW = 880, 360
"""Width in pixels of a chart on a screen and on a phone."""
HEIGHT, LEFT, TOP = 220, 46, 22
FONT = 12
_ROW, _LABEL, _TEXT = 24, 104, 72
_LONGEST = 44
"""Characters of a name that fit above its bars."""

_CONFIG = {
    "font": "inherit",
    "background": None,
    "view": {"stroke": None},
    "aria": False,
    "mark": {"aria": False},
    "text": {"fontSize": FONT},
    "axis": {
        "aria": False,
        "domain": False,
        "ticks": False,
        "gridColor": LINE,
        "labelColor": DIM,
        "labelFontSize": FONT,
        "labelPadding": 8,
    },
}


@dataclass(frozen=True)
class Bar:
    """A bar with its name on the left and its number on the right; without a number, a heading."""

    name: str
    value: float = 0
    text: str = ""
    hollow: bool = False


def short(name: str, longest: int = _LONGEST) -> str:
    """Return a name of at most so many characters; a longer one ends with …"""
    seen = visible(name)
    return seen if len(seen) <= longest else f"{seen[: longest - 1]}…"


def brief(amount: float) -> str:
    """Write an amount with three digits."""
    for size, unit in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(amount) >= 0.9995 * size:  # 999,600 is 1M
            return f"{amount / size:.3g}{unit}".replace("-", "−")
    return (f"{amount:.0f}" if abs(amount) >= 100 else f"{amount:.3g}").replace("-", "−")


def bar_chart(bars: Sequence[Bar], message: str, label: int = _LABEL) -> str:
    """Draw bars from left to right, one below the other; ``label`` are the pixels for their names."""
    import altair as alt

    rows = [{"row": str(place), **asdict(bar)} for place, bar in enumerate(bars)]
    longest = max([1e-9, *(bar.value for bar in bars)])
    x = alt.X("value:Q", axis=None, scale=alt.Scale(domain=[0, longest], nice=False))
    names = [row["row"] for row in rows]
    y = alt.Y("row:N", axis=None, sort=None, scale=alt.Scale(domain=names, paddingInner=0.3, paddingOuter=0.15))

    def subset(wanted: Iterable[Mapping[str, Any]]) -> Any:
        return alt.Chart(alt.Data(values=list(wanted)))

    drawn = [row for row in rows if row["text"]]
    layers = [
        subset(row for row in drawn if not row["hollow"]).mark_bar(fill=BAR).encode(x=x, y=y),
        subset(row for row in drawn if row["hollow"])
        .mark_bar(fill=PAPER, stroke=BAR, strokeWidth=1.5, strokeDash=[3, 2])
        .encode(x=x, y=y),
        subset(drawn).mark_text(align="right", x=-10, fill=DIM).encode(y=y, text="name:N"),
        subset(row for row in rows if not row["text"])
        .mark_text(align="left", x=-label, fill=INK, fontWeight=600)
        .encode(y=y, text="name:N"),
        subset(drawn).mark_text(align="left", dx=7, fill=INK).encode(x=x, y=y, text="text:N"),
    ]
    height = _ROW * len(rows)
    chart = alt.layer(*layers).properties(width=NARROW - label - _TEXT, height=height)
    return svg(chart, NARROW, height, message, left=label, top=0)


@dataclass(frozen=True)
class Drawing:
    """A chart: its Vega-Lite spec with all data, and what the server renders from it."""

    spec: Mapping[str, Any]
    svg: str


def svg(chart: Any, width: int, height: int, message: str, left: int = LEFT, top: int = TOP) -> str:
    """Render a chart as a page element that scales with its container."""
    return drawing(chart, width, height, message, left, top).svg


def drawing(
    chart: Any,
    width: int,
    height: int,
    message: str,
    left: int = LEFT,
    top: int = TOP,
    datasets: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Drawing:
    """Render a chart as a page element that scales with its container, and keep its spec.

    ``datasets`` are the rows of named data: Altair would copy and check each of them, for each layer.
    """
    import vl_convert

    spec = {**chart.to_dict(validate=False), "config": _CONFIG}
    spec |= {"datasets": datasets} if datasets else {}
    right, bottom = width - left - spec.get("width", 0), height - top - spec.get("height", 0)
    spec |= {"autosize": {"type": "none"}, "padding": {"left": left, "right": right, "top": top, "bottom": bottom}}
    # Forbid data downloads: the chart contains all its data.
    drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    start = f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(message)}">'
    return Drawing(spec, re.sub(r"^<svg[^>]*>", lambda _: start, drawn, count=1))
