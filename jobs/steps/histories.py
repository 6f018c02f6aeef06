"""Fold the snapshots of dimensions with versions into histories, files of the state.

A history is named by its snapshots up to a day, each after the one before: a new snapshot continues the history that
the last run wrote. A late or corrected one begins a new history on its day's predecessor, if that was written.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.adapters.store.open import StoreAddress
from jobs.ports.store import Store
from jobs.runtime import scratch
from jobs.state.manifest import Manifest, name_of
from jobs.state.parquet import read_parquet, read_quarantine, read_tables, write_parquet
from jobs.steps.quarantine_files import KEY
from jobs.steps.scan_settings import ScanSettings
from marts.compute.engine import spill_to
from marts.compute.versions import FIRST, Snapshot, fold
from marts.pack import Kind, Pack
from marts.quality.changes import is_log
from marts.rows.cast import clean_schema
from marts.rows.source_block import SourceBlock

FOLDER = "versions"
DATE = "snapshot_date"
"""Group of ``from_path`` that names the date of a snapshot."""
_VERSION = 2
"""Version of the calculation: histories of another one are computed again."""
_DAY = re.compile(r"(?<!\d)(\d{4})[-/](\d{2})[-/](\d{2})(?!\d)")


def day_of(key: str, block: SourceBlock) -> date | None:
    """Return the day of a snapshot: of ``from_path``, or else the first in its key, YYYY-MM-DD or YYYY/MM/DD."""
    match = _DAY.search((block.given(key) or {}).get(DATE) or key)
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Day:
    """The snapshots of one day, in order of delivery."""

    day: date
    snapshots: tuple[tuple[Manifest, bool], ...]
    """Each with whether it is a log of changes."""

    @property
    def name(self) -> str:
        """Return what distinguishes its rows; a moved drop has other paths but the same content."""
        made_from = [
            (item.origin, log, [path.rpartition("/")[2] for path in item.paths], item.repaired)
            for item, log in self.snapshots
        ]
        return name_of(self.day, made_from)


@dataclass(frozen=True)
class History:
    """A task: the versions of a dimension up to its last day."""

    kind: Kind
    days: tuple[Day, ...]
    """Those after ``before``."""
    path: str
    state: StoreAddress
    before: str = ""
    """File of the history that it continues; empty if it begins anew."""
    last: date = FIRST
    """Last day of that history."""


@dataclass(frozen=True)
class Dimensions:
    """The files of dimensions, as tables read them."""

    files: Mapping[str, Sequence[str]]
    """Of each dimension, in order of delivery; of one with versions, its history."""
    last_counts: frozenset[str]
    """Those of which the last row of a key counts."""
    histories: tuple[History, ...]
    """Tasks of the histories."""

    @classmethod
    def of(
        cls, live: Sequence[Manifest], settings: ScanSettings, as_of: date, existing: AbstractSet[str] = frozenset()
    ) -> "Dimensions":
        """Return those of the live drops; ``live`` are in order of delivery."""
        files: dict[str, list[str]] = {}
        for manifest in live:
            if not settings.pack.kinds[manifest.delivery.kind].versions:
                files.setdefault(manifest.delivery.kind, []).extend(file.path for file in manifest.files)
        histories = plan_histories(live, settings.pack, as_of, settings, existing)
        files |= {history.kind.name: [history.path] for history in histories}
        last = {m.delivery.kind for m in live if settings.block(m.delivery.key).duplicates == "last"}
        return cls(files, frozenset(last), tuple(histories))


def plan_histories(
    manifests: Iterable[Manifest],
    pack: Pack,
    as_of: date,
    settings: ScanSettings,
    existing: AbstractSet[str],
) -> list[History]:
    """Return a task per dimension with versions that has a snapshot up to as_of.

    ``manifests`` are those of the live drops, in order of delivery. A task without days has nothing left to do.
    """
    manifests = list(manifests)
    return [
        history
        for kind in pack.dimensions
        if kind.versions
        if (history := _plan(kind, manifests, as_of, settings, existing))
    ]


def _plan(
    kind: Kind, manifests: Sequence[Manifest], as_of: date, settings: ScanSettings, existing: AbstractSet[str]
) -> History | None:
    own = []
    for manifest in manifests:
        if manifest.delivery.kind == kind.name:
            block = settings.block(manifest.delivery.key)
            day = day_of(manifest.delivery.key, block)
            if day and day <= as_of:
                own.append((day, manifest, is_log(manifest.measured.columns, block)))
    if not own:
        return None
    own.sort(key=lambda item: item[0])  # a stable sort: of one day, in order of delivery
    days = [
        Day(day, tuple((manifest, log) for _, manifest, log in same))
        for day, same in groupby(own, lambda item: item[0])
    ]
    name = name_of(
        _VERSION, kind.name, [str(column) for column in kind.columns], kind.carried, kind.updated, *kind.reports
    )
    paths = []
    for item in days:
        name = name_of(name, item.name)
        paths.append(f"{FOLDER}/{kind.name}/{name}.parquet")
    done = next((number for number in reversed(range(len(days))) if paths[number] in existing), -1)
    return History(
        kind=kind,
        days=tuple(days[done + 1 :]),
        path=paths[-1],
        state=settings.state,
        before=paths[done] if done >= 0 else "",
        last=days[done].day if done >= 0 else FIRST,
    )


def run_history(task: History) -> int:
    """Fold the snapshots of a task, and write the history. Return the number of rows read."""
    store = task.state.open()
    spill_to(str(scratch.folder()))
    before = read_parquet(store, task.before) if task.before else None
    days = ((item.day, [_snapshot(store, task, *some) for some in item.snapshots]) for item in task.days)
    versions = fold(task.kind, days, before, task.last)
    write_parquet(store, task.path, versions, by=task.kind.key or "")
    return sum(manifest.clean for item in task.days for manifest, _ in item.snapshots)


def _snapshot(store: Store, task: History, manifest: Manifest, log: bool) -> Snapshot:
    tables = read_tables(store, (file.path for file in manifest.files))
    rows = pa.concat_tables([clean_schema(task.kind, log).empty_table(), *tables])
    return Snapshot(rows, log, None if log else _kept(store, manifest, rows.schema.field(task.kind.key).type))


def _kept(store: Store, manifest: Manifest, type_: pa.DataType) -> pa.Array | None:
    """Return the keys of the rows in quarantine, without those repaired since; None if one cannot be read."""
    keys, before = [pa.array([], pa.string())], pa.array(np.cumsum([0, *manifest.split_lines]))
    for path in manifest.quarantine:
        rows = read_quarantine(store, manifest, path, ["drop", "split", "line", KEY])
        lines = pc.add(rows["line"], before.take(rows["split"].combine_chunks()))
        rows = rows.filter(pc.invert(pc.is_in(lines, pa.array(manifest.repaired, pa.int64()))))
        keys.append(rows[KEY].combine_chunks())
    joined = pa.concat_arrays(keys)
    if pc.any(pc.equal(joined, "")).as_py():
        return None
    return joined.cast(type_)
