"""Settle transactions that span months, or the days of a month that is computed by days.

One task per share of the buckets reads the identifying columns of the lines of some months and decides which count. The
results are named by their inputs, so that a run without new drops does nothing. If files were only added since an
earlier run, only the transactions in these are settled again: hashes of the others are kept.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa

from jobs.adapters.store.open import StoreAddress
from jobs.ports.store import Store
from jobs.runtime import scratch
from jobs.state.manifest import Manifest, name_of
from jobs.state.parquet import read_parquet, read_tables, write_parquet
from jobs.steps.lines import File, files_of, of_fact, parts_for, read_lines, read_marked
from marts.compute.engine import spill_to
from marts.compute.identity import Identity, hash_of_key, in_several_months
from marts.compute.months import code_of, cross_months
from marts.compute.numbers import NO_NUMBERS
from marts.errors import StateDamaged
from marts.rows.hashing import among

_VERSION = 3
"""Version of the files."""


@dataclass(frozen=True)
class Settled:
    """Which lines of some months count, in files of the state."""

    marks: tuple[str, ...]
    crossing: tuple[str, ...]
    """Purchases that span months."""
    digests: Mapping[str, str]
    """Name of the settled result by month: facts of a month with the same result are kept."""
    days: Mapping[date, str]
    """The same by day, of days with lines that were settled."""


@dataclass(frozen=True)
class _Chain:
    """Where the hashes of the lines of a part are, in files of this and of earlier runs."""

    files: tuple[str, ...]
    """Names of the files of lines, in order."""
    hashes: tuple[str, ...]
    """Paths of the hashes of their lines; each is named by the files of its lines."""

    def write(self, store: Store, path: str) -> None:
        names, is_hashes = [*self.files, *self.hashes], [False] * len(self.files) + [True] * len(self.hashes)
        write_parquet(store, path, pa.table({"name": pa.array(names, pa.string()), "is_hashes": is_hashes}))

    @classmethod
    def read(cls, store: Store, path: str) -> "_Chain":
        """Read a chain. Raise StateDamaged."""
        rows = read_parquet(store, path).to_pylist()
        files, hashes = (tuple(row["name"] for row in rows if row["is_hashes"] == side) for side in (False, True))
        return cls(files, hashes)


@dataclass(frozen=True)
class Settle:
    """A task: the lines of some months with bucket % parts == part."""

    files: tuple[File, ...]
    part: int
    parts: int
    identity: Identity
    as_of: date
    folder: str
    state: StoreAddress
    earlier: str = ""
    """Folder of an earlier run; empty if there is none."""

    @property
    def marks(self) -> str:
        return f"{self.folder}/marks-{self.part:02d}.parquet"

    @property
    def crossing(self) -> str:
        return f"{self.folder}/crossing-{self.part:02d}.parquet"

    @property
    def chain(self) -> str:
        return f"{self.folder}/chain-{self.part:02d}.parquet"

    @property
    def paths(self) -> set[str]:
        return {self.marks, self.crossing, *([self.chain] if self.identity.within_month else [])}

    def hashes(self, files: Iterable[File]) -> str:
        """Return the path of the hashes of the lines in some files."""
        name = name_of([file.name for file in files])
        return f"{self.folder.rpartition('/')[0]}/hashes-{name}/part-{self.part:02d}.parquet"


def plan_settling(
    manifests: Sequence[Manifest],
    lines_per_task: int,
    identity: Identity,
    as_of: date,
    state: StoreAddress,
    months: Collection[str],
    existing: AbstractSet[str],
) -> list[Settle]:
    """Divide the lines of a fact in some months into tasks by bucket. ``manifests`` are in order of delivery.

    ``existing`` are the files of earlier runs.
    """
    manifests = of_fact(manifests, identity)
    rows = sum(lines.rows for manifest in manifests for month, lines in manifest.months.items() if month in months)
    parts = parts_for(rows, lines_per_task * 3 // 2)
    files = files_of(manifests, months)
    made_from = [(file.month, file.name) for file in files]
    rules = name_of(_VERSION, code_of((), (identity.fact,), NO_NUMBERS), identity.name, parts, sorted(months))
    folder = f"settled/{rules}/{name_of(as_of, made_from)}"
    tasks = [Settle(tuple(files), part, parts, identity, as_of, folder, state) for part in range(parts)]
    # What transactions in several months add up to depends on as_of: all of them are settled again.
    if not identity.within_month or all(task.paths <= existing for task in tasks):
        return tasks
    earlier = _newest(state, f"settled/{rules}", existing, folder)
    return [replace(task, earlier=earlier) for task in tasks]


def _newest(state: StoreAddress, folder: str, existing: AbstractSet[str], own: str) -> str:
    """Return the folder of the newest other run below one; empty if there is none."""
    if not any(path.startswith(f"{folder}/") for path in existing):
        return ""
    chains = [item for item in state.open().versions(folder) if "/chain-" in item.key and item.key in existing]
    others = (item for item in chains if not item.key.startswith(f"{own}/"))
    newest = max(others, key=lambda item: (item.modified, item.key), default=None)
    return newest.key.rpartition("/")[0] if newest else ""


def run_settle(task: Settle) -> int:
    """Decide which lines of a task count, and write the result. Return the number of lines read."""
    store = task.state.open()
    spill_to(str(scratch.folder()))
    identity, place, again = task.identity.narrow, (task.part, task.parts), dict[str, np.ndarray]()
    before, new, hashes = _read_before(store, task), list(task.files), None
    if before:
        new = [file for file in task.files if file.name not in before.chain.files]
        hashes = _hashes(new, *read_lines(store, new, *place, identity), identity)
        again = before.rows_of(hashes["hash"].to_numpy())
    read = read_marked(store, task.files, *place, identity, again)
    lines, rows, result = read.lines, read.rows, read.marks.filter(read.marks["mark"].is_valid())
    positions = result["position"].to_numpy()
    starts = np.cumsum([0, *(len(own) for own in rows)])
    of_file = np.searchsorted(starts, positions, side="right") - 1
    table = pa.table(
        {
            "month": pa.array([task.files[number].month for number in of_file], pa.string()),
            "file": pa.array([task.files[number].name for number in of_file], pa.string()),
            "row": pa.array([rows[n][p - starts[n]] for n, p in zip(of_file, positions, strict=True)], pa.int64()),
            "day": lines[task.identity.fact.at].take(pa.array(positions)),
            "mark": result["mark"],
        }
    )
    write_parquet(store, task.marks, before.with_marks(table, again, task.files) if before else table)
    if task.identity.within_month:
        beyond = lines.slice(0, 0)
    else:
        beyond = lines.filter(pa.array(in_several_months(lines, task.identity)))
    write_parquet(
        store, task.crossing, cross_months(beyond, result.select(["position", "mark"]), task.as_of, task.identity)
    )
    if identity.within_month:  # last: an earlier run with a chain is complete
        own = _hashes(new, lines, rows, identity) if hashes is None else hashes
        _write_chain(store, task, new, own, before.chain.hashes if before else ())
    return int(lines.num_rows)


def _write_chain(store: Store, task: Settle, files: Sequence[File], hashes: pa.Table, known: tuple[str, ...]) -> None:
    """Write the hashes of the lines in some files; ``known`` are the paths of those of the others."""
    write_parquet(store, task.hashes(files), hashes)
    _Chain(tuple(file.name for file in task.files), (*known, task.hashes(files))).write(store, task.chain)


def _hashes(files: Sequence[File], lines: pa.Table, rows: Sequence[np.ndarray], identity: Identity) -> pa.Table:
    """Return file, row and hash of the lines with an id in some files."""
    places = np.repeat(np.arange(len(rows)), [len(own) for own in rows])
    names = pa.array([file.name for file in files], pa.string())
    table = pa.table(
        {
            "file": pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), names),
            "row": pa.array(np.concatenate([np.arange(0), *rows]), pa.int64()),
            "hash": pa.array(hash_of_key(lines, identity), pa.uint64()),
        }
    )
    return table.filter(lines["t_id"].is_valid())


@dataclass(frozen=True)
class _Before:
    """The result of an earlier run, of which all files are still there, in the same order."""

    chain: _Chain
    hashes: Sequence[pa.Table]
    marks: pa.Table

    def rows_of(self, hashes: np.ndarray) -> dict[str, np.ndarray]:
        """Return the numbers of the rows whose transactions may have some hashes, by the name of each file."""
        results = {name: [np.arange(0)] for name in self.chain.files}
        for table in self.hashes:
            own = table.filter(pa.array(among(table["hash"].to_numpy(), hashes)))
            names = own["file"].combine_chunks()
            rows, codes = own["row"].to_numpy(), np.asarray(names.indices)
            for code in np.unique(codes):
                results[names.dictionary[int(code)].as_py()].append(rows[codes == code])
        return {name: np.unique(np.concatenate(rows)) for name, rows in results.items()}

    def with_marks(self, marks: pa.Table, settled: Mapping[str, np.ndarray], files: Sequence[File]) -> pa.Table:
        """Replace the marks of rows that were settled again, and add those of other files."""
        place = {file.name: number for number, file in enumerate(files)}
        again = np.concatenate([_places(place, [name], rows) for name, rows in settled.items()])
        was = _places(place, self.marks["file"].to_pylist(), self.marks["row"].to_numpy())
        joined = pa.concat_tables([self.marks.filter(pa.array(~np.isin(was, again))), marks])
        order = _places(place, joined["file"].to_pylist(), joined["row"].to_numpy())
        return joined.take(pa.array(np.argsort(order)))


def _places(place: Mapping[str, int], names: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """Return the places of rows of some files, or of one, in the order of the files."""
    starts = np.array([place[name] for name in names], np.int64) * 2**32
    return np.asarray(starts + rows)


def _read_before(store: Store, task: Settle) -> _Before | None:
    """Read what an earlier run settled. Return None if files were removed or damaged since, or are in another order."""
    if not task.earlier:
        return None
    own = replace(task, folder=task.earlier)
    try:
        chain = _Chain.read(store, own.chain)
        known = set(chain.files)
        if tuple(file.name for file in task.files if file.name in known) != chain.files:
            return None
        return _Before(chain, read_tables(store, chain.hashes), read_parquet(store, own.marks))
    except StateDamaged:  # all is settled again
        return None


def chained(store: Store, tasks: Iterable[Settle]) -> set[str]:
    """Return the paths of the hashes that later runs need."""
    within = (task for task in tasks if task.identity.within_month)
    return {path for task in within for path in _Chain.read(store, task.chain).hashes}


def read_settled(store: Store, tasks: Sequence[Settle], manifests: Sequence[Manifest]) -> Settled:
    """Return the settled files, and the name of the result of each month."""
    marks, crossing = (tuple(paths) for paths in zip(*((task.marks, task.crossing) for task in tasks), strict=True))
    own = of_fact(manifests, tasks[0].identity)
    by_month: dict[str, list[str]] = {month: [] for manifest in own for month in manifest.months}
    by_day: dict[date, list[str]] = defaultdict(list)
    for table in read_tables(store, (*marks, *crossing)):
        for row in table.to_pylist():
            by_month[row["month"]].append(repr(sorted(row.items())))
            if "day" in row:
                by_day[row["day"]].append(by_month[row["month"]][-1])
    digests = {month: name_of(sorted(result)) for month, result in by_month.items()}
    return Settled(marks, crossing, digests, {day: name_of(sorted(result)) for day, result in by_day.items()})
