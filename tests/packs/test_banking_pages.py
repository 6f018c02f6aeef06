"""The dashboard of the bank: its figures equal a row-by-row calculation, its balances the report of the month."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bank_pages import BOARD, FIRST, LAST, cells_by_hand, golden_publication, golden_table, report, rows
from support.choices import any_address, chosen, rounded
from support.dashboards import Cell
from support.kit import Place
from support.served import Served

from jobs.pages.answer import Answer, PanelAnswer, answer
from jobs.pages.choice import Range, parse
from jobs.pages.live import State
from jobs.pages.publication import Publication

ENDS = {"2024-01": date(2024, 1, 31), "2024-02": date(2024, 2, 29), "2024-03": date(2024, 3, 31)}
LEVELS = {"total_balance": "total_balance", "accounts": "accounts", "average_balance": "average_balance"}
LEVELS |= {"deposits": "deposits", "lending": "lending", "customers": "customers"}
CELLS = cells_by_hand()
values = {
    "channel": ["1", "2", "3", "4", "5", "-1", "7"],
    "region": ["Central", "Coast", "West", "unknown"],
    "state": ["Nairobi County", "Mombasa County", "unknown"],
    "city": ["1", "2", "3", "9", "-1"],
    "segment": ["Retail", "SMB", "Corporate", "UNKNOWN", "Premium"],
}
days = st.dates(FIRST - timedelta(5), LAST + timedelta(5))
months = st.integers(1, 3).map(lambda month: date(2024, month, 1))


@pytest.fixture(scope="module")
def bank() -> Publication:
    return golden_publication()


def ask(bank: Publication, *pairs: tuple[str, str]) -> Answer:
    choice, remarks = parse(pairs, BOARD, bank.cube.bounds)
    return answer(bank.cube, choice, remarks)


def figure(name: str, cells: Sequence[Cell], per_days: int = 1) -> int | None:
    """Calculate a figure by hand: money, percent and milliseconds in hundredths; the mean of a count, too."""
    sums = {key: Decimal(sum(cell.sums[key] for cell in cells)) for key in CELLS[0].sums}
    if name in ("fee_revenue", "amount"):
        return rounded(sums["fees" if name == "fee_revenue" else "amount"] / per_days)
    if name == "transactions":
        return int(sums["rows"]) if per_days == 1 else rounded(sums["rows"] * 100 / per_days)
    above, below, factor = {
        "average_transaction": ("amount", "done", 1),
        "failure_rate": ("failed", "rows", 10_000),
        "processing_time": ("ms", "timed", 100),
    }[name]
    return rounded(sums[above] * factor / sums[below]) if sums[below] else None


def panels(given_: Answer, kind: str, is_of_cells: bool = True) -> list[PanelAnswer]:
    return [panel for panel in given_.panels if panel.panel.kind == kind and panel.is_by_month is not is_of_cells]


@settings(max_examples=60, deadline=None)
@given(pairs=any_address(days, months, values))
def test_each_figure_of_any_choice_is_that_of_the_transactions(bank: Publication, pairs: list[tuple[str, str]]) -> None:
    given_ = ask(bank, *pairs)
    choice = given_.choice
    compared = choice.compared if choice.compared and choice.compared.first >= FIRST else None
    now = chosen(CELLS, choice, choice.range)
    for card in given_.cards[:6]:
        assert card.value.now == figure(card.name, now), card.name
        assert card.value.before == (figure(card.name, chosen(CELLS, choice, compared)) if compared else None)
    assert len(panels(given_, "trend")) == 5
    for panel in panels(given_, "trend"):
        (line,), name = panel.lines, panel.panel.figure
        for day, value, mean in zip(panel.days, line.values, line.means, strict=True):
            week = chosen(CELLS, choice, Range(day - timedelta(6), day))
            assert value == figure(name, chosen(CELLS, choice, Range(day, day)))
            has_mean = day - timedelta(6) >= FIRST or BOARD.figures[name].per
            assert mean == (figure(name, week, 7) if has_mean else None)
    for panel in [*panels(given_, "bars"), *panels(given_, "ranking")]:
        own = {
            row.value: chosen(now, choice.with_values(panel.dimension, [row.value]), choice.range) for row in panel.rows
        }
        assert {row.value: row.figure.now for row in panel.rows} == {
            value: figure(panel.panel.figure, cells) for value, cells in own.items()
        }
        present = {cell.values[panel.dimension] for cell in [*now, *chosen(CELLS, choice, compared)]}
        assert len(panel.rows) + panel.left_out == len(present)
    for panel in panels(given_, "lines"):
        for line in panel.lines:
            (value,) = {v for v in values[panel.dimension] if bank.cube.name_of(panel.dimension, v) == line.name}
            week = chosen(
                CELLS, choice.with_values(panel.dimension, [value]), Range(panel.days[-1] - timedelta(6), LAST)
            )
            week = [cell for cell in week if cell.day <= panel.days[-1]]
            assert line.means[-1] == figure(panel.panel.figure, week)


@settings(max_examples=30, deadline=None)
@given(pairs=any_address(days, months, values))
def test_the_options_of_a_filter_add_up_to_the_figure_without_it(
    bank: Publication, pairs: list[tuple[str, str]]
) -> None:
    given_ = ask(bank, *pairs)
    for name, options in given_.options.items():
        below = [other for other in BOARD.dimensions if name in BOARD.above(other)]
        rest = given_.choice
        for other in below:
            rest = rest.with_values(other, ())
        assert sum(option.count for option in options) == figure("transactions", chosen(CELLS, rest, rest.range))


@settings(max_examples=60, deadline=None)
@given(first=days, last=days)
def test_a_balance_is_that_of_the_last_month_that_ends_in_the_days(bank: Publication, first: date, last: date) -> None:
    given_ = ask(bank, ("from", str(first)), ("to", str(last)))
    range_ = given_.choice.range
    ended = [month for month, end in ENDS.items() if range_.first <= end <= range_.last]
    cards = {card.name: card for card in given_.cards if card.section == "Balances"}
    assert cards.keys() == LEVELS.keys()
    for name, card in cards.items():
        scale = 100 if card.figure.unit == "count" else 1
        wanted = report(ended[-1], LEVELS[name]) // scale if ended else None
        assert card.value.now == wanted, name
        assert (card.on, bool(card.why_not)) == (ENDS[ended[-1]] if ended else None, not ended)
        assert dict(card.months) == {
            month: report(month, LEVELS[name]) // scale for month, end in ENDS.items() if end <= range_.last
        }
    (trend,) = panels(given_, "trend", is_of_cells=False)
    over = {end: report(month, "total_balance") for month, end in ENDS.items() if end <= range_.last}
    assert dict(zip(trend.days, trend.lines[0].values, strict=True)) == over
    for panel in panels(given_, "bars", is_of_cells=False)[1:]:
        name = {"average_balance": "average_balance_by_type", "total_balance": "balance_by_type"}[panel.panel.figure]
        wanted = {row["label"] for row in rows("monthly_financial_report") if ended and row["month"] == ended[-1]}
        assert panel.on == cards["accounts"].on
        given_rows = {row.value: row.figure.now for row in panel.rows if row.figure.now is not None}
        assert given_rows == {
            label: report(ended[-1], name, label) for label in wanted if report(ended[-1], name, label) is not None
        }


def test_balances_of_a_choice_that_they_are_not_counted_by_say_so(bank: Publication) -> None:
    given_ = ask(bank, ("channel", "1"), ("segment", "SMB"))
    assert {card.why_not for card in given_.cards[6:]} == {"It is not counted by channel and segment."}
    of_months = [panel for panel in given_.panels if panel.is_by_month]
    assert {panel.why_not for panel in of_months} == {"It is not counted by channel and segment."}
    assert [(panel.rows, panel.lines) for panel in of_months] == [((), ())] * 4


def test_amounts_by_type_are_those_of_whole_months(bank: Publication) -> None:
    def by_type(first: str, last: str) -> PanelAnswer:
        return panels(ask(bank, ("from", first), ("to", last)), "bars", is_of_cells=False)[0]

    sums: dict[str, int] = defaultdict(int)
    for cell in CELLS:
        if cell.day >= date(2024, 2, 1):
            sums[cell.values["type"]] += cell.sums["amount"]
    panel = by_type("2024-02-01", "2024-03-31")
    assert {row.value: row.figure.now for row in panel.rows} == sums
    assert sum(row.share or 0 for row in panel.rows) in range(9_990, 10_010)
    assert by_type("2024-02-01", "2024-03-30").why_not == "It is known by whole months only: choose whole months."


def test_channels_of_the_same_name_are_told_apart(bank: Publication) -> None:
    names = {option.name: option.count for option in ask(bank).options["channel"]}
    assert names == {
        "Credit Card": 12,
        "Debit Card": 8,
        "Net Banking": 4,
        "UNKNOWN (-1)": 2,
        "UNKNOWN (5)": 1,
        "UPI": 2,
    }


def test_a_cell_is_in_the_region_of_its_day_and_has_the_last_name_of_its_channel() -> None:
    cities, channels = golden_table("dim_city"), golden_table("dim_channel")
    moved, renamed, day = [], [], date(2024, 2, 1)
    for row in cities.to_pylist():
        is_moved = row["city_name"] == "Nairobi"
        moved += [{**row, "covers_to": day}, {**row, "region": "Coast", "covers_from": day}] if is_moved else [row]
    for row in channels.to_pylist():
        renamed.append({**row, "channel_name": "Fast Pay"} if row["covers_from"] == date(2024, 3, 1) else row)
    renamed.reverse()
    changed = golden_publication(
        dim_city=pa.Table.from_pylist(moved, cities.schema), dim_channel=pa.Table.from_pylist(renamed, channels.schema)
    )
    counts = {option.name: option.count for option in ask(changed).options["region"]}
    wanted: dict[str, int] = defaultdict(int)
    for cell in CELLS:
        wanted["Coast" if cell.values["city"] == "1" and cell.day >= day else cell.values["region"]] += 1
    assert counts == wanted
    assert wanted["Central"] > 0
    assert {option.name for option in ask(changed).options["channel"]} >= {"Fast Pay", "Credit Card"}
    assert "UPI" not in {option.name for option in ask(changed).options["channel"]}


@pytest.fixture(scope="module")
def served(bank: Publication, tmp_path_factory: pytest.TempPathFactory) -> Served:
    served = Served(Place(tmp_path_factory.mktemp("bank"), settings={"pack": "banking"}))
    served.live.state = State(bank, looked_at=served.clock())
    return served


def test_each_address_answers_and_names_nobody(served: Served) -> None:
    people = {word for row in rows("dim_customer") for name in ("full_name", "phone") for word in row[name].split()}
    assert len(people - {"UNKNOWN"}) > 5
    for address in ("/banking", "/banking.json", "/banking.csv", "/banking/rows", "/banking/rows.csv", "/figures"):
        text = served.text(address)
        assert [word for word in people - {"UNKNOWN"} if word in text] == [], address
    assert served.get("/retail").status == 404


def test_pages_json_and_csv_say_the_same_of_balances(served: Served) -> None:
    content, page = json.loads(served.text("/banking.json")), served.text("/banking")
    cards = {card["figure"]: card for card in content["cards"]}
    assert (cards["average_balance"]["value"], cards["average_balance"]["on"]) == ("3573.42", "2024-03-31")
    assert "3,573.42" in page
    assert "on 2024-03-31" in page
    assert cards["accounts"]["value"] == "3"
    (trend,) = (panel for panel in content["panels"] if panel["kind"] == "trend" and panel["section"] == "Balances")
    assert (trend["days"], trend["lines"][0]["means"]) == (["2024-01-31", "2024-02-29", "2024-03-31"], [])
    written = served.text("/banking.csv").splitlines()
    assert "Total balance at the end of each month,2024-02-29,Total balance,25392.75,," in written
    figures = served.text("/figures").replace("&#39;", "'")
    assert "SUM(value) where figure = 'balance_by_type' / SUM(value) where figure = 'accounts_by_type'" in figures
