"""Compute the rows of a mart from a table of months and dimensions, by the SQL of its pack."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.compute.engine import mart_schema, named_in, ordered, running, selected
from marts.compute.numbers import Numbers
from marts.compute.versions import INFERRED, history_schema, with_members
from marts.errors import SqlFailed
from marts.pack import Kind, Lookup, Mart
from marts.rows.cast import clean_schema

NO_KINDS: Mapping[str, Kind] = {}
NO_TABLES: Mapping[str, pa.Table] = {}
NO_FACTS = pa.table({})
"""Facts of a mart that reads dimensions only."""


@dataclass(frozen=True)
class TableRows:
    """Computed rows of a mart, in key order."""

    rows: pa.Table
    unmatched: Mapping[str, int]
    """Rows of the facts without an entry in a dimension, by dimension."""


def compute_rows(
    mart: Mart,
    facts: pa.Table,
    dimensions: Mapping[str, pa.Table],
    numbers: Numbers,
    as_of: date,
    check: Callable[[pa.Table], None] = lambda _: None,
    kinds: Mapping[str, Kind] = NO_KINDS,
    others: Mapping[str, pa.Table] = NO_TABLES,
) -> TableRows:
    """Compute the rows of a mart. ``dimensions`` have the columns of `columns_used`, one row per key.

    ``facts`` are the rows of the table of months that it reads, if it reads one; ``kinds`` the dimensions with
    versions: they get rows for the entities that only facts name, and for the members; ``others`` the tables that it
    reads as a whole.

    ``check`` gets the rows as its SQL gives them.
    """
    every, numbers = numbers, numbers.used_by(mart.sql)
    months = {mart.reads: _by_month(mart, facts)} if mart.reads else {}
    standing = {item.kind: _named(mart, item, dimensions, facts, kinds) for item in mart.lookups if item.kind in kinds}
    tables = {**months, **others, **dimensions, **standing, **numbers.tables}
    with running(tables, {"as_of": as_of, **numbers.variables}) as engine:
        rows = selected(engine, mart.sql, mart.name)
        if mart.calculation:
            rows = _calculated(mart, rows, {"as_of": as_of, **every.variables})
        check(rows)
        ordered_rows = ordered(_as_declared(rows, mart), mart.key)
        unmatched = {}
        for item in (item for item in mart.lookups if item.on):
            key = dimensions[item.kind].column_names[0]
            known = f"(SELECT {key} FROM {item.kind}{f' WHERE NOT {INFERRED}' if item.kind in kinds else ''})"
            query = f"SELECT coalesce(sum(lines), 0)::BIGINT FROM {mart.reads} m WHERE m.{item.on} NOT IN {known}"
            ((count,),) = engine.execute(query).fetchall()
            unmatched[item.kind] = int(count)
    return TableRows(ordered_rows, unmatched)


def _calculated(mart: Mart, rows: pa.Table, variables: Mapping[str, Any]) -> pa.Table:
    """Return what the calculation of a table computes from the rows that its SQL selects."""
    from marts.analytics.calculations import CALCULATIONS  # with it come numpy's and scipy's: only its task needs them

    columns, schema = CALCULATIONS[mart.calculation](rows, variables), mart_schema(mart)
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema)


def _as_declared(rows: pa.Table, mart: Mart) -> pa.Table:
    """Return the columns that a mart declares. Raise SqlFailed for values that do not fit the declaration."""
    where = f"tables.{mart.name}"
    for column in mart.columns:
        values = rows[column.name]
        if values.null_count and not column.nullable:
            key = {name: rows[name].filter(values.is_null())[0].as_py() for name in mart.key if name != column.name}
            of = ", ".join(f"{name} {value}" for name, value in key.items())
            what = f"{column.name} is NULL in {values.null_count:,} rows{f', such as {of}' if of else ''}"
            hint = 'declare its type with ? and "null if …", or correct the SQL; the live marts are untouched'
            raise SqlFailed(what, where, hint)
        longest = pc.max(pc.utf8_length(values)).as_py() or 0 if column.type == "text" else 0
        if longest > column.max_length:
            what = f"{column.name} has a text of {longest:,} characters, more than text({column.max_length})"
            raise SqlFailed(what, where, "declare a longer text, or cut it in the SQL; the live marts are untouched")
    try:
        return rows.select([column.name for column in mart.columns]).cast(mart_schema(mart))
    except pa.ArrowInvalid as error:
        raise SqlFailed(f"a number is too large: {error}", where, "cast it in the SQL, or leave it out") from error


def _named(
    mart: Mart, item: Lookup, dimensions: Mapping[str, pa.Table], facts: pa.Table, kinds: Mapping[str, Kind]
) -> pa.Table:
    """Return a dimension with versions, with rows for what its snapshots do not have.

    Of a mart that is computed in parts, the members are in none: they are not entities of a range of keys.
    """
    rows = dimensions[item.kind]
    named = facts[item.on].combine_chunks() if item.on else pa.array([], rows.schema[0].type)
    return with_members(kinds[item.kind], rows, named, mart.per == "all")


def period_end(mart: Mart, numbers: Mapping[str, Any], as_of: date) -> date:
    """Return the day of a table: as_of, or the last end of its period up to it; ``numbers`` are those of the policy."""
    every = numbers["analytics_every"] if mart.every == "analytics" else mart.every
    if every == "week":
        return as_of - timedelta(days=(as_of.weekday() + 1) % 7)
    if every == "month" and (as_of + timedelta(days=1)).day != 1:
        return as_of.replace(day=1) - timedelta(days=1)
    return as_of


def stale_keys(mart: Mart, facts: pa.Table, numbers: Numbers, before: date, as_of: date) -> np.ndarray | None:
    """Return the keys whose rows another as_of changes, at least; None if these can be all."""
    if before == as_of:
        return np.array([], np.int64)
    if not mart.stale:
        return None if named_in(["as_of"], mart.sql) else np.array([], np.int64)
    variables = {"as_of": as_of, "previous_as_of": before, **numbers.used_by(mart.stale).variables}
    with running({mart.reads: facts}, variables) as engine:
        return np.asarray(selected(engine, mart.stale, mart.name).column(0))


def columns_used(kind: Kind, mart: Mart) -> list[str]:
    """Return the clean columns of a dimension that a mart reads: its key first, then those that its SQL names."""
    others = (name for name in dimension_schema(kind).names if name != kind.key)
    known_by = "version_key" if kind.reports else ""  # null in the row of an entity without a version
    return [kind.key or "", *named_in(others, mart.sql, known_by)]


def dimension_schema(kind: Kind) -> pa.Schema:
    """Return the schema of a dimension as its files have it: of one with versions, that of its history."""
    return history_schema(kind) if kind.versions else clean_schema(kind)


def empty_dimension(kind: Kind, mart: Mart) -> pa.Table:
    """Return a dimension without rows, as `compute_rows` expects it."""
    return dimension_schema(kind).empty_table().select(columns_used(kind, mart))


def _by_month(mart: Mart, facts: pa.Table) -> pa.Table:
    """Return the rows of a mart of keys in the order of key and month: most often they are."""
    return ordered(facts, [mart.key[0], "month"]) if mart.per == "key" else facts
