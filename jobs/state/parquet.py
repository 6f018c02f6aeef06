"""Parquet files of the state."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.ports.store import READS_AT_ONCE, Span, Store, at_once
from jobs.state.manifest import Manifest

READ_ATTEMPTS = 3
_DISTINCT, _AMOUNTS = ("raw", "#hash", "#row"), ("_cents", "_millionths")
"""Columns with few repeated values, and the ends of names of such: a dictionary would only cost time."""
_PRUNED = ("bucket", "#hash")
"""Columns by which readers skip row groups."""


def read_quarantine(store: Store, manifest: "Manifest", path: str, columns: list[str] | None = None) -> pa.Table:
    """Read the rows of a drop in one of its quarantine files: drops that were read together share a file."""
    rows = read_parquet(store, path, columns)
    return rows.filter(pc.equal(rows["drop"], manifest.delivery.key))


def write_parquet(
    store: Store,
    key: str,
    table: pa.Table,
    groups: Iterable[tuple[int, int]] | None = None,
    by: str = "",
    distinct: Sequence[str] = (),
) -> None:
    """Write a table as one Parquet object."""
    store.put(key, parquet_bytes(table, groups, by, distinct))


def parquet_bytes(
    table: pa.Table, groups: Iterable[tuple[int, int]] | None = None, by: str = "", distinct: Sequence[str] = ()
) -> pa.Buffer:
    """Return a table as a Parquet file, one row group per (start, stop) if given: equal rows give equal bytes.

    ``by`` is a column by which readers skip row groups; of ``distinct``, values hardly repeat.
    """
    sink = pa.BufferOutputStream()
    few = {*_DISTINCT, *distinct, by}
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        use_dictionary=[name for name in table.schema.names if name not in few and not name.endswith(_AMOUNTS)],
        write_statistics=[name for name in table.schema.names if name in (*_PRUNED, by)],
        store_decimal_as_integer=True,
        write_page_checksum=True,
    ) as writer:
        for start, stop in groups or [(0, table.num_rows)]:
            writer.write_table(table.slice(start, stop - start), row_group_size=max(stop - start, 1))
    return sink.getvalue()


def key_range(metadata: pq.FileMetaData, group: int, column: int) -> tuple[Any, Any] | None:
    """Return the lowest and highest key of a row group; None without statistics."""
    statistics = metadata.row_group(group).column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return None
    return statistics.min, statistics.max


_FOOTERS = 1024
"""Footers of Parquet files that a process keeps, some 50 KB each: tasks of one mart read parts of the same files."""
_footers: dict[tuple[str, str], pq.FileMetaData] = {}


def footer(store: Store, key: str) -> pq.FileMetaData:
    """Return the footer of a Parquet object that is named by its inputs: what it has never changes."""
    place = (store.uri, key)
    if place not in _footers:
        while len(_footers) >= _FOOTERS:
            _footers.pop(next(iter(_footers)), None)
        _footers[place] = store.using(key, pq.read_metadata)
    return _footers[place]


def spans_of(metadata: pq.FileMetaData, groups: Iterable[int]) -> list[Span]:
    """Return where the bytes of some row groups are in their file."""
    spans = []
    for group in filter(lambda group: group.num_rows, map(metadata.row_group, groups)):
        columns = [group.column(place) for place in range(group.num_columns)]
        starts = [min(filter(None, (column.dictionary_page_offset, column.data_page_offset))) for column in columns]
        stops = [start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)]
        spans.append((min(starts), max(stops)))
    return spans


def read_parquet(store: Store, key: str, columns: list[str] | None = None) -> pa.Table:
    """Read some columns of a Parquet object."""
    return store.using(
        key, lambda file: pq.read_table(file, columns=columns, use_threads=False, page_checksum_verification=True)
    )


def read_tables(store: Store, keys: Iterable[str], columns: list[str] | None = None) -> list[pa.Table]:
    """Read some columns of several Parquet objects."""
    return at_once(lambda key: read_parquet(store, key, columns), keys, READS_AT_ONCE)
