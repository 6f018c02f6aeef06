"""Read what the report of a month is made of: one publication, and the rows of the marts that its queries name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from jobs.pages.choice import Bounds
from jobs.pages.outside import Outside, read_outside
from jobs.pages.publication import Publication, read_inside, rows_of, schema_of
from jobs.ports.warehouse import Warehouse
from marts.compute.engine import running
from marts.compute.versions import month_after
from marts.dashboard import Dashboard
from marts.errors import UsageError
from marts.monthly import MonthlyReport, Query, Reads
from marts.pack import Mart, Pack

Row = tuple[Any, ...]


@dataclass(frozen=True)
class MonthSource:
    """One publication, and what the queries of a report say of some months."""

    publication: Publication
    outside: Outside
    tables: Mapping[date, Mapping[str, Sequence[Row] | None]]
    """Rows by month and title of the query; None if a mart of an optional query is not published."""


@dataclass(frozen=True)
class Declared:
    """What a pack says of its report."""

    pack: Pack
    dashboard: Dashboard
    report: MonthlyReport
    sql: Mapping[str, str]
    """Text of each query by the name of its file."""


def read_months(warehouse: Warehouse, declared: Declared, months_of: Callable[[Bounds], Sequence[date]]) -> MonthSource:
    """Read in one snapshot what the reports of some months, by their first days, are made of."""

    def read() -> MonthSource:
        live = warehouse.live()
        publication = read_inside(warehouse, declared.pack, declared.dashboard)
        months = months_of(publication.cube.bounds)
        tables = {
            month: {
                query.title: _answered(warehouse, declared, query, month, live) for query in declared.report.queries
            }
            for month in months
        }
        return MonthSource(publication, read_outside(warehouse), tables)

    return warehouse.snapshot(read)


def _answered(
    warehouse: Warehouse, declared: Declared, query: Query, month: date, live: Mapping[str, object]
) -> Sequence[Row] | None:
    """Return the rows of a query; None if it is optional and a mart is not published."""
    if missing := [name for name in query.reads if name not in live]:
        if query.optional:
            return None
        table = declared.pack.marts[missing[0]].table if missing[0] in declared.pack.marts else missing[0]
        raise UsageError(
            f"{table} is not published yet", "marts", "run marts build; a mart in leave_out is not computed"
        )
    tables = {name: _rows(warehouse, declared.pack.marts[name], own, month) for name, own in query.reads.items()}
    with running(tables, {**query.set, "month": month}) as engine:
        rows: Sequence[Row] = engine.execute(declared.sql[query.sql]).fetchall()
    return rows


def _rows(warehouse: Warehouse, mart: Mart, reads: Reads, month: date) -> pa.Table:
    """Read the rows of some months; amounts and rates are whole hundredths."""
    where = ""
    if reads.month:
        first, after = month_after(month, 1 - reads.months), month_after(month)
        written = "{:%Y-%m}" if _types(mart)[reads.month] == "month" else "{:%Y-%m-%d}"
        begins, ends = (f"'{written.format(day)}'" for day in (first, after))
        where = f"{reads.month} >= {begins} AND {reads.month} < {ends}"
    return _in_hundredths(rows_of(warehouse, mart, reads.columns, where), mart)


def _types(mart: Mart) -> dict[str, str]:
    return {column.name: column.type for column in mart.columns}


def _in_hundredths(rows: pa.Table, mart: Mart) -> pa.Table:
    """Return rows of a mart with amounts and rates as whole hundredths."""
    types, names = _types(mart), rows.column_names
    return pa.table([_whole(rows[name], types[name]) for name in names], names=names)


def _whole(column: pa.ChunkedArray, type_: str) -> pa.ChunkedArray:
    """Return decimals of two digits as whole hundredths."""
    if type_ not in ("money", "rate", "percent"):
        return column
    return pc.multiply(column, pa.scalar(100, pa.decimal128(3, 0))).cast(pa.int64())


def check_queries(pack: Pack, report: MonthlyReport, sql: Mapping[str, str]) -> None:
    """Run the queries of a report on marts without rows. Raise UsageError for one that fails or has other columns."""
    for query in report.queries:
        marts = {name: (pack.marts[name], own.columns) for name, own in query.reads.items()}
        tables = {
            name: _in_hundredths(schema_of(mart, columns).empty_table(), mart)
            for name, (mart, columns) in marts.items()
        }
        with running(tables, {**query.set, "month": date(2000, 1, 1)}) as engine:
            try:
                described = engine.execute(sql[query.sql]).description
            except duckdb.Error as error:
                raise UsageError(f"fails: {str(error).splitlines()[0]}", query.sql) from error
        count = len(query.columns) + any(unit == "unit" for _, unit in query.columns)
        if len(described) != count:
            hint = "a column of the unit `unit` has it in one more, the last" if count > len(query.columns) else ""
            raise UsageError(f"has {len(described)} columns where {count} are declared", query.sql, hint)
