"""Step 3, roll up: one task per month (and part of its buckets) computes the month's facts from clean lines.

Facts are named by their inputs. A month whose drops did not change is not recomputed. Tables that read other months or
dimensions are computed afterwards, level by level, by tasks of the same kind, see derive.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.adapters.store.open import StoreAddress
from jobs.ports.store import Store
from jobs.runtime import scratch
from jobs.state.manifest import Manifest, name_of
from jobs.state.parquet import parquet_bytes, read_parquet, write_parquet
from jobs.steps.dimensions import unique
from jobs.steps.lines import File, parts_for, read_lines, read_suspects
from jobs.steps.row_files import buckets_of
from jobs.steps.settle import Settled
from marts.compute.engine import spill_to
from marts.compute.identity import Identities, Identity, suspects
from marts.compute.months import (
    Beyond,
    FactRows,
    TablesRead,
    code_of,
    dimension_columns,
    dimension_rows,
    empty_dimension,
    roll_up,
    with_month,
)
from marts.compute.numbers import Numbers
from marts.pack import Kind, MonthGroup, MonthTable, Pack
from marts.policy import Policy
from marts.privacy.erasure import is_guest

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
class FactFiles:
    """The drops of a fact in one month, in order of delivery."""

    identity: Identity
    drops: tuple[DropFiles, ...]
    settled: Settled | None = None
    """Which lines count, if transactions span months."""

    def files(self, month: str) -> list[File]:
        return [File(n, drop.origin, month, path) for n, drop in enumerate(self.drops) for path in drop.paths]


@dataclass(frozen=True)
class TableFile:
    """The file of a table of months that a task reads."""

    table: str
    month: str
    part: int
    parts: int
    path: str
    digest: str
    """Name of its content."""
    shard: Kind | None = None
    """The fact whose shard its rows are divided by."""

    @property
    def content(self) -> tuple[object, ...]:
        return self.table, self.month, self.part, self.parts, self.digest


@dataclass(frozen=True)
class DimensionFiles:
    """The files of a dimension that a task reads, in order of delivery."""

    kind: Kind
    paths: tuple[str, ...]
    last_counts: bool
    """Whether the last row of a key counts."""


@dataclass(frozen=True)
class RollUp:
    """A task: a month, or the part of it with bucket % parts == part."""

    month: str
    part: int
    parts: int
    last_day: date
    """Last day included; later lines are left out."""
    facts: tuple[FactFiles, ...]
    tables: tuple[MonthTable, ...]
    numbers: Numbers
    name: str
    rows: int = 0
    """Approximate number of clean lines."""
    level: int = 0
    """Level of its tables; the counts of drops are of the first."""
    is_read: bool = False
    """Whether tasks of other levels may read its tables: they are named by the content of what they read."""
    same: tuple[TableFile, ...] = ()
    """Tables of its month of lower levels: those of its buckets."""
    before: tuple[TableFile, ...] = ()
    """Tables of months before, which may have rows of other buckets."""
    like: tuple[TableFile, ...] = ()
    """Tables of its month with the columns of ``before``: there may be no month before."""
    dimensions: tuple[DimensionFiles, ...] = ()

    @property
    def folder(self) -> str:
        return f"facts/month={self.month}/{self.name}"

    @property
    def starts(self) -> date:
        return date.fromisoformat(f"{self.month}-01")

    def path(self, table: str) -> str:
        return f"{self.folder}/{table}.parquet"

    @property
    def digests(self) -> str:
        """Return the path of the names of its tables' contents."""
        return self.path("digests")

    @property
    def paths(self) -> set[str]:
        names = self.names if self.level else (*self.names, *COUNTS)
        return {*(self.path(name) for name in names), *([self.digests] if self.is_read else [])}

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of its tables."""
        return tuple(table.name for table in self.tables)


@dataclass(frozen=True)
class RollUpWork:
    """A task, and the state that it reads and writes."""

    task: RollUp
    state: StoreAddress


@dataclass(frozen=True)
class Calculations:
    """What roll-ups compute, and how."""

    groups: tuple[MonthGroup, ...]
    identities: Identities
    numbers: Numbers

    @classmethod
    def of(cls, pack: Pack, policy: Policy) -> "Calculations":
        return cls(pack.month_groups, Identity.of_all(policy, pack), Numbers.of(pack, policy))


def plan_rollups(
    manifests: Sequence[Manifest],
    as_of: date,
    lines_per_task: int,
    calculations: Calculations,
    settled: Mapping[str, Settled],
) -> list[RollUp]:
    """Return the roll-up tasks of the live drops, month by month. ``manifests`` are in order of delivery.

    ``settled`` has the result of `Settle` by fact, for those whose transactions span months.
    """
    by_month: dict[str, list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        for month in manifest.months:
            by_month[month].append(manifest)
    return [
        rollup
        for month in sorted(by_month)
        for group in calculations.groups
        for rollup in _plan_month(month, group, by_month[month], as_of, lines_per_task, calculations, settled)
    ]


def _plan_month(
    month: str,
    group: MonthGroup,
    drops: Sequence[Manifest],
    as_of: date,
    lines_per_task: int,
    calculations: Calculations,
    settled: Mapping[str, Settled],
) -> Iterable[RollUp]:
    names = [fact.name for fact in group.facts]
    manifests = [manifest for manifest in drops if manifest.delivery.kind in names]
    if not manifests:
        return
    rows = sum(manifest.months[month].rows for manifest in manifests)
    parts = parts_for(rows, lines_per_task * 3 // 2) if any(fact.shard for fact in group.facts) else 1
    last_day = max(date.fromisoformat(manifest.months[month].last_day) for manifest in manifests)
    # as_of changes a month's facts only if the month has lines after it.
    cut = as_of if last_day > as_of >= date.fromisoformat(f"{month}-01") else last_day
    facts = tuple(
        FactFiles(
            calculations.identities[name],
            tuple(
                DropFiles(manifest.origin, tuple(file.path for file in manifest.months[month].files))
                for manifest in manifests
                if manifest.delivery.kind == name
            ),
            settled.get(name),
        )
        for name in names
    )
    tables = group.at(0)
    code = code_of(tables, group.facts, calculations.numbers)
    for part in range(parts):
        name = rows_name(name_of(code, month, cut, part, parts, *made_from(facts)), month, facts)
        is_read = group.levels > 1
        yield RollUp(month, part, parts, cut, facts, tables, calculations.numbers, name, rows // parts, 0, is_read)


def made_from(facts: Iterable[FactFiles]) -> list[object]:
    """Return what distinguishes the rows of facts in a month. A moved drop has other paths but the same content."""
    parts: list[object] = []
    for fact in facts:
        files = [(drop.origin, [path.rpartition("/")[2] for path in drop.paths]) for drop in fact.drops]
        parts += [files, fact.identity.name]
    return parts


def rows_name(name: str, month: str, facts: Iterable[FactFiles]) -> str:
    """Return a name with which lines count, if transactions span months."""
    digests = [fact.settled.digests[month] for fact in facts if fact.settled and month in fact.settled.digests]
    return name_of(name, *digests) if digests else name


def run_rollup(work: RollUpWork) -> int:
    """Read the clean lines of a task, compute and write the facts. Return the number of lines."""
    task, store = work.task, work.state.open()
    spill_to(str(scratch.folder()))
    read = {fact.identity.fact.name: _read_fact(store, task, fact) for fact in task.facts}
    facts = roll_up(task.tables, read, task.last_day, task.numbers, _tables_read(store, task))
    keys = {table.name: table.key[0] for table in task.tables}
    digests = {}
    for name, table in facts.tables.items():
        groups = [(a, min(a + _GROUP_ROWS, table.num_rows)) for a in range(0, table.num_rows, _GROUP_ROWS)]
        written = parquet_bytes(with_month(table, task.starts), groups or None, by=keys[name])
        store.put(task.path(name), written)
        digests[name] = hashlib.sha256(written).hexdigest()[:16] if task.is_read else ""
    if task.level == 0:
        write_parquet(store, task.path("drops"), _with_origins(facts.drops, task, "delivery"))
        write_parquet(store, task.path("shared"), _with_origins(facts.shared, task, "delivery", "other"))
    if task.is_read:
        write_parquet(store, task.digests, pa.table({"table": list(digests), "digest": list(digests.values())}))
    return sum(fact.rows.num_rows for fact in read.values())


def _tables_read(store: Store, task: RollUp) -> TablesRead:
    """Read the tables and the dimensions that the tables of a task read."""
    same: dict[str, list[pa.Table]] = defaultdict(list)
    for file in task.same:
        same[file.table].append(_own_rows(store, task, file).drop_columns(["month"]))
    before = {file.table: [_schema(store, file.path).empty_table()] for file in task.like}
    for file in task.before:
        before[file.table].append(_own_rows(store, task, file))
    return TablesRead(
        {name: pa.concat_tables(tables) for name, tables in same.items()},
        {name: pa.concat_tables(tables) for name, tables in before.items()},
        {item.kind.name: _dimension(store, task, item) for item in task.dimensions},
    )


def _schema(store: Store, path: str) -> pa.Schema:
    return store.using(path, pq.read_schema)


def _own_rows(store: Store, task: RollUp, file: TableFile) -> pa.Table:
    """Read the rows of a table that are in the buckets of a task; all, if its key does not contain the shard.

    Guests have no shard: they are only in files of the task's own month that are divided as the task is.
    """
    rows = read_parquet(store, file.path)
    kind, is_inside = file.shard, file.parts % task.parts == 0
    if kind is None or (is_inside and file.month == task.month):
        return rows
    if kind.column(kind.shard).guests:
        rows = rows.filter(pc.invert(is_guest(rows, kind.shard)))
    return rows if is_inside else rows.filter(pa.array(buckets_of(kind, rows) % task.parts == task.part))


def _dimension(store: Store, task: RollUp, item: DimensionFiles) -> pa.Table:
    """Read the columns of a dimension that the tables of a task read."""
    names = dimension_columns(item.kind, task.tables)
    whole = [read_parquet(store, path, names if item.kind.versions else None) for path in item.paths]
    rows = unique(pa.concat_tables(whole, promote_options="default"), item.kind, item.last_counts) if whole else None
    if rows is None:
        return empty_dimension(item.kind, task.tables)
    return dimension_rows(item.kind, rows.select(names), task.starts)


def _read_fact(store: Store, task: RollUp, fact: FactFiles) -> FactRows:
    """Read the clean rows of a fact, and all columns of those that may have been delivered twice."""
    files, identity = fact.files(task.month), fact.identity
    lines, rows = read_lines(store, files, task.part, task.parts, identity)
    wanted = suspects(lines, identity)
    beyond = _read_beyond(store, task.month, fact.settled, files, rows) if fact.settled else None
    if beyond:
        wanted &= lines["t_id"].is_null().to_numpy()
    suspicious = read_suspects(store, files, lines, rows, np.flatnonzero(wanted), identity)
    return FactRows(lines, suspicious, identity, beyond)


def _read_beyond(
    store: Store, month: str, settled: Settled, files: Sequence[File], rows: Sequence[np.ndarray]
) -> Beyond:
    """Return the settled marks of a month's lines, by position, and the purchases that span months."""
    crossing = pa.concat_tables([read_parquet(store, path) for path in settled.crossing])
    crossing = crossing.filter(pc.equal(crossing["month"], month))
    return Beyond(_read_marks(store, settled.marks, month, files, rows), crossing)


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


def _with_origins(tables: Mapping[str, pa.Table], task: RollUp, *names: str) -> pa.Table:
    """Return the rows of all facts, in which drops are named by content instead of position."""
    results = []
    for fact in task.facts:
        table = tables[fact.identity.fact.name]
        for name in names:
            origins = pa.array([fact.drops[number].origin for number in table[name].to_pylist()], pa.string())
            table = table.set_column(table.schema.get_field_index(name), name, origins)
        results.append(table)
    return pa.concat_tables(results)
