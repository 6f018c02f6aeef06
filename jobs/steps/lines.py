"""Read clean lines of drops from the state, with the names of their transactions."""

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.ports.store import READS_AT_ONCE, Store, at_once
from jobs.state.manifest import BUCKETS, NARROWEST, Manifest
from jobs.state.parquet import key_range
from jobs.steps.row_files import bucket_columns, buckets_of
from marts.compute.identity import NAMES, Identity, suspects
from marts.compute.months import marked

ALL_DAYS = -1
"""All days of a month, as bits."""
_PART_LINES = 1_000_000


@dataclass(frozen=True)
class File:
    """A file of clean lines."""

    delivery: int
    """Position of its drop in the order of deliveries."""
    origin: str
    """Name of the drop's content."""
    month: str
    path: str

    @property
    def name(self) -> str:
        """Return its name by content, independent of the location of its drop."""
        return f"{self.origin}/{self.path.rpartition('/')[2]}"


def of_fact(manifests: Sequence[Manifest], identity: Identity) -> list[Manifest]:
    """Return the manifests of the drops of one fact."""
    return [manifest for manifest in manifests if manifest.delivery.kind == identity.fact.name]


def files_of(manifests: Sequence[Manifest], months: Container[str]) -> list[File]:
    """Return the files of some months, ordered by drop first: positions follow the order of deliveries."""
    return [
        File(number, manifest.origin, month, file.path)
        for number, manifest in enumerate(manifests)
        for month in sorted(month for month in manifest.months if month in months)
        for file in manifest.months[month].files
    ]


def parts_for(rows: int, most: int) -> int:
    """Return the number of parts to split lines into by bucket, so that none has many more than ``most`` rows."""
    parts = 1
    while parts < NARROWEST and rows > parts * most:
        parts *= 2
    return parts


@dataclass(frozen=True)
class MarkedLines:
    """Lines of some buckets, and marks of those whose transactions were delivered again."""

    lines: pa.Table
    rows: list[np.ndarray]
    """Row numbers of the lines in each file."""
    suspects: pa.Table
    """Lines that may have been delivered twice, with all columns."""
    marks: pa.Table
    """Result of ``marked``."""


def read_marked(
    store: Store,
    files: Sequence[File],
    part: int,
    parts: int,
    identity: Identity,
    only: Mapping[str, np.ndarray] | None = None,
) -> MarkedLines:
    """Read lines with bucket % parts == part and settle their transactions; ignore lines without an id.

    ``only`` has the row numbers of the lines to read of some files, by their names.
    """
    lines, rows = read_lines(store, files, part, parts, identity, only=only)
    places = np.flatnonzero(suspects(lines, identity) & lines["t_id"].is_valid().to_numpy())
    whole = read_suspects(store, files, lines, rows, places, identity)
    return MarkedLines(lines, rows, whole, marked(whole, identity))


def read_all_marked(
    store: Store, manifests: Sequence[Manifest], months: Collection[str], identity: Identity
) -> Iterator[MarkedLines]:
    """Read the lines of some months in parts that fit in memory and settle their transactions."""
    files = files_of(manifests, months)
    rows = sum(lines.rows for manifest in manifests for month, lines in manifest.months.items() if month in months)
    parts = parts_for(rows, _PART_LINES)
    for part in range(parts):
        yield read_marked(store, files, part, parts, identity)


def read_lines(
    store: Store,
    files: Sequence[File],
    part: int,
    parts: int,
    identity: Identity,
    days: int = ALL_DAYS,
    only: Mapping[str, np.ndarray] | None = None,
) -> tuple[pa.Table, list[np.ndarray]]:
    """Return the lines with bucket % parts == part, with ``delivery``, ``position`` and names of transactions.

    ``days`` has a bit for each day of the month whose lines are returned, that of the first is 2. ``only`` has the row
    numbers of the lines to return of some files. Also return the row numbers of these lines in each file.
    """
    names = list(identity.columns)
    empty = pa.schema([(name, identity.schema.field(name).type) for name in names]).empty_table()
    nothing = empty.append_column("delivery", pa.array([], pa.int64()))

    def read(file: File) -> tuple[pa.Table, np.ndarray]:
        own = only.get(file.name) if only else None
        if own is None:
            table, own = _of_file(store, file, part, parts, identity)
        elif len(own):
            table = _with_delivery(store.using(file.path, partial(_take, rows=own, names=names)), file)
        else:
            table = nothing
        if days == ALL_DAYS:
            return table, own
        is_wanted = _is_on(table[identity.fact.at], days)
        return table.filter(pa.array(is_wanted)), own[is_wanted]

    results = at_once(read, files, READS_AT_ONCE)
    lines = pa.concat_tables([nothing, *(table for table, _ in results)])
    lines = lines.append_column("position", pa.array(np.arange(lines.num_rows), pa.int64()))
    return identity.named(lines), [own for _, own in results]


def read_suspects(
    store: Store,
    files: Sequence[File],
    lines: pa.Table,
    rows: Sequence[np.ndarray],
    places: np.ndarray,
    identity: Identity,
) -> pa.Table:
    """Return the lines at ``places``, with all columns."""
    names = identity.schema.names
    starts = np.cumsum([0, *(len(own) for own in rows)])
    wanted = [
        (file.path, own[places[np.searchsorted(places, start) : np.searchsorted(places, stop)] - start])
        for file, own, start, stop in zip(files, rows, starts[:-1], starts[1:], strict=True)
    ]

    def read(some: tuple[str, np.ndarray]) -> pa.Table:
        path, own = some
        return store.using(path, partial(_take, rows=own, names=names))

    wide = at_once(read, ((path, own) for path, own in wanted if len(own)), READS_AT_ONCE)
    ids = [identity.fact.id] if identity.fact.id else []  # without the words that are no ids
    known = lines.select([*ids, *NAMES, "delivery", "position"]).take(pa.array(places))
    result = pa.concat_tables([identity.schema.empty_table(), *wide]).drop_columns(ids)
    for name in known.column_names:
        result = result.append_column(name, known[name])
    return result


def _of_file(store: Store, file: File, part: int, parts: int, identity: Identity) -> tuple[pa.Table, np.ndarray]:
    """Read columns of a file's lines; for some buckets, read only the row groups that contain them."""
    names, fact = list(identity.columns), identity.fact

    def read(opened: pa.NativeFile) -> tuple[pa.Table, np.ndarray]:
        parquet = pq.ParquetFile(opened, page_checksum_verification=True)
        groups = list(range(parquet.num_row_groups))
        if parts == 1:
            lines = parquet.read_row_groups(groups, columns=names, use_threads=False)
            return lines, np.arange(lines.num_rows)
        starts = _starts(parquet)
        groups = [number for number in groups if _has_bucket(parquet, number, part, parts)]
        by = bucket_columns(fact) if parts > BUCKETS else ["bucket"]
        lines = parquet.read_row_groups(groups, columns=list(dict.fromkeys([*names, *by])), use_threads=False)
        buckets = buckets_of(fact, lines) if parts > BUCKETS else lines["bucket"].to_numpy()
        rows = np.concatenate([np.arange(0), *(np.arange(starts[n], starts[n + 1]) for n in groups)])
        own = buckets % parts == part
        return lines.select(names).filter(pa.array(own)), rows[own]

    lines, rows = store.using(file.path, read)
    return _with_delivery(lines.select(names), file), rows


def _with_delivery(lines: pa.Table, file: File) -> pa.Table:
    return lines.append_column("delivery", pa.array(np.full(lines.num_rows, file.delivery), pa.int64()))


def _is_on(dates: pa.ChunkedArray, days: int) -> np.ndarray:
    """Return which dates are on some days of the month, a bit each."""
    wanted = np.array([bool(days >> number & 1) for number in range(32)])
    return np.asarray(wanted[pc.day(dates).to_numpy()])


def _take(opened: pa.NativeFile, rows: np.ndarray, names: list[str]) -> pa.Table:
    """Read rows of a file by their numbers, which rise: only the row groups that contain them."""
    parquet = pq.ParquetFile(opened, page_checksum_verification=True)
    starts = _starts(parquet)
    group_of = np.searchsorted(starts, rows, side="right") - 1
    groups = np.unique(group_of)
    read = parquet.read_row_groups(groups.tolist(), columns=names, use_threads=False).select(names)
    before = np.cumsum([0, *np.diff(starts)[groups]])  # rows of groups read before each
    return read.take(pa.array(rows - starts[group_of] + before[np.searchsorted(groups, group_of)]))


def _starts(parquet: pq.ParquetFile) -> np.ndarray:
    """Return the number of the first row of each row group, and that of all rows."""
    return np.cumsum([0, *(parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups))])


def _has_bucket(parquet: pq.ParquetFile, group: int, part: int, parts: int) -> bool:
    column = parquet.schema_arrow.get_field_index("bucket")
    low, high = key_range(parquet.metadata, group, column) or (0, BUCKETS - 1)
    of_files = min(parts, BUCKETS)
    return any(bucket % of_files == part % of_files for bucket in range(low, high + 1))
