"""Find the new rows of marts that a pack has alerts for."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.ports.store import Store
from jobs.state.parquet import read_parquet
from jobs.steps.materialize import MartRows
from jobs.steps.materialize_task import rows_in
from marts.alerts import Alert
from marts.compute.engine import empty_mart
from marts.pack import Mart
from marts.privacy.erasure import is_erased
from marts.views import literal

NO_NUMBERS: Mapping[str, Any] = {}
Keys = Callable[[str], Sequence[tuple[object, ...]]]
"""Returns the rows of a query of the target."""


def new_rows(
    store: Store,
    mart: Mart,
    alert: Alert,
    rows: MartRows,
    live: str,
    ask: Keys,
    people: Collection[str],
    numbers: Mapping[str, Any] = NO_NUMBERS,
) -> pa.Table:
    """Return the rows of a mart that fulfil an alert, and whose keys did not before: largest first, then by key.

    Rows of erased people are left out: an erasure removes them from the live mart, and the next build brings them back
    as those of nobody. ``people`` are the columns of their ids.

    ``numbers`` are those of the policy. ``live`` is the fingerprint of the live rows, empty if there are none. If the
    rows were not compared with them, ``ask`` gives the keys that the live mart has.
    """
    key, least = list(mart.key), {column: numbers[number] for column, number in alert.at_least.items()}
    if live and rows.follows == live:
        sides = ([item.added for item in rows.changes], [item.removed for item in rows.changes])
        added, removed = (_matching(_files(store, paths), alert, mart, people, least) for paths in sides)
        before = removed.select(key)
    else:
        added = _matching((rows_in(store, mart, [part]) for part in rows.parts), alert, mart, people, least)
        known = ask(_query(mart, alert, least)) if live and added.num_rows else ()
        columns = list(zip(*known, strict=True)) or [()] * len(key)
        schema = added.select(key).schema
        arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
        before = pa.table(arrays, schema=schema)
    new = added.join(before, key, join_type="left anti") if before.num_rows else added
    return _largest_first(new, alert.ordered_by, key)


def _largest_first(rows: pa.Table, columns: Sequence[str], key: Sequence[str]) -> pa.Table:
    """Return rows by the absolute values of some columns, largest first; then by their key."""
    values = [rows[name] if pa.types.is_date(rows[name].type) else pc.abs(rows[name]) for name in columns]
    sizes = {f"#{number}": column for number, column in enumerate(values)}
    table = pa.table({**sizes, **{name: rows[name] for name in key}})
    order = [*((name, "descending") for name in sizes), *((name, "ascending") for name in key)]
    return rows.take(pc.sort_indices(table, order))


def _files(store: Store, paths: Iterable[str]) -> Iterable[pa.Table]:
    return (read_parquet(store, path) for path in paths if path)


def _matching(
    tables: Iterable[pa.Table], alert: Alert, mart: Mart, people: Collection[str], least: Mapping[str, Any]
) -> pa.Table:
    """Return the rows that fulfil an alert, table by table: they are few of many."""
    listed = (column.name for column in alert.columns)
    names = list(dict.fromkeys([*mart.key, *alert.ordered_by, *alert.where, *least, *listed]))
    results = [empty_mart(mart).select(names)]
    for table in tables:
        owners = [name for name in table.column_names if name in people]
        rows = table.select(list(dict.fromkeys([*names, *owners])))  # before it is filtered: a mart may be wide
        for name, value in alert.where.items():
            rows = rows.filter(pc.equal(rows[name], pa.scalar(value, rows[name].type)))
        for name, number in least.items():
            rows = rows.filter(pc.greater_equal(rows[name], number))
        for name in owners:
            rows = rows.filter(pc.invert(pc.fill_null(is_erased(rows, name), False)))
        results.append(rows.select(names).cast(results[0].schema))
    return pa.concat_tables(results).combine_chunks()


def _query(mart: Mart, alert: Alert, least: Mapping[str, Any]) -> str:
    conditions = [f"{name} = {literal(value)}" for name, value in alert.where.items()]
    conditions += [f"{name} >= {number}" for name, number in least.items()]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {', '.join(mart.key)} FROM {mart.table}{where}"
