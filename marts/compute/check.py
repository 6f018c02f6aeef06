"""Check a pack: bind the SQL of each table against empty inputs, and compare its columns with those declared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa

from marts.compute.engine import empty_mart, mart_schema
from marts.compute.months import empty_rows
from marts.compute.numbers import Numbers, variables_in
from marts.compute.tables import NO_FACTS, compute_rows, empty_dimension, stale_keys
from marts.errors import UsageError
from marts.pack import Mart, Pack
from marts.policy import Policy, nearest

_DAY = date(2024, 1, 31)
OF_MONTHS, OF_TABLES = ("last_day", "month"), ("as_of", "previous_as_of")
"""Variables that the engine sets."""


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
        _require_variables(table.name, (table.sql, *table.prepare), numbers, OF_MONTHS)
        try:
            rows = empty_rows(table, pack, policy)
        except duckdb.Error as error:
            raise _wrong(table.name, error) from error
        for name in filter(None, (*table.key, table.control)):
            _require_column(table.name, name, rows, "key and control name columns of the last SELECT")
        if rows.column_names.count("month") > 1:
            what = "its SQL gives a column 'month', which the engine adds"
            raise UsageError(what, f"tables.{table.name}", "leave it out, or give it another name")
        months[table.name] = rows
        if table.name not in pack.tables:
            yield CheckedTable(table.name, "month", "", tuple(rows.drop_columns(["month"]).column_names))
    for mart in pack.tables.values():
        _check_mart(pack, mart, months, numbers)
        yield CheckedTable(mart.name, mart.per, mart.table, tuple(column.name for column in mart.columns))


def _check_mart(pack: Pack, mart: Mart, months: Mapping[str, pa.Table], numbers: Numbers) -> None:
    facts = months.get(mart.reads, NO_FACTS)
    others = {name: months[name] if name in months else empty_mart(pack.tables[name]) for name in mart.also}
    _require_variables(mart.name, (mart.sql, mart.stale), numbers, OF_TABLES)
    dimensions = {item.kind: empty_dimension(pack.kinds[item.kind], mart) for item in mart.lookups}
    try:
        versioned = {name: pack.kinds[name] for name in dimensions if pack.kinds[name].versions}
        compute_rows(mart, facts, dimensions, numbers, _DAY, lambda rows: _compare(mart, rows), versioned, others)
        keys = stale_keys(mart, facts, numbers, date(2024, 1, 1), _DAY)
    except duckdb.Error as error:
        raise _wrong(mart.name, error) from error
    is_text = mart_schema(mart).field(mart.key[0]).type == pa.string()
    if keys is not None and not (np.issubdtype(keys.dtype, np.integer) or (is_text and keys.dtype == object)):
        raise UsageError(f"its stale SQL gives no values of {mart.key[0]}", f"tables.{mart.name}")


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
            what = f"{field.name} is declared as {field.type}, but its SQL gives {given}"
            raise UsageError(what, f"tables.{mart.name}", "cast it in the SQL, or declare another type")


def _fits(given: pa.DataType, declared: pa.DataType) -> bool:
    """Return whether values are cast without loss: whole numbers to whole numbers, the rest as it is."""
    return bool(given == declared or (pa.types.is_integer(given) and pa.types.is_integer(declared)))


def _require_column(table: str, name: str, rows: pa.Table, hint: str) -> None:
    if name not in rows.column_names:
        what = f"its SQL gives no column {name!r}{nearest(name, rows.column_names)}"
        raise UsageError(what, f"tables.{table}", hint)


def _wrong(name: str, error: duckdb.Error) -> UsageError:
    return UsageError(f"its SQL does not fit: {str(error).splitlines()[0]}", f"tables.{name}", "correct the .sql file")
