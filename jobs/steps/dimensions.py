"""Read dimensions from the state: one row per key, or per version."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.ports.store import Store
from jobs.state.parquet import read_tables
from marts.errors import DuplicateKeys
from marts.pack import Kind
from marts.rows.cast import DELETED


def read_whole(store: Store, paths: Iterable[str]) -> pa.Table | None:
    """Read the rows of several files, in their order. None: no file."""
    tables = read_tables(store, paths)
    return pa.concat_tables(tables, promote_options="default") if tables else None


def unique(rows: pa.Table | None, kind: Kind, last_counts: bool) -> pa.Table | None:
    """Return one row per key, or per version; ``last_counts`` is whether the last row of a key counts.

    Raise DuplicateKeys for rows that differ: which one is right cannot be decided.
    """
    key = kind.key or ""
    if rows is None or kind.versions:
        return rows
    if DELETED in rows.column_names:  # null in the rows of a whole table, which come first
        is_change = rows[DELETED].is_valid()
        whole = unique(rows.filter(pc.invert(is_change)).drop_columns([DELETED]), kind, last_counts)
        both = pa.concat_tables([whole, rows.filter(is_change)], promote_options="default")
        return _last_of_each(both, key)
    if last_counts:
        return _last_of_each(rows, key)
    if _repeats(rows, key):
        rows = rows.group_by(rows.column_names, use_threads=False).aggregate([])  # equal rows are one
    if ids := _repeats(rows, key):
        raise DuplicateKeys.of(kind.name, key, ids)
    return rows


def _repeats(rows: pa.Table, key: str) -> list[int]:
    """Return the keys of several rows, sorted."""
    counts = rows[key].combine_chunks().value_counts()
    return sorted(counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist())


def _last_of_each(rows: pa.Table, key: str) -> pa.Table:
    """Return the last row of each key, unless it is deleted."""
    backwards = np.asarray(rows[key])[::-1]
    _, places = np.unique(backwards, return_index=True)
    rows = rows.take(pa.array(np.sort(len(backwards) - 1 - places)))
    if DELETED in rows.column_names:
        rows = rows.filter(pc.invert(pc.fill_null(rows[DELETED], False))).drop_columns([DELETED])
    return rows
