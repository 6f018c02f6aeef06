"""Queries of the live marts, as the views of a pack declare them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.ports.warehouse import Warehouse
from jobs.runtime.escaping import csv_for_spreadsheet
from marts.errors import UsageError
from marts.pack import DECIMALS, Mart
from marts.values import exact
from marts.views import Section, ShowView, TopView, View, literal

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_NUMBERS = ("id", "count", *DECIMALS)


@dataclass(frozen=True)
class Rows:
    """Rows of a live mart to display."""

    table: str
    """The mart."""
    title: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    headings: tuple[str, ...]
    """Short names of the columns."""
    rows: tuple[tuple[Any, ...], ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Indices of the columns to right-align."""
        return tuple(at for at, type_ in enumerate(self.types) if type_ in _NUMBERS)

    def as_objects(self) -> list[dict[str, Any]]:
        """Return the rows for JSON; money stays exact, as text."""
        return [{name: exact(value) for name, value in zip(self.names, row, strict=True)} for row in self.rows]

    def as_csv(self) -> str:
        """Return the rows as CSV that a spreadsheet opens without running a formula."""
        return csv_for_spreadsheet([self.names, *self.rows])


def top(warehouse: Warehouse, view: View, listed: TopView, mart: Mart, month: str | None, limit: int) -> Rows:
    """Return the rows with the highest values; of a view by month, those of the last month by default."""
    month = _month(warehouse, view, mart, month, "")
    conditions = [f"{name} = {literal(value)}" for name, value in listed.where.items()]
    conditions += [f"{view.month} = '{month}'"] if view.month else []
    conditions += [f"{listed.equal[0]} = {listed.equal[1]}"] if listed.equal else []
    highest = ", ".join(f"{name} DESC" for name in listed.ordered_by)
    order = f"{highest}, {', '.join(mart.key)} LIMIT {limit:d}"
    return _read(warehouse, view, mart, listed.columns, listed.title.replace("{month}", month), conditions, order)


def groups(warehouse: Warehouse, view: View, mart: Mart) -> Rows:
    """Return the number of rows and the sums of each value of a column, the highest first."""
    assert view.groups
    of = view.groups
    sums = ", ".join(f"SUM({name}) AS {name}" for name in of.sums)
    order = f"SUM({of.sums[0]}) DESC, {of.by}"
    query = f"SELECT {of.by}, COUNT(*), {sums} FROM {mart.table} GROUP BY {of.by} ORDER BY {order}"
    names, types = (of.by, of.count, *of.sums), _types(mart) | {of.count: "count"}
    rows = tuple(_ask(warehouse, mart, query))
    return Rows(mart.table, of.title, names, tuple(map(types.__getitem__, names)), _headings(view, names), rows)


def show(
    warehouse: Warehouse,
    view: View,
    of: ShowView,
    marts: Mapping[str, Mart],
    value: int | str | None,
    month: str | None,
) -> tuple[Rows, ...]:
    """Return all rows with a value, of a view by month in one, and those of each section.

    Without a value, return the rows of all. Raise UsageError if there is none.
    """
    parts = (
        _own_rows(warehouse, view, of, marts[view.table], value, month),
        *(_section(warehouse, section, marts[section.table], value) for section in of.also if value is not None),
    )
    if not any(rows.rows for rows in parts):
        check = "check the value, and --month if it is given" if view.month else "check the value"
        check += f"; without one, marts {view.command} show lists all" if of.every and value is not None else ""
        hint = f"list some with: marts {view.command} top" if view.top else check
        what = "there are" if value is None else f"{of.noun} {value} has"
        raise UsageError(f"{what} no rows", "marts", hint)
    return parts


def _own_rows(
    warehouse: Warehouse, view: View, of: ShowView, mart: Mart, value: int | str | None, month: str | None
) -> Rows:
    own = [] if value is None else [f"{of.by} = {literal(value)}"]
    month = _month(warehouse, view, mart, month, "".join(f"WHERE {condition}" for condition in own))
    conditions = [*own, *([f"{view.month} = '{month}'"] if view.month else [])]
    names = [*of.first, *(column.name for column in mart.columns if column.name not in of.first)]
    title = of.every if value is None else of.title.replace("{}", str(value))
    order = of.order if own else (of.by, *of.order)
    return _read(warehouse, view, mart, names, title.replace("{month}", month), conditions, ", ".join(order))


def _section(warehouse: Warehouse, of: Section, mart: Mart, value: int | str) -> Rows:
    names = of.columns or [column.name for column in mart.columns]
    title = of.title.replace("{}", str(value))
    return _read(warehouse, of, mart, names, title, [f"{of.by} = {literal(value)}"], ", ".join(of.order))


def _month(warehouse: Warehouse, view: View, mart: Mart, month: str | None, rest: str) -> str:
    if not view.month:
        return ""
    if month is None:
        ((last,),) = _ask(warehouse, mart, f"SELECT MAX({view.month}) FROM {mart.table} {rest}")
        month = str(last or "0001-01")
    if not _MONTH.fullmatch(month):
        raise UsageError(f"{month!r} is not a month", "--month", "write YYYY-MM")
    return month


def _read(
    warehouse: Warehouse,
    of: View | Section,
    mart: Mart,
    names: Sequence[str],
    title: str,
    conditions: Sequence[str],
    order: str,
) -> Rows:
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    rows = _ask(warehouse, mart, f"SELECT {', '.join(names)} FROM {mart.table} {where}ORDER BY {order}")
    types = tuple(map(_types(mart).__getitem__, names))
    cells = (
        tuple(bool(value) if type_ == "flag" else value for type_, value in zip(types, row, strict=True))
        for row in rows
    )
    return Rows(mart.table, title, tuple(names), types, _headings(of, names), tuple(cells))


def _types(mart: Mart) -> dict[str, str]:
    return {column.name: column.type for column in mart.columns}


def _headings(of: View | Section, names: Sequence[str]) -> tuple[str, ...]:
    """Return the short names of columns."""
    return tuple(of.headings.get(name, name.replace("_", " ")) for name in names)


def _ask(warehouse: Warehouse, mart: Mart, query: str) -> list[tuple[Any, ...]]:
    if mart.name not in warehouse.live():
        raise UsageError("nothing is published yet", mart.table, "run marts build first")
    return warehouse.execute(query)
