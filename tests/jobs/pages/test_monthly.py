"""The report of a month: its figures and tables equal a row-by-row calculation from the drops."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from support.dashboards import BOARD, FIRST, HEADER, LAST, Cell, cells_by_hand, company, marts_by_hand
from support.kit import Place, line, sales

from jobs.config.packs import required_report
from jobs.pages.answer import half_up
from jobs.pages.month_source import Declared, MonthSource, read_months
from jobs.pages.monthly import compose, last_month
from jobs.pages.revisions import as_bytes, numbered
from marts.errors import UsageError
from marts.packs import shipped

pytestmark = pytest.mark.usefixtures("all_marts")
DECLARED = Declared(shipped("retail"), BOARD, *required_report(shipped("retail"), BOARD))
MARCH, FEBRUARY = date(2024, 3, 1), date(2024, 2, 1)
TEXT, TEXTS = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
EXACT = {"type": ["string", "null"], "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}


def objects(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these properties and no others."""
    names = list(properties)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def lists(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


TABLE = objects(
    title=TEXT,
    columns=lists(
        objects(label=TEXT, unit={"enum": ["text", "money", "count", "percent", "decimal", "change", "number"]})
    ),
    rows=lists(lists({"type": ["string", "null"]})),
    left_out={"type": "integer", "minimum": 0},
    note=TEXT,
    is_as_of={"type": "boolean"},
)
CHART = {
    "oneOf": [
        objects(
            kind={"const": "bars"}, title=TEXT, unit=TEXT, is_as_of={}, rows=lists(lists({"type": ["string", "null"]}))
        ),
        objects(
            kind={"const": "days"},
            title=TEXT,
            unit=TEXT,
            is_as_of={},
            days=lists({"type": "string", "format": "date"}),
            series=lists(objects(name=TEXT, values=lists(EXACT))),
        ),
    ]
}
SCHEMA = objects(
    schema={"const": "martwright.report/1"},
    **dict.fromkeys(("pack", "title", "publication", "run_id", "published_at", "policy", "version", "currency"), TEXT),
    month={"type": "string", "pattern": r"^\d{4}-\d{2}$"},
    is_so_far={"type": "boolean"},
    as_of={"type": "string", "format": "date"},
    figures=lists(
        objects(
            **dict.fromkeys(("id", "label", "change", "year_change", "direction", "definition", "why_not"), TEXT),
            unit={"enum": ["money", "count", "percent", "decimal"]},
            **dict.fromkeys(("value", "before", "year_before", "year_to_date"), EXACT),
        )
    ),
    insights=lists(objects(rule=TEXT, text=TEXT, effect=EXACT, figures=TEXTS)),
    parts=lists(
        objects(
            title=TEXT,
            texts=TEXTS,
            figures=TEXTS,
            shows_insights={"type": "boolean"},
            charts=lists(CHART),
            tables=lists(TABLE),
        )
    ),
    annex=lists(TABLE),
    missing=TEXT,
    warnings=TEXTS,
    revision={"type": "integer"},
    supersedes={"type": ["integer", "null"]},
    changes=lists({"type": "object"}),
    changed_by=TEXT,
)


class Company:
    """The company, its cells by hand, and its reports."""

    def __init__(self, place: Place) -> None:
        self.place, self.cells, self.marts = place, cells_by_hand(place), marts_by_hand(place)

    def source(self, *months: date) -> MonthSource:
        with closing(self.place.warehouse(read_only=True)) as warehouse:
            return read_months(warehouse, DECLARED, lambda _: months)

    def report(self, month: date, is_so_far: bool = False) -> dict[str, Any]:
        return compose(self.source(month), DECLARED, month, is_so_far)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARTS_ANALYTICS", "false")
        patch.delenv("MARTS_LEAVE_OUT", raising=False)
        place = company(tmp_path_factory.mktemp("company"))
        assert place.build().error is None
        yield Company(place)


def of_month(cells: Sequence[Cell], month: date) -> list[Cell]:
    return [cell for cell in cells if (cell.day.year, cell.day.month) == (month.year, month.month)]


def total(cells: Sequence[Cell], column: str) -> int:
    return sum(cell.sums[column] for cell in cells)


def exact(value: int) -> str:
    """Write cents."""
    return str(Decimal(value).scaleb(-2))


def back(month: date, months: int) -> date:
    number = month.year * 12 + month.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


def figures(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {figure["id"]: figure for figure in report["figures"]}


def table(report: dict[str, Any], title: str) -> list[list[str | None]]:
    tables = [*(own for part in report["parts"] for own in part["tables"]), *report["annex"]]
    (rows,) = [own["rows"] for own in tables if own["title"] == title]
    return rows


@pytest.mark.parametrize("month", [MARCH, FEBRUARY, date(2023, 12, 1), date(2023, 2, 1)])
def test_figures_are_those_of_the_drops(shop: Company, month: date) -> None:
    own = figures(shop.report(month))
    of_year = [cell for cell in shop.cells if cell.day.year == month.year and cell.day < back(month, -1)]
    for name, column in (("net_revenue", "total_sales"), ("gross_sales", "gross_sales"), ("returned", "returned")):
        sign = -1 if name == "returned" else 1
        assert own[name]["value"] == exact(sign * total(of_month(shop.cells, month), column))
        assert own[name]["year_to_date"] == exact(sign * total(of_year, column))
        for key, months in (("before", 1), ("year_before", 12)):
            first = back(month, months)
            expected = (
                exact(sign * total(of_month(shop.cells, first), column)) if first >= FIRST.replace(day=1) else None
            )
            if first == FIRST.replace(day=1):
                expected = None  # figures begin in the middle of this month
            assert own[name][key] == expected, (name, key)
    rows = [row for row in shop.marts["sales_months"] if row[0] == f"{month:%Y-%m}"]
    assert own["customers"]["value"] == str(sum(row[3] for row in rows))
    assert own["customers"]["year_to_date"] in (None, own["customers"]["value"])
    cells = of_month(shop.cells, month)
    rate = Decimal(half_up(-total(cells, "returned") * 10_000, total(cells, "gross_sales"))).scaleb(-2)
    assert own["return_rate"]["value"] == str(rate)


def test_tables_are_those_of_the_drops(shop: Company) -> None:
    report, cells = shop.report(MARCH), of_month(shop.cells, MARCH)
    by_store, by_day = defaultdict[str, int](int), defaultdict[date, int](int)
    for cell in cells:
        by_store[cell.values["store"]] += cell.sums["total_sales"]
        by_day[cell.day] += cell.sums["total_sales"]
    listed = table(report, "Stores: all")
    assert sorted(row[1] or "" for row in listed) == sorted(map(exact, by_store.values()))
    days = {f"{date(2024, 1, n):%A}": [by_day[d] for d in by_day if d.isoweekday() == n] for n in range(1, 8)}
    assert [row[:4] for row in table(report, "Net revenue by weekday")] == [
        [name, str(len(own)), exact(sum(own)), exact(half_up(sum(own), len(own)))] for name, own in days.items() if own
    ]
    people = [row for row in shop.marts["sales_team"] if row[3] == "2024-03"]
    assert [row[1] for row in table(report, "Sales people: all")] == [
        str(row[1]) for row in sorted(people, key=lambda row: (row[0], row[6], row[1]))
    ]
    chart = report["parts"][1]["charts"][0]
    assert chart["days"] == [(MARCH + timedelta(n)).isoformat() for n in range(31)]
    assert chart["series"][0]["values"] == [exact(by_day[MARCH + timedelta(n)]) for n in range(31)]


def test_each_table_of_the_month_adds_up_to_its_figure(shop: Company) -> None:
    report = shop.report(MARCH)
    value = Decimal(figures(report)["net_revenue"]["value"])
    titles = ("Stores: all", "Net revenue by weekday", "Customers who bought, by segment", "Sales people: all")
    for title in titles:
        (columns,) = [
            [column["label"] for column in own["columns"]]
            for own in [*(own for part in report["parts"] for own in part["tables"]), *report["annex"]]
            if own["title"] == title
        ]
        at = columns.index("Net revenue")
        assert sum(Decimal(row[at] or 0) for row in table(report, title)) == value, title


def test_the_json_has_its_schema_and_the_same_bytes_again(shop: Company) -> None:
    first = numbered(shop.report(MARCH))
    jsonschema.validate(first, SCHEMA)
    again = numbered(compose(shop.source(FEBRUARY, MARCH), DECLARED, MARCH))
    assert as_bytes(first) == as_bytes(again)
    assert json.loads(as_bytes(first)) == first


def test_it_says_what_is_not_in_it_and_that_nothing_is_known_of_moves_and_margins(shop: Company) -> None:
    report = shop.report(MARCH)
    texts = [text for part in report["parts"] for text in part["texts"]]
    assert any("the margin is not known" in text for text in texts)
    assert any("Predicted value and churn: customer_analytics is not published." in text for text in texts)
    (rows,) = [
        text for text in texts if text.startswith("Rows read = clean + quarantined + duplicates, of the 1 drop ")
    ]
    read, clean, quarantined, duplicates = map(int, re.findall(r"\d+", rows.partition(":")[2]))
    assert read == clean + quarantined + duplicates == 900
    assert figures(report)["customers"]["why_not"] == ""


@pytest.mark.parametrize(
    ("month", "what"), [(date(2024, 4, 1), "nothing to report of 2024-04"), (date(2022, 12, 1), "of 2022-12")]
)
def test_a_month_without_figures_is_refused(shop: Company, month: date, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        shop.report(month)


def test_a_month_that_is_not_over_is_refused_unless_it_is_asked_for(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("MARTS_ANALYTICS", "false")
    place = company(tmp_path)
    place.as_of = date(2024, 3, 20)
    assert place.build().error is None
    shop = Company(place)
    with pytest.raises(UsageError, match="2024-03 is not over: the marts are as of 2024-03-20"):
        shop.report(MARCH)
    report = shop.report(MARCH, is_so_far=True)
    assert report["is_so_far"]
    assert len(report["parts"][1]["charts"][0]["days"]) == 20
    before = [cell for cell in of_month(shop.cells, FEBRUARY) if cell.day.day <= 20]
    assert figures(report)["net_revenue"]["before"] == exact(total(before, "total_sales"))
    assert "the month is not over" in report["parts"][0]["texts"][0]
    with pytest.raises(UsageError, match="2024-02 is over"):
        shop.report(FEBRUARY, is_so_far=True)


@pytest.mark.parametrize(
    ("as_of", "month"),
    [
        (date(2024, 3, 31), MARCH),
        (date(2024, 3, 30), FEBRUARY),
        (date(2024, 4, 1), MARCH),
        (date(2024, 1, 1), date(2023, 12, 1)),
    ],
)
def test_the_last_month_is_the_last_that_is_over(as_of: date, month: date) -> None:
    assert last_month(as_of) == month


def test_a_company_of_one_store_and_one_day_has_a_report(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("MARTS_ANALYTICS", "false")
    place = company(tmp_path)
    place.put(
        "sales/first.csv",
        sales(f"{line('T1', '', 121, day='2024-03-05', price='5.00', quantity=-1)},cash", header=HEADER),
    )
    assert place.build().error is None
    report = Company(place).report(MARCH)
    assert figures(report)["net_revenue"]["value"] == "-5.00"
    assert figures(report)["return_rate"]["why_not"]
    jsonschema.validate(numbered(report), SCHEMA)


def test_the_last_day_of_figures_is_in_it(shop: Company) -> None:
    assert shop.report(MARCH)["as_of"] == LAST.isoformat()
