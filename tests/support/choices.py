"""Any choice of a reader, and the cells of it by plain Python."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

from hypothesis import strategies as st

from jobs.pages.choice import Choice, Range
from support.dashboards import Cell


@st.composite
def any_address(
    draw: st.DrawFn,
    days: st.SearchStrategy[date],
    months: st.SearchStrategy[date],
    values: Mapping[str, Sequence[str]],
) -> list[tuple[str, str]]:
    """Draw names and values of an address; ``values`` are those to choose from in each dimension."""
    pairs = []
    if draw(st.booleans()):
        first, last = draw(days), draw(days)
        pairs += [("from", first.isoformat()), ("to", last.isoformat())]
    elif draw(st.booleans()):
        first = draw(months)
        pairs += [
            ("from", first.isoformat()),
            ("to", (first + timedelta(draw(st.sampled_from([30, 58, 89])))).isoformat()),
        ]
    for name in draw(st.lists(st.sampled_from(list(values)), max_size=3, unique=True)):
        pairs += [(name, value) for value in draw(st.lists(st.sampled_from(values[name]), max_size=2))]
    return [*pairs, ("compare", draw(st.sampled_from(["before", "year", "none"])))]


def chosen(cells: Iterable[Cell], choice: Choice, range_: Range | None) -> list[Cell]:
    """Return the cells of a choice in some days."""
    return [
        cell
        for cell in cells
        if range_
        and range_.first <= cell.day <= range_.last
        and all(cell.values[name] in own for name, own in choice.chosen.items())
    ]


def rounded(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), ROUND_HALF_UP))
