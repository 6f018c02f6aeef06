"""Clean rows in files of the state: lines by month and bucket, dimensions in delivered order."""

from collections.abc import Iterable, Sequence
from datetime import date
from functools import reduce
from itertools import pairwise
from operator import or_

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.ports.store import Store
from jobs.state.manifest import BUCKETS, NARROWEST, LinesFile, Manifest, MonthLines
from jobs.state.parquet import write_parquet
from marts.pack import DIGITS, IDS, Kind, SourceColumn
from marts.privacy.erasure import is_guest
from marts.rows.hashing import hash_rows

_GROUP_ROWS = 1 << 16
_HASH_SALT = np.uint64(0x9E3779B97F4A7C15)
_OF_FILES, _NARROWER = np.uint64(60), np.uint64(52)
"""Bits to shift a hash: its first 4 bits are the bucket in files, the 8 bits behind divide it further."""


def write_lines(state: Store, kind: Kind, key: str, lines: pa.Table) -> None:
    """Write clean rows of one month whose shards may have changed; sort many rows by bucket."""
    buckets = buckets_of(kind, lines) % BUCKETS
    table = lines.set_column(lines.schema.get_field_index("bucket"), "bucket", pa.array(buckets, pa.uint8()))
    if lines.num_rows <= _GROUP_ROWS:
        _write(state, kind, key, table)
        return
    order = np.argsort(buckets, kind="stable")
    borders = np.searchsorted(buckets[order], np.arange(BUCKETS + 1))
    groups = [(int(a), int(b)) for a, b in pairwise(borders) if b > a]
    _write(state, kind, key, table.take(pa.array(order)), groups)


def _write(
    state: Store, kind: Kind, key: str, table: pa.Table, groups: Sequence[tuple[int, int]] | None = None
) -> None:
    write_parquet(state, key, table, groups, distinct=(kind.id, kind.shard))


def buckets_of(kind: Kind, lines: pa.Table) -> np.ndarray:
    """Return the bucket of each row, by its shard; guests share one, so theirs is by transaction or another id.

    Rows with bucket % parts == part are divided into equal parts for each power of two up to NARROWEST; bucket %
    BUCKETS is the one in files of clean lines.
    """
    if not kind.shard:
        return np.zeros(lines.num_rows, np.int64)
    shards = lines[kind.shard]
    keys = hash_rows(lines.select([kind.shard])) if pa.types.is_string(shards.type) else shards.to_numpy()
    keys = keys.astype(np.uint64)
    if kind.column(kind.shard).guests and (guests := np.asarray(is_guest(lines, kind.shard))).any():
        keys[guests] = _keys_of_guests(kind, lines.filter(pa.array(guests)))
    hashes = keys * _HASH_SALT
    narrower = (hashes >> _NARROWER) % np.uint64(NARROWEST // BUCKETS)
    return np.asarray((hashes >> _OF_FILES | narrower * np.uint64(BUCKETS)).astype(np.int64))


def bucket_columns(kind: Kind) -> list[str]:
    """Return the columns of clean rows that `buckets_of` reads."""
    if not kind.shard:
        return []
    other = _other_id(kind) if kind.column(kind.shard).guests else None
    return [name for name in (kind.shard, kind.id, other.name if other else "") if name]


def _keys_of_guests(kind: Kind, lines: pa.Table) -> np.ndarray:
    """Return a number per row: a hash of its transaction, or without one the first id that is not the shard."""
    other = _other_id(kind)
    places = np.zeros(lines.num_rows, np.uint64)
    if other:
        is_text = other.type == "text_id"
        places = hash_rows(lines.select([other.name])) if is_text else lines[other.name].to_numpy().astype(np.uint64)
    if not kind.id:
        return places
    return np.where(lines[kind.id].is_null().to_numpy(), places, hash_rows(lines.select([kind.id])))


def _other_id(kind: Kind) -> SourceColumn | None:
    """Return the first id that is not the shard."""
    return next((column for column in kind.columns if column.type in IDS and column.name != kind.shard), None)


def summed(kind: Kind) -> list[str]:
    """Return the columns of clean rows of a fact whose sums a manifest contains."""
    numbers = (c for c in kind.columns if (c.type in ("id", "integer") or c.type in DIGITS))
    return [column.clean_name for column in numbers if not column.nullable or column.guests]


def control_of(kind: Kind | None, manifest: Manifest) -> int:
    """Return the sum of the control column over the clean rows of a drop, in cents."""
    if kind is None or not kind.control or not manifest.sums:
        return 0
    total = manifest.sums[1 + summed(kind).index(kind.control)]
    return total - 2**64 if total >= 2**63 else total


def sums_of(kind: Kind, lines: pa.Table) -> tuple[int, ...]:
    """Return the number of rows of a block, and the sum of each numeric column and of the days, modulo 2**64."""
    numbers = [lines[name].to_numpy().astype(np.int64, copy=False) for name in summed(kind)]
    days = lines[kind.at].cast(pa.int32()).to_numpy()
    return (lines.num_rows, *(int(values.sum()) for values in (*numbers, days)))


def added(sums: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """Add up the sums of parts of a drop; parts without lines have none."""
    return tuple(sum(column) % 2**64 for column in zip(*(part for part in sums if part), strict=True))


class RowFiles:
    """Write the clean rows of one split; ``scan`` is its name in folder names."""

    def __init__(self, state: Store, kind: Kind, scan: str) -> None:
        self._state, self._kind, self._scan = state, kind, scan
        self._months: dict[str, list[tuple[LinesFile, date, int]]] = {}
        self._currencies: set[str] = set()
        self.files: list[LinesFile] = []
        self.sums: tuple[int, ...] = ()

    @property
    def months(self) -> dict[str, MonthLines]:
        return {
            month: MonthLines(
                rows=sum(file.rows for file, _, _ in files),
                last_day=max(last for _, last, _ in files).isoformat(),
                days=reduce(or_, (days for _, _, days in files)),
                files=tuple(file for file, _, _ in files),
            )
            for month, files in sorted(self._months.items())
        }

    @property
    def currencies(self) -> tuple[str, ...]:
        return tuple(sorted(self._currencies))

    def write_dimension(self, rows: pa.Table, name: str) -> None:
        """Write the rows of a dimension."""
        key = f"dimensions/{self._kind.name}/drop={self._scan}/{name}"
        write_parquet(self._state, key, rows, by=self._kind.key or "")
        self.files.append(LinesFile(path=key, rows=rows.num_rows))

    def write_lines(self, lines: pa.Table, name: str) -> None:
        """Write lines by month, and within a month by bucket."""
        currency = self._kind.currency
        if currency and lines[currency].null_count < lines.num_rows:
            self._currencies.update(value for value in pc.unique(lines[currency]).to_pylist() if value)
        self.sums = added((self.sums, sums_of(self._kind, lines)))
        days = lines[self._kind.at].to_numpy()
        months = days.astype("datetime64[M]").astype(np.int64)
        buckets = buckets_of(self._kind, lines) % BUCKETS
        distinct = np.unique(months)
        table = lines.append_column("bucket", pa.array(buckets, pa.uint8()))
        if len(distinct) == 1 and lines.num_rows <= _GROUP_ROWS:
            # They become one row group: its order does not matter, so no sort is needed.
            month = str(np.datetime64(int(distinct[0]), "M"))
            self._write_month(table, month, days, np.array([0, lines.num_rows]), name)
            return
        places = np.searchsorted(distinct, months) * BUCKETS + buckets
        order = np.argsort(places.astype(np.uint16) if len(distinct) < 4096 else places, kind="stable")
        table = table.take(pa.array(order))
        borders = np.searchsorted(places[order], np.arange(len(distinct) * BUCKETS + 1))
        for place, number in enumerate(distinct):
            month = str(np.datetime64(int(number), "M"))
            self._write_month(table, month, days[months == number], borders[place * BUCKETS :][: BUCKETS + 1], name)

    def _write_month(self, table: pa.Table, month: str, days: np.ndarray, borders: np.ndarray, name: str) -> None:
        """Write the lines of one month, on these days; the borders of its buckets become those of the row groups."""
        start, stop = int(borders[0]), int(borders[-1])
        rows = stop - start
        groups = [(int(a) - start, int(b) - start) for a, b in pairwise(borders) if b > a]
        key = f"lines/month={month}/drop={self._scan}/{name}"
        _write(self._state, self._kind, key, table.slice(start, rows), groups if rows > _GROUP_ROWS else None)
        self._months.setdefault(month, []).append((LinesFile(path=key, rows=rows), days.max().item(), _bits(days)))


def _bits(days: np.ndarray) -> int:
    """Return the days of a month with a bit each, that of the first is 2."""
    of_month = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    return sum(1 << int(day) for day in np.flatnonzero(np.bincount(of_month)))
