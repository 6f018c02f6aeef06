"""Read the facts of a range of keys: row groups without any of them are skipped."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.ports.store import READS_AT_ONCE, Store, at_once
from jobs.state.parquet import footer, key_range, spans_of
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

    def read(path: str) -> pa.Table:
        metadata = footer(store, path)
        bounds = _bounds(metadata, name, task)
        groups = [n for n, (low, high) in enumerate(bounds) if low < above and high >= below]
        whole = {n for n in groups if bounds[n][0] >= below and bounds[n][1] < above}
        schema = metadata.schema.to_arrow_schema()
        column = schema.get_field_index(name)

        def read_groups(file: pa.NativeFile) -> pa.Table:
            parquet = pq.ParquetFile(file, metadata=metadata, page_checksum_verification=True)
            tables = [schema.empty_table()]
            for is_whole, run in groupby(groups, key=whole.__contains__):  # in the order of the file
                if is_whole:
                    tables.append(parquet.read_row_groups(list(run), use_threads=False))
                    continue
                for batch in parquet.iter_batches(_BATCH, row_groups=list(run), use_threads=False):
                    keys = batch.column(column)
                    inside = pc.and_(pc.greater_equal(keys, task.low), pc.less(keys, task.high))
                    tables.append(pa.Table.from_batches([batch.filter(inside)]))
            return pa.concat_tables(tables)

        return store.using(path, read_groups, spans_of(metadata, groups)) if groups else schema.empty_table()

    tables = at_once(read, paths, READS_AT_ONCE)
    return pa.concat_tables(tables, promote_options="default") if tables else None


def rows_of_keys(
    store: Store, paths: Sequence[str], name: str, task: MartTask, ids: np.ndarray
) -> tuple[pa.Table | None, int]:
    """Read the rows of some keys, which are sorted. None: no file. Also return about how many rows all keys have."""

    def read(path: str) -> tuple[pa.Table, int]:
        metadata = footer(store, path)
        bounds = _bounds(metadata, name, task)
        inside = [n for n, (low, high) in enumerate(bounds) if low < task.high and high >= task.low]
        own = {n: some for n in inside if len(some := _within(ids, *bounds[n]))}

        def read_groups(file: pa.NativeFile) -> pa.Table:
            parquet = pq.ParquetFile(file, metadata=metadata, page_checksum_verification=True)
            groups = ((parquet.read_row_group(n, use_threads=False), some) for n, some in own.items())
            return pa.concat_tables(rows_of_ids(group, name, some) for group, some in groups)

        rows = sum(metadata.row_group(n).num_rows for n in inside)
        if not own:
            return metadata.schema.to_arrow_schema().empty_table(), rows
        return store.using(path, read_groups, spans_of(metadata, own)), rows

    results = at_once(read, paths, READS_AT_ONCE)
    tables = [table for table, _ in results]
    return pa.concat_tables(tables, promote_options="default") if tables else None, sum(rows for _, rows in results)


def _bounds(metadata: pq.FileMetaData, name: str, task: MartTask) -> list[tuple[Any, Any]]:
    """Return the lowest and highest key of each row group of a file."""
    column = metadata.schema.names.index(name)
    everything: tuple[Any, Any] = all_keys(task.mart)
    return [key_range(metadata, number, column) or everything for number in range(metadata.num_row_groups)]


def _within(ids: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Return those of some sorted keys that are from low to high."""
    return ids[np.searchsorted(ids, low) : np.searchsorted(ids, high, side="right")]
