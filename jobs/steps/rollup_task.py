"""Compute the facts of a month, or of some buckets of it: from all of its lines, or from the facts of its days."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.ports.store import REQUESTS_AT_ONCE, Store
from jobs.runtime import scratch
from jobs.state.parquet import parquet_bytes, read_parquet, write_parquet
from jobs.steps.dimensions import unique
from jobs.steps.lines import ALL_DAYS, File, read_lines, read_suspects
from jobs.steps.rollup import COUNTS, Day, DimensionFiles, FactFiles, RollUp, RollUpWork, TableFile
from jobs.steps.row_files import buckets_of
from jobs.steps.settle import Settled
from marts.compute.days import merged, require_equal
from marts.compute.engine import spill_to
from marts.compute.identity import suspects
from marts.compute.months import (
    Beyond,
    FactRows,
    TablesRead,
    dimension_columns,
    dimension_rows,
    empty_dimension,
    roll_up,
    with_month,
)
from marts.privacy.erasure import is_guest

_GROUP_ROWS = 6_000
"""Facts per row group: the unit that a materialize task skips or reads."""


@dataclass(frozen=True)
class _Facts:
    """The tables of a month or a day; drops are named by their content."""

    tables: Mapping[str, pa.Table]
    counts: Mapping[str, pa.Table]
    """Those of COUNTS; of the first level only."""


def run_rollup(work: RollUpWork) -> int:
    """Read the clean lines of a task, compute and write the facts. Return the number of lines that were read."""
    task, store = work.task, work.state.open()
    spill_to(str(scratch.folder()))
    if work.days is None:
        rows = _read_facts(store, task)
        facts = _compute(task, rows, _tables_read(store, task))
    else:
        rows, facts = _by_day(store, task, work.days)
    _write(store, task, facts)
    return sum(fact.rows.num_rows for fact in rows.values())


def _write(store: Store, task: RollUp, facts: _Facts) -> None:
    """Write the facts of a month."""
    keys = {table.name: table.key[0] for table in task.tables}
    digests = {}
    for name, table in facts.tables.items():
        groups = [(a, min(a + _GROUP_ROWS, table.num_rows)) for a in range(0, table.num_rows, _GROUP_ROWS)]
        written = parquet_bytes(with_month(table, task.starts), groups or None, by=keys[name])
        store.put(task.path(name), written)
        digests[name] = hashlib.sha256(written).hexdigest()[:16] if task.is_read else ""
    for name, table in facts.counts.items():
        write_parquet(store, task.path(name), table)
    if task.is_read:
        write_parquet(store, task.digests, pa.table({"table": list(digests), "digest": list(digests.values())}))


def _compute(task: RollUp, rows: Mapping[str, FactRows], read: TablesRead, day: Day | None = None) -> _Facts:
    """Compute the facts of a month, or of one of its days, from the rows of its facts."""
    last_day = min(day.day, task.last_day) if day else task.last_day
    facts = roll_up(task.tables, rows, last_day, task.numbers, read)
    if task.level:
        return _Facts(facts.tables, {})
    drops, shared = _with_origins(facts.drops, task, "delivery"), _with_origins(facts.shared, task, "delivery", "other")
    return _Facts(facts.tables, dict(zip(COUNTS, (drops, shared), strict=True)))


def _by_day(store: Store, task: RollUp, kept: Sequence[Day]) -> tuple[dict[str, FactRows], _Facts]:
    """Compute and keep the facts of the days that lack them, and merge those of all days.

    Also return the rows that were read. If these are all of the month, compare with what they give as a whole: the
    pack states how rows of days are merged.
    """
    missing = [day for day in task.days if day not in kept]
    rows = _read_facts(store, task, sum(day.bit for day in missing) if kept else ALL_DAYS)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        read = {day: pool.submit(_read_day, store, task, day) for day in kept}
        written, of_day = [], {}
        for day in missing:
            own = {name: _of_day(fact, day) for name, fact in rows.items()}
            of_day[day] = _compute(task, own, TablesRead(), day)
            written.append(pool.submit(_write_day, store, day, of_day[day]))
        of_day |= {day: facts.result() for day, facts in read.items()}
        for result in written:
            result.result()
    facts = _merge(task, [of_day[day] for day in task.days])
    if not kept:
        whole = _compute(task, rows, TablesRead())
        for table in task.tables:
            require_equal(table, facts.tables[table.name], whole.tables[table.name])
    return rows, facts


def _of_day(fact: FactRows, day: Day) -> FactRows:
    """Return the rows of a day."""
    at = fact.identity.fact.at
    rows, suspicious = (table.filter(pc.equal(table[at], pa.scalar(day.day))) for table in (fact.rows, fact.suspects))
    return FactRows(rows, suspicious, fact.identity)


def _write_day(store: Store, day: Day, facts: _Facts) -> None:
    for name, table in {**facts.tables, **facts.counts}.items():
        write_parquet(store, day.path(name), table)


def _read_day(store: Store, task: RollUp, day: Day) -> _Facts:
    tables, counts = ({name: read_parquet(store, day.path(name)) for name in names} for names in (task.names, COUNTS))
    return _Facts(tables, counts)


def _merge(task: RollUp, days: Sequence[_Facts]) -> _Facts:
    """Merge the facts of the days of a month."""
    tables = {table.name: merged(table, [facts.tables[table.name] for facts in days]) for table in task.tables}
    drops, shared = (pa.concat_tables(facts.counts[name] for facts in days) for name in COUNTS)
    pairs = shared.group_by(["delivery", "other"]).aggregate([("lines", "sum")])
    shared = pairs.rename_columns(shared.column_names)
    counts = (_in_order(drops, task, "delivery"), _in_order(shared, task, "delivery", "other"))
    return _Facts(tables, dict(zip(COUNTS, counts, strict=True)))


def _in_order(rows: pa.Table, task: RollUp, *names: str) -> pa.Table:
    """Return rows in the order of the drops that columns name; then in their own."""
    origins = pa.array([drop.origin for fact in task.facts for drop in fact.drops], pa.string())
    places = [pc.index_in(rows[name], origins).to_numpy() for name in reversed(names)]
    return rows.take(pa.array(np.lexsort(places)))


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


def _read_facts(store: Store, task: RollUp, days: int = ALL_DAYS) -> dict[str, FactRows]:
    """Read the clean rows of the facts of some days, a bit each."""
    return {fact.identity.fact.name: _read_fact(store, task, fact, days) for fact in task.facts}


def _read_fact(store: Store, task: RollUp, fact: FactFiles, days: int) -> FactRows:
    """Read the clean rows of a fact, and all columns of those that may have been delivered twice."""
    files, identity = fact.files(task.month, days), fact.identity
    lines, rows = read_lines(store, files, task.part, task.parts, identity, days)
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
