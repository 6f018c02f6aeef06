"""What stands out in a month: a case of each rule, and a month in which none holds."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from support.dashboards import BOARD

from jobs.config.packs import required_report
from jobs.pages.answer import Asked, answer
from jobs.pages.choice import Choice, Range
from jobs.pages.cube import Cube, UnusualDay
from jobs.pages.insights import MOST, Insight, insights
from jobs.pages.month_source import MonthSource
from jobs.pages.outside import Outside
from jobs.pages.publication import Publication
from jobs.ports.records import DropRecord
from marts.compute.engine import mart_schema
from marts.packs import shipped

MARTS = shipped("retail").marts
ABOUT = required_report(shipped("retail"), BOARD)[0].insights
LAST = date(2025, 12, 31)
Sale = tuple[str, int, str, int, int]
"""Month, store, channel, gross sales and returns in whole units."""


def rows_of(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    schema = mart_schema(MARTS[name])
    fields = pa.schema([schema.field(column) for column in BOARD.columns_of(name)])
    return pa.Table.from_pylist([{field.name: row.get(field.name) for field in fields} for row in rows], fields)


def source_of(sales: Sequence[Sale], unusual: Sequence[tuple[date, int, int]] = (), held: bool = False) -> MonthSource:
    """Return what is live with these sales on the first days of months."""
    cells = [
        {
            "sales_date": date.fromisoformat(f"{month}-01"),
            "store_id": store,
            "channel": channel,
            "customer_segment": "Guest",
            "gross_sales": Decimal(gross),
            "returned": Decimal(-returned),
            "total_sales": Decimal(gross - returned),
            "purchases": 1,
        }
        for month, store, channel, gross, returned in sales
    ]
    stores = [{"store_id": n, "name": f"Store {n}", "city": f"City {n}"} for n in {sale[1] for sale in sales}]
    tables = {"daily_sales": rows_of("daily_sales", cells), "stores": rows_of("stores", stores)}
    tables |= {name: rows_of(name, []) for name in BOARD.tables if name not in tables}
    cube = Cube(BOARD, MARTS, tables, LAST, [UnusualDay(*item) for item in unusual])
    publication = Publication("1", "run", LAST, datetime(2026, 1, 1, tzinfo=UTC), None, cube)
    drop = DropRecord("sales", "sales/a.csv", "d", "e", 1, "2025", "held", "41 rows are bad", 50, 0, 0, 0, "run")
    return MonthSource(publication, Outside((drop,) if held else ()), {})


def sentences(source: MonthSource) -> list[Insight]:
    days = Range(date(2025, 12, 1), LAST)
    return insights(Asked(source.publication.cube, Choice(days, compare="month")), ABOUT, source)


def months(before: int = 14) -> list[str]:
    """Return months before December 2025, oldest first."""
    return [f"{2025 - (n // 12)}-{12 - n % 12:02d}" for n in range(before, 0, -1)]


def even(month: str, gross: int = 100, returned: int = 1) -> list[Sale]:
    """Return sales of twelve stores and two channels that are all alike."""
    return [(month, store, ("card", "cash")[store % 2], gross, returned) for store in range(1, 13)]


def usual(*last: Sale) -> list[Sale]:
    """Return a history with a little up and down, and sales of the last month."""
    history = [sale for n, month in enumerate(months()) for sale in even(month, 100 + n % 3, 1 + n % 2)]
    return [*history, *last]


def test_a_month_like_all_others_says_nothing() -> None:
    assert sentences(source_of(usual(*even("2025-12", 101, 1)))) == []


def test_a_value_that_made_the_change_is_named() -> None:
    sales = usual(*even("2025-12", 101, 1)[1:], ("2025-12", 1, "cash", 1101, 1))
    changes = [item for item in sentences(source_of(sales)) if item.rule == "change"]
    on = "where net revenue changed by +1,012.00 (+85.2 %) on the month before."
    assert [(item.text, item.effect) for item in changes] == [
        (f"Channel cash: +1,006.00, {on}", 1006_00),
        (f"Store Store 1: +1,001.00, {on}", 1001_00),
    ]


def test_an_even_rise_is_nobodys() -> None:
    items = sentences(source_of(usual(*even("2025-12", 150, 1))))
    assert [item.rule for item in items if item.rule == "change"] == []


@pytest.mark.parametrize(("gross", "word"), [(150, "highest"), (50, "lowest")])
def test_a_record_is_named(gross: int, word: str) -> None:
    (item,) = [item for item in sentences(source_of(usual(*even("2025-12", gross, 1)))) if item.rule == "record"]
    assert item.text == f"Net revenue is the {word} of 15 months: {(gross - 1) * 12:,}.00."


def test_a_record_needs_half_a_year() -> None:
    few = [sale for month in months(4) for sale in even(month)]
    assert sentences(source_of([*few, *even("2025-12", 150)])) == []


def test_unusual_days_of_the_month_are_named() -> None:
    days = [(date(2025, 12, 24), 500_00, 200_00), (date(2025, 11, 24), 900_00, 200_00)]
    (item,) = sentences(source_of(usual(*even("2025-12", 101, 1)), days))
    assert item == Insight(
        "unusual day", "2025-12-24 was unusual: 500.00, where 200.00 is usual.", 300_00, ("net_revenue",)
    )


def test_a_store_with_more_than_a_tenth_is_named() -> None:
    large = [sale for month in [*months(3), "2025-12"] for sale in [*even(month, 100, 0), (month, 99, "cash", 300, 0)]]
    (item,) = sentences(source_of(large))
    assert item.text == "Store Store 99 has 20.00 % of net revenue: 300.00."


def test_a_rate_beyond_its_last_months_is_named() -> None:
    items = [item for item in sentences(source_of(usual(*even("2025-12", 101, 6)))) if item.rule == "rate"]
    (item,) = items
    assert item.text == "Return rate is 5.94 %, above the 11 months before (0.98 % to 2.00 %)."
    assert item.effect == 4775  # 3.94 % of 1,212.00


def test_what_is_missing_is_named_last() -> None:
    items = sentences(source_of(usual(*even("2025-12", 150, 1)), held=True))
    assert items[-1] == Insight("data", "Not in the figures: 1 held drop.", None, ())
    assert len(items) > 1


def test_the_largest_effects_come_first_and_at_most_seven() -> None:
    days = [(date(2025, 12, day), 1000 * day, 0) for day in range(1, 12)]
    items = sentences(source_of(usual(*even("2025-12", 150, 1)), days, held=True))
    effects = [item.effect or 0 for item in items[:-1]]
    assert len(items) == MOST
    assert effects == sorted(effects, reverse=True)
    assert items[-1].rule == "data"


def test_the_trend_of_all_marks_unusual_days_and_that_of_some_does_not() -> None:
    days = [(date(2025, 12, 24), 500_00, 200_00), (date(2025, 6, 24), 900_00, 200_00)]
    cube = source_of(usual(*even("2025-12", 101, 1)), days).publication.cube
    of_december = Choice(Range(date(2025, 12, 1), LAST))
    of_card = of_december.with_values("channel", ["card"])
    for choice, marked in ((of_december, {date(2025, 12, 24): 200_00}), (of_card, {})):
        (panel,) = [panel for panel in answer(cube, choice).panels if panel.panel.kind == "trend"]
        assert panel.unusual == marked
