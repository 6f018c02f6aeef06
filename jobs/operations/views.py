"""Queries of the live marts: the top customers, the leaders of the stores, one customer, one store."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jobs.ports.warehouse import Warehouse
from jobs.runtime.escaping import for_spreadsheet
from marts.errors import UsageError
from marts.pack import Mart
from marts.packs import shipped

CUSTOMERS_MART, SALES_TEAM_MART = shipped("retail").marts.values()
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_OF_A_CUSTOMER = (
    "customer_id",
    "full_name",
    "customer_lifetime_value",
    "purchase_frequency",
    "monetary_value",
    "last_purchase_month",
    "inactive_status",
    "customer_segment",
)
_OF_A_LEADER = (
    "store_id",
    "sales_person_id",
    "full_name",
    "sales_month",
    "total_sales",
    "incentive",
    "sales_growth_rate",
    "sales_contribution_percentage",
)


@dataclass(frozen=True)
class Rows:
    """Rows of a live mart to display."""

    title: str
    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Indices of the columns to right-align."""
        types = {column.name: column.type for mart in (CUSTOMERS_MART, SALES_TEAM_MART) for column in mart.columns}
        return tuple(at for at, name in enumerate(self.names) if types[name] in ("id", "count", "money", "rate"))

    def as_objects(self) -> list[dict[str, Any]]:
        """Return the rows for JSON; money stays exact, as text."""
        return [{name: _exact(value) for name, value in zip(self.names, row, strict=True)} for row in self.rows]

    def as_csv(self) -> str:
        """Return the rows as CSV that a spreadsheet opens without running a formula."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.names)
        writer.writerows([["" if v is None else for_spreadsheet(str(v)) for v in row] for row in self.rows])
        return text.getvalue()


def top_customers(warehouse: Warehouse, limit: int) -> Rows:
    """Return the customers with the highest lifetime value."""
    # One row per customer: the row of the month of the last purchase always exists.
    rest = (
        f"WHERE sales_date_month = last_purchase_month ORDER BY {_OF_A_CUSTOMER[2]} DESC, customer_id LIMIT {limit:d}"
    )
    return Rows("top customers", _OF_A_CUSTOMER, _read(warehouse, CUSTOMERS_MART, _OF_A_CUSTOMER, rest))


def one_customer(warehouse: Warehouse, customer: int) -> Rows:
    """Return all months of a customer. Raise UsageError if the customer has no rows."""
    names = tuple(column.name for column in CUSTOMERS_MART.columns)
    rows = _read(warehouse, CUSTOMERS_MART, names, f"WHERE customer_id = {customer:d} ORDER BY sales_date_month")
    return _require_rows(Rows(f"customer {customer}", names, rows), "customer", customer)


def leaders(warehouse: Warehouse, month: str | None, limit: int) -> Rows:
    """Return the leader of each store in a month, highest sales first; of the last month by default."""
    month = month or _last_month(warehouse, "")
    rest = f"WHERE sales_month = '{_checked(month)}' AND top_performance_rank = 1"
    rest += f" ORDER BY total_sales DESC, store_id, sales_person_id LIMIT {limit:d}"
    return Rows(f"leaders of {month}", _OF_A_LEADER, _read(warehouse, SALES_TEAM_MART, _OF_A_LEADER, rest))


def one_store(warehouse: Warehouse, store: int, month: str | None) -> Rows:
    """Return the sales team of a store in a month, by rank. Raise UsageError if the store has no sales then."""
    month = month or _last_month(warehouse, f"WHERE store_id = {store:d}")
    names = tuple(column.name for column in SALES_TEAM_MART.columns)
    rest = f"WHERE store_id = {store:d} AND sales_month = '{_checked(month)}'"
    rows = _read(warehouse, SALES_TEAM_MART, names, f"{rest} ORDER BY top_performance_rank, sales_person_id")
    return _require_rows(Rows(f"store {store} in {month}", names, rows), "store", store)


def _last_month(warehouse: Warehouse, rest: str) -> str:
    ((month,),) = _ask(warehouse, SALES_TEAM_MART, f"SELECT MAX(sales_month) FROM {SALES_TEAM_MART.table} {rest}")
    return str(month or "0001-01")


def _checked(month: str) -> str:
    if not _MONTH.fullmatch(month):
        raise UsageError(f"{month!r} is not a month", "--month", "write YYYY-MM")
    return month


def _read(warehouse: Warehouse, mart: Mart, names: Sequence[str], rest: str) -> tuple[tuple[Any, ...], ...]:
    flags = {column.name for column in mart.columns if column.type == "flag"}
    rows = _ask(warehouse, mart, f"SELECT {', '.join(names)} FROM {mart.table} {rest}")
    return tuple(tuple(bool(v) if n in flags else v for n, v in zip(names, row, strict=True)) for row in rows)


def _ask(warehouse: Warehouse, mart: Mart, query: str) -> list[tuple[Any, ...]]:
    if mart.name not in warehouse.live():
        raise UsageError("nothing is published yet", mart.table, "run marts build first")
    return warehouse.execute(query)


def _require_rows(rows: Rows, what: str, number: int) -> Rows:
    if not rows.rows:
        raise UsageError(f"{what} {number} has no rows", "marts", f"list some with: marts {_GROUPS[what]} top")
    return rows


_GROUPS = {"customer": "customers", "store": "sales"}


def _exact(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value
