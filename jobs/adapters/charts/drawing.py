"""What charts have in common: colours, bars, and the rendering as an element of a page.

Colours are CSS variables of the page, so one chart works in light, dark and print; fonts are the page's. All positions
are fixed (nothing is measured), so equal numbers produce equal bytes on every machine. Shapes or labels repeat what
colours show; a table next to the chart has the numbers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
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

_ROWS = "rows"
"""Name of the data of bars."""
Rows = Sequence[Mapping[str, Any]]

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


@dataclass(frozen=True)
class Drawing:
    """A chart with its numbers: a server renders it, or a browser draws it by Vega."""

    spec: dict[str, Any]
    """Vega, with all data."""
    width: int
    height: int
    message: str

    def svg(self) -> str:
        """Render it as a page element that scales with its container."""
        size = f'viewBox="0 0 {self.width} {self.height}"'
        start = f'<svg class="chart" {size} role="img" aria-label="{escape(self.message)}">'
        return re.sub(r"^<svg[^>]*>", lambda _: start, self.image(), count=1)

    def image(self) -> str:
        """Render it as an SVG file."""
        import vl_convert

        # Forbid data downloads: the chart contains all its data.
        return str(vl_convert.vega_to_svg(self.spec, allowed_base_urls=[]))


@dataclass(frozen=True)
class Shape:
    """A chart without its numbers: compiled once, as this takes longer than drawing it."""

    spec: dict[str, Any]
    """Vega, with named data and signals."""
    width: int
    height: int

    @cached_property
    def _marks(self) -> str:
        return json.dumps(self.spec["marks"], ensure_ascii=False)

    def filled(
        self,
        data: Mapping[str, Rows],
        numbers: Mapping[str, float],
        message: str,
        names: Mapping[str, str] | None = None,
    ) -> Drawing:
        """Return it with the rows of its named data, the values of its parameters, and names in place of `later`."""
        spec = dict(self.spec)
        if names:
            texts = {later(place): json.dumps(json.dumps(name)[1:-1])[1:-1] for place, name in names.items()}
            marks = re.sub("|".join(map(re.escape, texts)), lambda match: texts[match[0]], self._marks)
            spec["marks"] = json.loads(marks)
        spec["data"] = [{**own, "values": data[own["name"]]} if own["name"] in data else own for own in spec["data"]]
        spec["signals"] = [
            {**own, "value": numbers[own["name"]]} if own["name"] in numbers else own for own in spec["signals"]
        ]
        return Drawing(spec, self.width, self.height, message)


def shape(chart: Any, width: int, height: int, left: int = LEFT, top: int = TOP) -> Shape:
    """Compile a chart of named data (`named`) and parameters (`parameters`)."""
    import vl_convert

    return Shape(vl_convert.vegalite_to_vega(_spec(chart, width, height, left, top)), width, height)


def later(place: str) -> str:
    """Return what stands for a name in a shape; `Shape.filled` sets it, as a text in an expression."""
    return f"§{place}§"


def named(name: str) -> Any:
    """Return a chart without marks of named data."""
    import altair as alt

    return alt.Chart(alt.NamedData(name=name))


def parameters(*names: str) -> list[Any]:
    """Return parameters of a chart: numbers that `Shape.filled` sets."""
    import altair as alt

    return [alt.param(name=name, value=0) for name in names]


def between(low: str, high: str) -> Any:
    """Return a scale between two parameters, or expressions of them."""
    import altair as alt

    return alt.Scale(domain=[alt.ExprRef(expr=low), alt.ExprRef(expr=high)], nice=False)


def bar_chart(bars: Sequence[Bar], message: str, label: int = _LABEL) -> Drawing:
    """Draw bars from left to right, one below the other; ``label`` are the pixels for their names."""
    rows = [{"row": str(place), **asdict(bar)} for place, bar in enumerate(bars)]
    longest = max([1e-9, *(bar.value for bar in bars)])
    return _bars(len(bars), label).filled({_ROWS: rows}, {"longest": longest}, message)


@lru_cache(64)
def _bars(count: int, label: int) -> Shape:
    """Return the shape of so many bars."""
    import altair as alt

    every = named(_ROWS)
    x = alt.X("value:Q", axis=None, scale=between("0", "longest"))
    places = [str(place) for place in range(count)]
    y = alt.Y("row:N", axis=None, sort=None, scale=alt.Scale(domain=places, paddingInner=0.3, paddingOuter=0.15))
    drawn, headings = every.transform_filter("datum.text"), every.transform_filter("!datum.text")
    layers = [
        drawn.transform_filter("!datum.hollow").mark_bar(fill=BAR).encode(x=x, y=y),
        drawn.transform_filter("datum.hollow")
        .mark_bar(fill=PAPER, stroke=BAR, strokeWidth=1.5, strokeDash=[3, 2])
        .encode(x=x, y=y),
        drawn.mark_text(align="right", x=-10, fill=DIM).encode(y=y, text="name:N"),
        headings.mark_text(align="left", x=-label, fill=INK, fontWeight=600).encode(y=y, text="name:N"),
        drawn.mark_text(align="left", dx=7, fill=INK).encode(x=x, y=y, text="text:N"),
    ]
    height = _ROW * count
    chart = alt.layer(*layers).properties(width=NARROW - label - _TEXT, height=height)
    return shape(chart.add_params(*parameters("longest")), NARROW, height, left=label, top=0)


def prepare() -> None:
    """Import Altair and start its renderer: the first chart takes half a second."""
    import altair as alt

    svg(alt.layer(alt.Chart(alt.Data(values=[])).mark_bar()), NARROW, HEIGHT, "")


def svg(chart: Any, width: int, height: int, message: str, left: int = LEFT, top: int = TOP) -> str:
    """Render a chart as a page element that scales with its container."""
    import vl_convert

    return Drawing(vl_convert.vegalite_to_vega(_spec(chart, width, height, left, top)), width, height, message).svg()


def _spec(chart: Any, width: int, height: int, left: int, top: int) -> dict[str, Any]:
    """Return the Vega-Lite spec of a chart at a fixed place."""
    spec = {**chart.to_dict(validate=False), "config": _CONFIG}
    right, bottom = width - left - spec.get("width", 0), height - top - spec.get("height", 0)
    padding = {"left": left, "right": right, "top": top, "bottom": bottom}
    return spec | {"autosize": {"type": "none"}, "padding": padding}
