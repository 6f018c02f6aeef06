"""A small company whose dashboard tests look at, and its cells by plain Python."""

import random
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from jobs.config.packs import load_dashboard
from jobs.pages.publication import Publication, read_publication
from marts.dashboard import Dashboard
from marts.packs import shipped
from marts.policy import Policy
from support import oracle
from support.kit import CUSTOMERS, SALES, SALES_TEAM, Place, line, sales
from support.oracle_daily import Rows, all_marts

FIRST, LAST = date(2023, 1, 5), date(2024, 3, 31)
HEADER = f"{SALES},payment_mode"
PLACES = {
    121: ("Harbour", "Northport", "Coast", "North"),
    122: ("Mill", "Northport", "Coast", "North"),
    123: ("Hill", "Highton", "Moor", "North"),
    124: ("Bay", "Southsea", "Shore", "South"),
    125: ("", "", "", ""),
}
"""Name, city, state and region of each store; the last one has none, and store 126 is in no table."""
STORES = "id,name,city,state,region\n" + "".join(f"{n},{','.join(texts)}\n" for n, texts in PLACES.items())
BOARD = load_dashboard(shipped("retail")) or Dashboard.model_validate({})
DIMENSIONS = ("region", "state", "city", "store", "channel", "segment")


@dataclass(frozen=True)
class Cell:
    """A row of the daily mart with what its store is in."""

    day: date
    values: dict[str, str]
    """By dimension."""
    sums: dict[str, int]
    """By column; money in cents."""


def lines_of(seed: int, count: int = 900) -> list[str]:
    """Write lines of 15 months: purchases of several channels and stores, returns, guests."""
    chance, rows = random.Random(seed), []
    span = (LAST - FIRST).days
    for number in range(count):
        day, store = FIRST + timedelta(chance.randrange(span + 1)), chance.choice([121, 121, 122, 123, 124, 125, 126])
        customer = chance.choice([1, 2, 2, 3, 3, 3, 4, 5, 6, ""])
        quantity, price = chance.choice([1, 1, 2, 3, -1]), f"{chance.randrange(100, 20000) / 100:.2f}"
        row = line(f"T{number // 2}", customer, store, "tea", day.isoformat(), chance.randrange(1, 5), price, quantity)
        rows.append(f"{row},{chance.choice(['cash', 'card', ' card ', 'transfer', ''])}")
    return rows


def company_of(folder: Path, **settings: Any) -> Place:
    """Return the place of the company, without drops."""
    return Place(folder, policy=Policy(max_unknown_ratio=1, max_bad_rows=0), as_of=LAST, **settings)


def company(folder: Path, seed: int = 1, **settings: Any) -> Place:
    """Return a place whose drops are those of the company, not yet built."""
    place = company_of(folder, **settings)
    place.put("customers/customers.csv", CUSTOMERS)
    place.put("sales_team/team.csv", SALES_TEAM)
    place.put("stores/stores.csv", STORES)
    place.put("sales/first.csv", sales(*lines_of(seed), header=HEADER))
    return place


def publication_of(place: Place) -> Publication:
    with closing(place.warehouse(read_only=True)) as warehouse:
        return read_publication(warehouse, shipped("retail"), BOARD)


def marts_by_hand(place: Place) -> dict[str, Rows]:
    """Calculate the marts of a place from its drops, row by row."""
    drops = [oracle.read_lines(path.read_text()) for path in sorted((place.source / "sales").glob("*.csv"))]
    people = {n: oracle.Person("") for n in range(1, 7)}
    return all_marts(oracle.live_lines(drops), people, people, place.as_of)


def cells_by_hand(place: Place) -> list[Cell]:
    """Calculate the cells of a place from its drops, row by row."""
    cells = []
    for day, store, channel, segment, sold, gross, back, returned, total, purchases in marts_by_hand(place)[
        "daily_sales"
    ]:
        _, city, state, region = PLACES.get(store, ("", "", "", ""))
        values = {"region": region, "state": state, "city": city, "store": str(store)}
        values = {key: value or "unknown" for key, value in values.items()} | {"channel": channel, "segment": segment}
        sums = {"sale_lines": sold, "return_lines": back, "purchases": purchases}
        sums |= {
            key: cents(value) for key, value in (("gross_sales", gross), ("returned", returned), ("total_sales", total))
        }
        cells.append(Cell(day, values, sums))
    return cells


def cents(value: Decimal) -> int:
    return int(value * 100)
