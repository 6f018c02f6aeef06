"""Read the facts of a range of keys: row groups without any of them are skipped."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.ports.store import READS_AT_ONCE, Store, at_once
from jobs.state.parquet import key_range
from jobs.steps.dimensions import read_whole
from jobs.steps.mart_parts import MartTask, all_keys
from marts.compute.patch import rows_of as rows_of_ids

_BATCH = 1 << 16


def rows_in_range(store: Store, paths: Iterable[str], name: str, task: MartTask) -> pa.Table | None:
    """Read the rows of a task's keys, in the column ``name``. None: no file."""
    if task.mart.per != "key":
        return read_whole(store, paths)
    below: Any = task.low
    above: Any = task.high

    def read(file: pa.NativeFile) -> pa.Table:
        parquet, bounds = _opened(file, name, task)
        column = parquet.schema_arrow.get_field_index(name)
        groups = [n for n, (low, high) in enumerate(bounds) if low < above and high >= below]
        whole = {n for n in groups if bounds[n][0] >= below and bounds[n][1] < above}
        tables = [parquet.schema_arrow.empty_table()]
        for is_whole, run in groupby(groups, key=whole.__contains__):  # in the order of the file
            if is_whole:
                tables.append(parquet.read_row_groups(list(run), use_threads=False))
                continue
            for batch in parquet.iter_batches(_BATCH, row_groups=list(run), use_threads=False):
                keys = batch.column(column)
                inside = pc.and_(pc.greater_equal(keys, task.low), pc.less(keys, task.high))
                tables.append(pa.Table.from_batches([batch.filter(inside)]))
        return pa.concat_tables(tables)

    tables = at_once(lambda path: store.using(path, read), paths, READS_AT_ONCE)
    return pa.concat_tables(tables, promote_options="default") if tables else None


def rows_of_keys(
    store: Store, paths: Sequence[str], name: str, task: MartTask, ids: np.ndarray
) -> tuple[pa.Table | None, int]:
    """Read the rows of some keys, which are sorted. None: no file. Also return about how many rows all keys have."""

    def read(file: pa.NativeFile) -> tuple[pa.Table, int]:
        parquet, bounds = _opened(file, name, task)
        inside = [n for n, (low, high) in enumerate(bounds) if low < task.high and high >= task.low]
        rows = sum(parquet.metadata.row_group(n).num_rows for n in inside)
        tables = [parquet.schema_arrow.empty_table()]
        for number in inside:
            if len(own := _within(ids, *bounds[number])):
                tables.append(rows_of_ids(parquet.read_row_group(number, use_threads=False), name, own))
        return pa.concat_tables(tables), rows

    results = at_once(lambda path: store.using(path, read), paths, READS_AT_ONCE)
    tables = [table for table, _ in results]
    return pa.concat_tables(tables, promote_options="default") if tables else None, sum(rows for _, rows in results)


def _opened(file: pa.NativeFile, name: str, task: MartTask) -> tuple[pq.ParquetFile, list[tuple[Any, Any]]]:
    """Return a file, and the lowest and highest key of each of its row groups."""
    parquet = pq.ParquetFile(file, page_checksum_verification=True)
    column = parquet.schema_arrow.get_field_index(name)
    everything: tuple[Any, Any] = all_keys(task.mart)
    return parquet, [key_range(parquet.metadata, n, column) or everything for n in range(parquet.num_row_groups)]


def _within(ids: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Return those of some sorted keys that are from low to high."""
    return ids[np.searchsorted(ids, low) : np.searchsorted(ids, high, side="right")]
