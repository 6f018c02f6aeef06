"""Find duplicate keys in a large drop: its splits write hashed keys, and tasks compare them by ranges of hashes.

A drop that one task reads as a whole does not need this. The files are deleted before the drop is judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.adapters.store.open import StoreAddress
from jobs.ports.store import Store
from jobs.state.parquet import key_range, write_parquet
from marts.pack import DIGITS, Kind
from marts.quality.findings import Keys
from marts.quality.key_measures import settle
from marts.quality.rules import Rule
from marts.quality.values import Measure

_GROUP_ROWS = 1 << 16
_ROWS_PER_TASK = 4_000_000
_HASH, _ROW = "#hash", "#row"


@dataclass(frozen=True)
class KeyFile:
    """The keys of one block for one rule, sorted by their hash."""

    rule: str
    path: str
    rows: int


@dataclass(frozen=True)
class KeyCheck:
    """A task: find the duplicate keys of a drop among those with a hash in a range."""

    rule: Rule
    kind: Kind
    files: tuple[tuple[str, int], ...]
    """Path of each file, and the number of rows of the drop before its split."""
    low: int
    high: int
    """Excluded; 2**64 is the end of all hashes."""
    state: StoreAddress


def write_keys(store: Store, path: str, keys: Keys) -> KeyFile:
    """Write the keys of a block."""
    order = np.argsort(keys.hashes, kind="stable")
    table = keys.values.append_column(_HASH, pa.array(keys.hashes)).append_column(_ROW, pa.array(keys.rows))
    groups = [(start, min(start + _GROUP_ROWS, len(order))) for start in range(0, len(order), _GROUP_ROWS)]
    write_parquet(store, path, table.take(pa.array(order)), groups)
    return KeyFile(keys.rule.id, path, len(order))


def plan_checks(rule: Rule, kind: Kind, files: Sequence[tuple[KeyFile, int]], state: StoreAddress) -> list[KeyCheck]:
    """Divide the keys of a drop into tasks by ranges of hashes."""
    tasks = sum(file.rows for file, _ in files) // _ROWS_PER_TASK + 1
    edges = [2**64 * number // tasks for number in range(tasks + 1)]
    paths = tuple((file.path, before) for file, before in files)
    return [KeyCheck(rule, kind, paths, low, high, state) for low, high in pairwise(edges)]


def run_check(task: KeyCheck) -> Measure:
    """Find the duplicate keys of a range."""
    store = task.state.open()
    parts = [_read(store, path, before, task) for path, before in task.files]
    return settle([part for part in parts if len(part.hashes)], shown_columns(task.kind))


def shown_columns(kind: Kind) -> dict[str, tuple[int, bool]]:
    """Return, by column, the digits after the point and whether it is personal."""
    return {c.name: (DIGITS.get(c.type, 0), c.personal) for c in kind.columns}


def _read(store: Store, path: str, before: int, task: KeyCheck) -> Keys:
    def read(file: pa.NativeFile) -> pa.Table:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        place = parquet.schema_arrow.get_field_index(_HASH)
        groups = [n for n in range(parquet.num_row_groups) if _overlaps(parquet, n, place, task)]
        return parquet.read_row_groups(groups, use_threads=False)

    rows = store.using(path, read)
    hashes = rows[_HASH].to_numpy()
    start = int(np.searchsorted(hashes, np.uint64(task.low), side="left"))
    stop = int(np.searchsorted(hashes, np.uint64(task.high - 1), side="right"))
    own = rows.slice(start, stop - start)
    places = pc.add(own[_ROW], before).to_numpy()
    return Keys(task.rule, places, hashes[start:stop], own.drop_columns([_HASH, _ROW]))


def _overlaps(parquet: pq.ParquetFile, group: int, column: int, task: KeyCheck) -> bool:
    keys = key_range(parquet.metadata, group, column)
    return keys is None or (keys[0] < task.high and keys[1] >= task.low)
