"""Check a pack: bind the SQL of each table against empty inputs, and compare its columns with those declared."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa

from marts.compute.engine import empty_mart, mart_schema, running, selected
from marts.compute.months import empty_rows
from marts.compute.numbers import Numbers, variables_in
from marts.compute.tables import NO_FACTS, compute_rows, empty_dimension, stale_keys
from marts.errors import SqlFailed, UsageError
from marts.pack import Mart, MonthTable, Pack
from marts.policy import Policy, nearest

_DAY = date(2024, 1, 31)
_OF_MONTHS, _OF_TABLES = ("last_day", "month"), ("as_of", "previous_as_of")
"""Variables that the engine sets."""

_SQL_TYPES: Mapping[pa.DataType, str] = {
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.timestamp("us"): "TIMESTAMP",
}


@dataclass(frozen=True)
class CheckedTable:
    """A table whose SQL fits."""

    name: str
    per: str
    publishes: str
    columns: tuple[str, ...]


def check_pack(pack: Pack, policy: Policy) -> Iterator[CheckedTable]:
    """Yield each table that fits. Raise UsageError that names the table, and what its SQL or columns lack."""
    numbers = Numbers.of(pack, policy)
    months: dict[str, pa.Table] = {}
    for table in pack.months.values():
        _require_variables(table.name, (table.sql, *table.prepare), numbers, _OF_MONTHS)
        with _definition(pack):
            rows = empty_rows(table, pack, policy, months)
        for name in filter(None, (*table.key, table.control)):
            _require_column(table.name, name, rows, "key and control name columns of the last SELECT")
        control = rows.schema.field(table.control).type if table.control else pa.int64()
        if table.name not in pack.tables and not _is_whole(control):
            what = f"its control {table.control} is {_in_sql(control)}, no whole number of cents"
            raise UsageError(what, f"tables.{table.name}", "cast the sum in the SQL: sum(…_cents)::BIGINT")
        if table.by_day == "merged":
            _require_merge(table, rows.drop_columns(["month"]).schema)
        if rows.column_names.count("month") > 1:
            what = "its SQL gives a column 'month', which the engine adds"
            raise UsageError(what, f"tables.{table.name}", "leave it out, or give it another name")
        months[table.name] = rows
        if table.name not in pack.tables:
            yield CheckedTable(table.name, "month", "", tuple(rows.drop_columns(["month"]).column_names))
    for mart in pack.tables.values():
        _check_mart(pack, mart, months, numbers)
        yield CheckedTable(mart.name, mart.per, mart.table, tuple(column.name for column in mart.columns))
    yield from _check_views(pack)


def _check_views(pack: Pack) -> Iterator[CheckedTable]:
    """Yield each view in the database that fits."""
    run = pa.table({"run_id": pa.array([], pa.string()), "as_of_date": pa.array([], pa.date32())})
    known = {}
    for mart in pack.marts.values():
        rows = empty_mart(mart)
        known[mart.table] = pa.table([*rows.columns, *run.columns], [*rows.column_names, *run.column_names])
    for view in pack.database_views:
        with _definition(pack), running(known, {}) as engine:
            known[view.name] = selected(engine, view.sql, view.name)
        yield CheckedTable(view.name, "view", view.name, tuple(known[view.name].column_names))


def _check_mart(pack: Pack, mart: Mart, months: Mapping[str, pa.Table], numbers: Numbers) -> None:
    facts = months.get(mart.reads, NO_FACTS)
    others = {name: months[name] if name in months else _empty(pack, mart, name) for name in mart.also}
    _require_variables(mart.name, (mart.sql, mart.stale), numbers, _OF_TABLES)
    for name in (mart.reads, *mart.also) if mart.per == "key" else ():
        if name in months:
            _require_key(mart, name, months[name])
    for item in (item for item in mart.lookups if item.on):
        if "lines" not in facts.column_names or item.on not in facts.column_names:
            what = f"lookups.{item.kind} looks up {item.on!r} of {mart.reads or 'a table of months'}"
            known = f"it has {', '.join(facts.column_names)}" if mart.reads else "it reads none"
            raise UsageError(f"{what}, with its lines: {known}", f"tables.{mart.name}", "name them in its SQL")
    dimensions = {item.kind: empty_dimension(pack.kinds[item.kind], mart) for item in mart.lookups}
    with _definition(pack):
        versioned = {name: pack.kinds[name] for name in dimensions if pack.kinds[name].versions}
        compute_rows(mart, facts, dimensions, numbers, _DAY, lambda rows: _compare(mart, rows), versioned, others)
        keys = stale_keys(mart, facts, numbers, date(2024, 1, 1), _DAY)
    is_text = mart_schema(mart).field(mart.key[0]).type == pa.string()
    if keys is not None and not (np.issubdtype(keys.dtype, np.integer) or (is_text and keys.dtype == object)):
        raise UsageError(f"its stale SQL gives no values of {mart.key[0]}", f"tables.{mart.name}")


def _empty(pack: Pack, mart: Mart, other: str) -> pa.Table:
    """Return no rows of another table, with the columns that a mart reads of it."""
    rows = empty_mart(pack.tables[other])
    return rows.select(mart.columns_of[other]) if other in mart.columns_of else rows


def _require_variables(table: str, texts: Sequence[str], numbers: Numbers, of_engine: Sequence[str]) -> None:
    known = sorted((*numbers.variables, *of_engine))
    for name in variables_in(*texts):
        if name in known:
            continue
        what = f"its SQL reads the variable {name!r}, which is no number of the policy{nearest(name, known)}"
        raise UsageError(what, f"tables.{table}", f"known: {', '.join(known)}")


def _compare(mart: Mart, rows: pa.Table) -> None:
    for field in mart_schema(mart):
        _require_column(mart.name, field.name, rows, f"it gives {', '.join(rows.column_names)}")
        given = rows.schema.field(field.name).type
        if not _fits(given, field.type):
            declared = next(column.type for column in mart.columns if column.name == field.name)
            what = f"{field.name} is declared as {declared}, {_in_sql(field.type)}, but its SQL gives {_in_sql(given)}"
            raise UsageError(what, f"tables.{mart.name}", "cast it in the SQL, or declare another type")


def _fits(given: pa.DataType, declared: pa.DataType) -> bool:
    """Return whether values are cast without loss: whole numbers to whole numbers, the rest as it is."""
    return bool(given == declared or (pa.types.is_integer(given) and pa.types.is_integer(declared)))


def _is_whole(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or (pa.types.is_decimal(type_) and type_.scale == 0))


def _require_column(table: str, name: str, rows: pa.Table, hint: str) -> None:
    if name not in rows.column_names:
        what = f"its SQL gives no column {name!r}{nearest(name, rows.column_names)}"
        raise UsageError(what, f"tables.{table}", hint)


def _require_merge(table: MonthTable, schema: pa.Schema) -> None:
    """Raise UsageError if the columns that rows of days are merged by are not those of the table."""
    where, values = f"tables.{table.name}.merge", [name for name in schema.names if name not in table.key]
    if missing := [name for name in values if name not in table.merge]:
        raise UsageError(f"it lacks {', '.join(missing)}", where, "name each column besides the key: sum, min or max")
    if floats := [
        name for name in values if table.merge[name] == "sum" and pa.types.is_floating(schema.field(name).type)
    ]:
        what = f"sums of {floats[0]}, a floating-point number, depend on the order of the days"
        raise UsageError(what, where, "cast it to DECIMAL in the SQL")
    if unknown := next((name for name in table.merge if name not in values), ""):
        raise UsageError(f"its SQL gives no column {unknown!r}{nearest(unknown, values)}", where)


def _require_key(mart: Mart, table: str, facts: pa.Table) -> None:
    """Raise UsageError if a mart of keys has no key that a month table that it reads has: its rows are read by it."""
    name, where = mart.key[0], f"tables.{mart.name}"
    if name == "month" or name not in facts.column_names:
        own = ", ".join(other for other in facts.column_names if other != "month")
        what = f"its key begins with {name!r}, but it is computed by values of a column of {table}: {own}"
        raise UsageError(what, where, 'begin the key with one of them, or set per = "all"')
    given, declared = facts.schema.field(name).type, mart_schema(mart).field(name).type
    if not _fits(given, declared) or not (pa.types.is_integer(declared) or pa.types.is_string(declared)):
        what = f"its key {name} is {_in_sql(given)} in {table}, and declared as {_in_sql(declared)}"
        raise UsageError(what, where, 'let it be a whole number or a text in both, or set per = "all"')


@contextmanager
def _definition(pack: Pack) -> Iterator[None]:
    """Raise UsageError for SQL that fails without rows: it is wrong in itself."""
    try:
        yield
    except SqlFailed as error:
        missing = re.search(r"Table with name (\w+) does not exist", error.what)
        known = missing and missing[1] in {*pack.kinds, *pack.tables, *pack.months}
        hint = f"add {missing[1]!r} to its reads" if missing and known else "correct the .sql file"
        raise UsageError(error.what, error.where, hint) from error


def _in_sql(type_: pa.DataType) -> str:
    """Return the name of a type in SQL."""
    if pa.types.is_decimal(type_):
        return f"DECIMAL({type_.precision},{type_.scale})"
    return _SQL_TYPES.get(type_, str(type_))
