"""The marts of days and stores by plain Python and Decimal, after PAGES alone: independent of the engine."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from support.oracle import Line, Person, customers_mart, sales_team_mart

Rows = list[tuple[Any, ...]]
GUEST = "Guest"


def all_marts(
    lines: Sequence[Line],
    people: dict[int, Person],
    team: dict[int, Person],
    as_of: date,
    stores: Iterable[int] = (),
) -> dict[str, Rows]:
    """Return the rows of each mart; ``stores`` are the ids of the stores table, which has no names."""
    counted = [line for line in lines if line.day <= as_of]
    customers = customers_mart(lines, people, as_of)
    segments = {row[0]: (str(row[-1]), bool(row[-2])) for row in customers}
    return {
        **two_marts(lines, people, team, as_of),
        "daily_sales": daily_sales_mart(counted, {customer: name for customer, (name, _) in segments.items()}),
        "sales_months": sales_months_mart(counted, segments),
        "stores": stores_mart(counted, stores),
    }


def two_marts(
    lines: Sequence[Line], people: dict[int, Person], team: dict[int, Person], as_of: date
) -> dict[str, Rows]:
    """Return the rows of the two marts that most tests build."""
    return {
        "customers": customers_mart(lines, people, as_of),
        "sales_team": sales_team_mart(lines, team, as_of),
    }


def channel_of(line: Line) -> str:
    return dict(line.whole).get("payment_mode", "").strip() or "unknown"


def purchases_of(lines: Iterable[Line]) -> list[list[Line]]:
    """Return the lines sold of each basket."""
    results: dict[object, list[Line]] = defaultdict(list)
    for number, line in enumerate(lines):
        if line.quantity > 0:
            results[number if line.transaction is None else line.transaction].append(line)
    return list(results.values())


def daily_sales_mart(lines: Sequence[Line], segments: Mapping[Any, str]) -> Rows:
    """Return a row per day, store, channel and segment; lines after as_of are left out before."""

    def cell(line: Line) -> tuple[date, int, str, str]:
        return line.day, line.store, channel_of(line), segments.get(line.customer, GUEST)

    cells: dict[tuple[date, int, str, str], list[Line]] = defaultdict(list)
    for line in lines:
        cells[cell(line)].append(line)
    begun: dict[tuple[date, int, str, str], int] = defaultdict(int)
    for basket in purchases_of(lines):
        first = min(basket, key=lambda o: (o.day, o.line_no is None, o.line_no or 0, o.store, channel_of(o)))
        begun[cell(first)] += 1
    rows = []
    for key, own in sorted(cells.items()):
        sold, returned = ([o for o in own if (o.quantity > 0) is is_sold] for is_sold in (True, False))
        gross, back = (sum((o.total for o in some), Decimal("0.00")) for some in (sold, returned))
        rows.append((*key, len(sold), gross, len(returned), back, gross + back, begun[key]))
    return rows


def sales_months_mart(lines: Sequence[Line], segments: Mapping[Any, tuple[str, bool]]) -> Rows:
    """Return a row per month, segment and whether its customers are inactive now."""
    groups: dict[tuple[str, str, bool], list[Line]] = defaultdict(list)
    first: dict[Any, str] = {}
    for line in lines:
        groups[(line.month, *segments.get(line.customer, (GUEST, False)))].append(line)
        if line.quantity > 0:
            first[line.customer] = min(line.month, first.get(line.customer, line.month))
    rows = []
    for (month, segment, inactive), own in sorted(groups.items()):
        bought = {o.customer for o in own if o.quantity > 0 and o.customer is not None}
        new = sum(first[customer] == month for customer in bought)
        rows.append((month, segment, inactive, len(bought), new, sum((o.total for o in own), Decimal("0.00"))))
    return rows


def stores_mart(lines: Sequence[Line], known: Iterable[int]) -> Rows:
    """Return a row per store of the table, and per store that lines name; the table has ids only."""
    table = {*known}
    every = sorted(table | {line.store for line in lines})
    return [(store, f"Store {store}", None, None, None, None, store in table) for store in every]
