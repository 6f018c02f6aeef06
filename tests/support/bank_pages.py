"""The dashboard of the golden bank: its published tables as the golden case has them, and its cells by plain Python."""

import csv
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv

from jobs.config.packs import required_dashboard
from jobs.pages.cube import Cube
from jobs.pages.publication import Publication
from marts.compute.engine import mart_schema
from marts.packs import shipped
from support.dashboards import Cell
from support.kit import GOLDEN

PACK = shipped("banking")
BOARD = required_dashboard(PACK)
FIRST, LAST = date(2024, 1, 3), date(2024, 3, 31)
EXPECTED = GOLDEN / "banking" / "expected"
Row = dict[str, str]


def golden_publication(**changed: pa.Table) -> Publication:
    """Return the golden case as it is served: what a build publishes, which other tests compare with it."""
    tables = {name: golden_table(name) for name in BOARD.tables} | changed
    cube = Cube(BOARD, PACK.marts, tables, LAST)
    return Publication("golden", "run-1", LAST, datetime(2024, 4, 1, tzinfo=UTC), None, cube)


def golden_table(name: str) -> pa.Table:
    """Read a golden table with the types that a build publishes."""
    options = arrow_csv.ConvertOptions(
        column_types={field.name: field.type for field in mart_schema(PACK.marts[name])},
        null_values=[""],
        strings_can_be_null=True,
        true_values=["1"],
        false_values=["0"],
    )
    return arrow_csv.read_csv(EXPECTED / f"{PACK.marts[name].table}.csv", convert_options=options)


def rows(name: str) -> list[Row]:
    """Return the rows of a golden table."""
    with (EXPECTED / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def cells_by_hand() -> list[Cell]:
    """Return a cell for each golden transaction, with what its channel, city and customer are on its day."""
    cities, customers = rows("dim_city"), rows("dim_customer")
    cells = []
    for row in rows("fact_transactions"):
        day, is_done = row["transaction_date"], row["status"] == "COMPLETED"
        city = of_day(cities, "city_key", row["city_key"], day)
        customer = of_day(customers, "customer_key", row["customer_key"], day)
        values = {
            "channel": row["channel_key"],
            "region": city["region"] or "unknown",
            "state": city["state"] or "unknown",
            "city": row["city_key"],
            "segment": customer["segment"] or "UNKNOWN",
            "type": row["transaction_type"],
        }
        sums = {
            "fees": cents(row["revenue"]),
            "rows": 1,
            "done": int(is_done),
            "failed": int(row["status"] == "FAILED"),
            "amount": cents(row["amount"]) if is_done else 0,
            "ms": int(row["processing_ms"] or 0),
            "timed": int(row["processing_ms"] != ""),
        }
        cells.append(Cell(date.fromisoformat(day), values, sums))
    return cells


def of_day(versions: Iterable[Row], key: str, value: str, day: str) -> Row:
    """Return the version of an entity that covers a day."""
    (version,) = (row for row in versions if row[key] == value and row["covers_from"] <= day < row["covers_to"])
    return version


def cents(text: str) -> int:
    return int(Decimal(text) * 100)


def report(month: str, figure: str, label: str = "") -> Any:
    """Return a value of the month's report, in hundredths; None if there is none."""
    own = [row for row in rows("monthly_financial_report") if (row["month"], row["figure"]) == (month, figure)]
    return next((cents(row["value"]) for row in own if row["label"] == label), None)
