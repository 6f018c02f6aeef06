"""Figures of pages equal a row-by-row calculation from the drops, for any choice."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.choices import any_address, chosen, rounded
from support.dashboards import (
    BOARD,
    DIMENSIONS,
    FIRST,
    LAST,
    Cell,
    cells_by_hand,
    company,
    marts_by_hand,
    publication_of,
)

from jobs.pages.answer import Answer, answer, half_up
from jobs.pages.choice import Choice, Range, parse
from jobs.pages.publication import Publication


class Shop:
    """The company: what is live, and the same by hand."""

    def __init__(self, publication: Publication, cells: list[Cell], marts: dict[str, Any]) -> None:
        self.publication, self.cells, self.marts = publication, cells, marts

    def __repr__(self) -> str:
        return "shop"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    place = company(tmp_path_factory.mktemp("company"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARTS_ANALYTICS", "false")
        assert place.build().error is None
    return Shop(publication_of(place), cells_by_hand(place), marts_by_hand(place))


days = st.dates(FIRST - timedelta(5), LAST + timedelta(5))
months = st.integers(0, 14).map(lambda n: date(2023 + n // 12, n % 12 + 1, 1))
values = {
    "region": ["North", "South", "unknown", "West"],
    "state": ["Coast", "Moor", "Shore", "unknown"],
    "city": ["Northport", "Highton", "Southsea"],
    "store": ["121", "122", "123", "124", "125", "126", "999"],
    "channel": ["cash", "card", "transfer", "unknown", "cheque"],
    "segment": ["Loyal Customer", "Occasional Customer", "At-Risk Customer", "Guest"],
}


def addresses() -> st.SearchStrategy[list[tuple[str, str]]]:
    return any_address(days, months, values)


def ask(shop: Shop, pairs: Sequence[tuple[str, str]]) -> Answer:
    publication = shop.publication
    choice, remarks = parse(pairs, BOARD, publication.cube.bounds)
    return answer(publication.cube, choice, remarks)


def total(cells: Iterable[Cell], column: str) -> int:
    return sum(cell.sums[column] for cell in cells)


def figure(name: str, cells: Sequence[Cell], per_days: int = 1) -> int | None:
    """Calculate a figure by hand; money in cents, percent in hundredths."""
    sums = {column: Decimal(total(cells, column)) for column in ("total_sales", "purchases", "returned", "gross_sales")}
    if name == "net_revenue":
        return rounded(sums["total_sales"] / per_days)
    if name == "purchases":
        return rounded(sums["purchases"])
    if name == "average_basket":
        return rounded(sums["total_sales"] / sums["purchases"]) if sums["purchases"] > 0 else None
    return rounded(-sums["returned"] * 10000 / sums["gross_sales"]) if sums["gross_sales"] > 0 else None


def exact(name: str, cells: Sequence[Cell]) -> Fraction:
    """Calculate a figure by hand, not rounded."""
    sums = {column: total(cells, column) for column in ("total_sales", "purchases", "returned", "gross_sales")}
    first, per = {"average_basket": ("total_sales", "purchases"), "return_rate": ("returned", "gross_sales")}.get(
        name, ("total_sales" if name == "net_revenue" else name, "")
    )
    return Fraction(sums[first] * (-1 if name == "return_rate" else 1), sums[per] if per else 1)


def change_by_hand(name: str, now: Sequence[Cell], before: Sequence[Cell]) -> int | None:
    """Calculate a change in tenths of a percent, of figures that are not rounded."""
    if figure(name, now) is None or figure(name, before) is None or not exact(name, before):
        return None
    was = exact(name, before)
    change = (exact(name, now) - was) / abs(was) * 1000
    return rounded(Decimal(change.numerator) / Decimal(change.denominator))


@settings(max_examples=60, deadline=None)
@given(pairs=addresses())
def test_each_figure_of_any_choice_is_that_of_the_drops(shop: Shop, pairs: list[tuple[str, str]]) -> None:
    publication, cells = shop.publication, shop.cells
    given_ = ask(shop, pairs)
    choice = given_.choice
    compared = choice.compared if choice.compared and choice.compared.first >= publication.cube.bounds.first else None
    now, before = chosen(cells, choice, choice.range), chosen(cells, choice, compared)
    for card in given_.cards[:4]:
        assert card.value.now == figure(card.name, now)
        assert card.value.before == (figure(card.name, before) if compared else None)
        assert card.value.tenths == (change_by_hand(card.name, now, before) if compared else None)
    trend, lines, *tables = given_.panels
    daily: dict[date, int] = defaultdict(int)
    for cell in chosen(cells, choice, Range(FIRST - timedelta(9), LAST)):
        daily[cell.day] += cell.sums["total_sales"]
    assert list(trend.lines[0].values) == [daily[day] for day in trend.days]
    weeks = [sum(daily[day - timedelta(n)] for n in range(7)) for day in trend.days]
    assert list(trend.lines[0].means) == [
        rounded(Decimal(week) / 7) if day >= publication.cube.bounds.first + timedelta(6) else None
        for day, week in zip(trend.days, weeks, strict=True)
    ]
    for panel in tables:
        by_value, earlier, name = _by(now, panel.dimension), _by(before, panel.dimension), panel.panel.figure
        for row in panel.rows:
            assert row.figure.now == figure(name, by_value[row.value])
            if row.value in earlier:
                assert row.figure.tenths == change_by_hand(name, by_value[row.value], earlier[row.value])
        ranked = [row.figure.now for row in panel.rows[: panel.panel.top] if row.figure.now is not None]
        assert ranked == sorted(ranked, reverse=True)
    for line in lines.lines:
        value = next(v for v in _by(cells, lines.dimension) if _name(publication, lines.dimension, v) == line.name)
        own = choice.with_values(lines.dimension, (value,))
        first = choice.range.last - timedelta(6)
        mean = figure("net_revenue", chosen(cells, own, Range(first, choice.range.last)), 7)
        assert line.means[-1] == (mean if first >= publication.cube.bounds.first else None)


def _by(cells: Iterable[Cell], dimension: str) -> dict[str, list[Cell]]:
    result: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        result[cell.values[dimension]].append(cell)
    return result


def _name(publication: Publication, dimension: str, value: str) -> str:
    return publication.cube.name_of(dimension, value)


@settings(max_examples=8, deadline=None)
@given(pairs=addresses())
def test_options_have_the_purchases_that_choosing_them_gives(shop: Shop, pairs: list[tuple[str, str]]) -> None:
    """Each option leads to a page with these purchases: no dead end."""
    given_ = ask(shop, pairs)
    for name, options in given_.options.items():
        below = [other for other in DIMENSIONS if name in BOARD.above(other)]
        for option in options[:3]:
            rest = given_.choice
            for other in below:
                rest = rest.with_values(other, ())
            chosen_ = ask(shop, [*_pairs(rest.with_values(name, (option.value,)))])
            assert chosen_.choice.values(name) == (option.value,)
            if all(len(own) == 1 for own in rest.chosen.values()):  # of several values some may have no rows then
                assert chosen_.remarks == ()
            assert next(card.value.now for card in chosen_.cards if card.name == "purchases") == option.count


def _pairs(choice: Choice) -> list[tuple[str, str]]:
    pairs = [("from", choice.range.first.isoformat()), ("to", choice.range.last.isoformat()), ("compare", "none")]
    return [*pairs, *((name, value) for name, own in choice.chosen.items() for value in own)]


@settings(max_examples=30, deadline=None)
@given(pairs=addresses())
def test_an_address_says_the_whole_choice(shop: Shop, pairs: list[tuple[str, str]]) -> None:
    from urllib.parse import parse_qsl

    publication = shop.publication
    first = ask(shop, pairs).choice
    again = ask(shop, parse_qsl(first.query(publication.cube.bounds)))
    assert again.choice == first
    assert [text for text in again.remarks if not text.startswith("There is nothing to compare")] == []


def test_figures_by_month_are_those_of_the_other_marts(shop: Shop) -> None:
    publication, marts = shop.publication, shop.marts
    for number in range(15):
        first = date(2023 + number // 12, number % 12 + 1, 1)
        last = (first + timedelta(31)).replace(day=1) - timedelta(1)
        cards = {card.name: card for card in ask(shop, [("from", str(first)), ("to", str(last))]).cards}
        month = f"{first:%Y-%m}"
        own = [row for row in marts["sales_months"] if row[0] == month]
        if first >= publication.cube.bounds.first:
            assert cards["customers"].value.now == sum(row[3] for row in own)
            assert cards["new_customers"].value.now == sum(row[4] for row in own)
            paid = sum((row[7] for row in marts["sales_team"] if row[3] == month), Decimal(0))
            assert cards["incentive"].value.now == int(paid * 100)


@pytest.mark.parametrize(
    ("pairs", "name", "why"),
    [
        ([("region", "North")], "customers", "It is not counted by region."),
        (
            [("from", "2024-01-02"), ("to", "2024-01-31")],
            "new_customers",
            "It is known by whole months only: choose whole months.",
        ),
        ([("from", "2024-01-01"), ("to", "2024-02-29")], "customers", "Choose one month"),
        ([("channel", "card"), ("segment", "Guest")], "incentive", "It is not counted by channel and segment."),
    ],
)
def test_a_figure_that_cannot_be_had_says_why(shop: Shop, pairs: list[tuple[str, str]], name: str, why: str) -> None:
    card = next(card for card in ask(shop, pairs).cards if card.name == name)
    assert card.value.now is None
    assert why in card.why_not


def test_incentives_are_known_by_store_and_by_what_stores_are_in(shop: Shop) -> None:
    marts = shop.marts
    card = next(
        c
        for c in ask(shop, [("city", "Northport"), ("from", "2024-01-01"), ("to", "2024-03-31")]).cards
        if c.name == "incentive"
    )
    paid = [row[7] for row in marts["sales_team"] if row[0] in (121, 122) and row[3] >= "2024-01"]
    assert card.value.now == int(sum(paid, Decimal(0)) * 100) > 0


@pytest.mark.parametrize(
    ("pairs", "remark"),
    [
        ([("region", "North' or 1=1--")], "A region of the address is not known: taken out."),
        ([("x", "<script>")], "The address has a name that is not known: taken out."),
        ([("from", "9999-99-99")], "from is not a date: taken out."),
        ([("to", "9999-12-31")], "There are figures from 2023-01-0"),
        ([("compare", "ever")], "The comparison is not known: taken out."),
        ([("region", "South"), ("city", "Northport")], "Northport has no rows in South on these days: taken out."),
        ([("region", "South"), ("store", "121")], "Harbour has no rows in South on these days: taken out."),
        ([("from", "2024-02-01"), ("to", "2024-01-01")], "The dates were the wrong way round."),
    ],
)
def test_what_is_impossible_is_taken_out_with_a_sentence(shop: Shop, pairs: list[tuple[str, str]], remark: str) -> None:
    answered = ask(shop, pairs)
    assert any(text.startswith(remark) for text in answered.remarks)
    assert next(card.value.now for card in answered.cards if card.name == "purchases")


@pytest.mark.parametrize(
    ("first", "last", "compare", "wanted"),
    [
        ("2023-12-01", "2023-12-31", "before", ("2023-11-01", "2023-11-30")),  # a month with a month
        ("2024-01-01", "2024-03-31", "before", ("2023-10-01", "2023-12-31")),
        ("2024-03-10", "2024-03-19", "before", ("2024-02-29", "2024-03-09")),
        ("2024-02-01", "2024-02-29", "year", ("2023-02-01", "2023-02-28")),
        ("2023-02-01", "2023-02-28", "year", ("2022-02-01", "2022-02-28")),
        ("2025-02-01", "2025-02-28", "year", ("2024-02-01", "2024-02-29")),
    ],
)
def test_days_are_compared_with_as_many_before_or_those_of_the_year_before(
    first: str, last: str, compare: Any, wanted: tuple[str, str]
) -> None:
    compared = Range(date.fromisoformat(first), date.fromisoformat(last)).before(compare)
    assert compared == Range(*map(date.fromisoformat, wanted))


@given(value=st.integers(-(10**15), 10**15), divisor=st.integers(1, 10**9))
def test_half_is_rounded_away_from_zero(value: int, divisor: int) -> None:
    assert (
        half_up(value, divisor) == int((Decimal(value) / Decimal(divisor)).quantize(Decimal(1), ROUND_HALF_UP))
        or divisor > 10**6
    )
    assert half_up(-value, divisor) == -half_up(value, divisor)
