"""Step 3, roll up: one task per month (and part of its buckets) computes the month's facts from clean lines.

Facts are named by their inputs. A month whose drops did not change is not recomputed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.adapters.store.open import StoreAddress
from jobs.ports.store import Store
from jobs.runtime import scratch
from jobs.state.manifest import Manifest, name_of
from jobs.state.parquet import read_parquet, write_parquet
from jobs.steps.lines import File, parts_for, read_lines, read_suspects
from jobs.steps.settle import Settled
from marts.compute.engine import spill_to
from marts.compute.identity import Identity, suspects
from marts.compute.months import Beyond, FactRows, code_of, roll_up
from marts.compute.numbers import Numbers
from marts.pack import MonthTable

COUNTS = ("drops", "shared")
"""Files beside the tables of a month: what each drop brings, and the rows that drops share."""
_GROUP_ROWS = 6_000
"""Facts per row group: the unit that a materialize task skips or reads."""


@dataclass(frozen=True)
class DropFiles:
    """The files of one drop in one month."""

    origin: str
    """Name of the drop's content."""
    paths: tuple[str, ...]


@dataclass(frozen=True)
class RollUp:
    """A task: a month, or the part of it with bucket % parts == part."""

    month: str
    part: int
    parts: int
    last_day: date
    """Last day included; later lines are left out."""
    shares: tuple[DropFiles, ...]
    """Files by drop, in order of delivery."""
    tables: tuple[MonthTable, ...]
    identity: Identity
    numbers: Numbers
    name: str
    settled: Settled | None = None
    """Which lines count, if transactions span months."""
    rows: int = 0
    """Approximate number of clean lines."""

    @property
    def folder(self) -> str:
        return f"facts/month={self.month}/{self.name}"

    @property
    def starts(self) -> date:
        return date.fromisoformat(f"{self.month}-01")

    def path(self, table: str) -> str:
        return f"{self.folder}/{table}.parquet"

    @property
    def paths(self) -> set[str]:
        return {self.path(name) for name in (*(table.name for table in self.tables), *COUNTS)}


@dataclass(frozen=True)
class RollUpWork:
    """A task, and the state that it reads and writes."""

    task: RollUp
    state: StoreAddress


def plan_rollups(
    manifests: Sequence[Manifest],
    as_of: date,
    lines_per_task: int,
    tables: Sequence[MonthTable],
    identity: Identity,
    numbers: Numbers,
    settled: Settled | None = None,
) -> list[RollUp]:
    """Return the roll-up tasks of the live drops, month by month. ``manifests`` are in order of delivery."""
    digests = settled.digests if settled else {}
    by_month: dict[str, list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        for month in manifest.months:
            by_month[month].append(manifest)
    return [
        replace(rollup, name=name_of(rollup.name, digests[month]), settled=settled) if month in digests else rollup
        for month in sorted(by_month)
        for rollup in _plan_month(month, by_month[month], as_of, lines_per_task, tuple(tables), identity, numbers)
    ]


def _plan_month(
    month: str,
    manifests: Sequence[Manifest],
    as_of: date,
    lines_per_task: int,
    tables: tuple[MonthTable, ...],
    identity: Identity,
    numbers: Numbers,
) -> Iterable[RollUp]:
    rows = sum(manifest.months[month].rows for manifest in manifests)
    parts = parts_for(rows, lines_per_task * 3 // 2)
    last_day = max(date.fromisoformat(manifest.months[month].last_day) for manifest in manifests)
    # as_of changes a month's facts only if the month has lines after it.
    cut = as_of if last_day > as_of >= date.fromisoformat(f"{month}-01") else last_day
    shares = tuple(
        DropFiles(manifest.origin, tuple(file.path for file in manifest.months[month].files)) for manifest in manifests
    )
    # A moved drop has other paths but the same content.
    made_from = [(share.origin, [path.rpartition("/")[2] for path in share.paths]) for share in shares]
    code = code_of(tables, (identity.fact,), numbers)
    for part in range(parts):
        yield RollUp(
            month,
            part,
            parts,
            cut,
            shares,
            tables,
            identity,
            numbers,
            name_of(code, month, cut, part, parts, made_from, identity.name),
            rows=rows // parts,
        )


def run_rollup(work: RollUpWork) -> int:
    """Read the clean lines of a task, compute and write the facts. Return the number of lines."""
    task, store = work.task, work.state.open()
    files = [File(n, share.origin, task.month, path) for n, share in enumerate(task.shares) for path in share.paths]
    lines, rows = read_lines(store, files, task.part, task.parts, task.identity)
    wanted = suspects(lines, task.identity)
    beyond = _read_beyond(store, task, files, rows) if task.settled else None
    if beyond:
        wanted &= lines["t_id"].is_null().to_numpy()
    suspicious = read_suspects(store, files, lines, rows, np.flatnonzero(wanted), task.identity)
    spill_to(str(scratch.folder()))
    fact = FactRows(lines, suspicious, task.identity, beyond)
    facts = roll_up(task.tables, {task.identity.fact.name: fact}, task.last_day, task.numbers)
    month = date.fromisoformat(f"{task.month}-01")
    keys = {table.name: table.key[0] for table in task.tables}
    for name, table in facts.tables.items():
        stamped = table.append_column("month", pa.array([month] * table.num_rows, pa.date32()))
        groups = [(a, min(a + _GROUP_ROWS, table.num_rows)) for a in range(0, table.num_rows, _GROUP_ROWS)]
        write_parquet(store, task.path(name), stamped, groups or None, by=keys[name])
    write_parquet(store, task.path("drops"), _with_origins(facts.drops, task, "delivery"))
    write_parquet(store, task.path("shared"), _with_origins(facts.shared, task, "delivery", "other"))
    return int(lines.num_rows)


def _read_beyond(store: Store, task: RollUp, files: Sequence[File], rows: Sequence[np.ndarray]) -> Beyond:
    """Return the settled marks of a task's lines, by position, and the purchases that span months."""
    assert task.settled
    crossing = pa.concat_tables([read_parquet(store, path) for path in task.settled.crossing])
    crossing = crossing.filter(pc.equal(crossing["month"], task.month))
    return Beyond(_read_marks(store, task.settled.marks, task.month, files, rows), crossing)


def _read_marks(
    store: Store, paths: Sequence[str], month: str, files: Sequence[File], rows: Sequence[np.ndarray]
) -> pa.Table:
    result = pa.concat_tables([read_parquet(store, path) for path in paths])
    result = result.filter(pc.equal(result["month"], month))
    positions, kept = [], []
    start = 0
    for file, own in zip(files, rows, strict=True):
        of_file = result.filter(pc.equal(result["file"], file.name))
        places = np.searchsorted(own, of_file["row"].to_numpy())
        inside = np.flatnonzero(np.isin(of_file["row"].to_numpy(), own))
        positions.append(start + places[inside])
        kept.append(of_file["mark"].take(pa.array(inside)).combine_chunks())
        start += len(own)
    return pa.table({"position": np.concatenate(positions), "mark": pa.concat_arrays(kept)})


def _with_origins(table: pa.Table, task: RollUp, *names: str) -> pa.Table:
    """Return a table that names drops by content instead of position."""
    for name in names:
        origins = pa.array([task.shares[number].origin for number in table[name].to_pylist()], pa.string())
        table = table.set_column(table.schema.get_field_index(name), name, origins)
    return table
