"""Compute the facts of a month, or of some buckets of it: from all of its lines, or from the facts of its days."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.ports.store import READS_AT_ONCE, REQUESTS_AT_ONCE, Store, at_once
from jobs.runtime import scratch
from jobs.state.parquet import parquet_bytes, read_parquet, read_tables, write_parquet
from jobs.steps.dimensions import unique
from jobs.steps.lines import ALL_DAYS, File, read_lines, read_suspects
from jobs.steps.rollup import COUNTS, Day, DimensionFiles, FactFiles, RollUp, TableFile
from jobs.steps.rollup_work import RollUpWork
from jobs.steps.row_files import buckets_of
from jobs.steps.settle import Settled
from marts.compute.days import differs, hash_of_rows, merged, require_equal
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
from marts.compute.versions import month_after
from marts.pack import MonthTable
from marts.privacy.erasure import is_guest

_COMPARED = 2
"""Days that are compared with what they give together, of tables that read others: all could be too many at once."""
_ROWS_AT_ONCE = 1_500_000
"""Rows of days that are read together."""
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
    if task.days:
        return _Days(store, work).run()
    rows, read = _read_facts(store, task), _Read(store, task)
    _write(store, task, _compute(task, task.tables, rows, read.of_month()), {})
    return _count(rows)


def _count(rows: Mapping[str, FactRows]) -> int:
    return sum(fact.rows.num_rows for fact in rows.values())


def _write(store: Store, task: RollUp, facts: _Facts, of_days: Mapping[str, str]) -> None:
    """Write the facts of a month; ``of_days`` are the names of contents of its days, by path."""
    digests = {**of_days}
    for table in task.tables:
        path = task.path(table.name)
        if path in task.files(table):
            digests |= _write_table(store, task, table, facts.tables[table.name], path)
    for name, rows in facts.counts.items():
        write_parquet(store, task.path(name), rows)
    if task.is_read:
        _write_digests(store, task.digests, digests)


def _write_table(store: Store, task: RollUp, table: MonthTable, rows: pa.Table, path: str) -> dict[str, str]:
    """Write the rows of a table; return the name of their content, by path."""
    groups = [(a, min(a + _GROUP_ROWS, rows.num_rows)) for a in range(0, rows.num_rows, _GROUP_ROWS)]
    written = parquet_bytes(with_month(rows, task.starts), groups or None, by=table.key[0])
    store.put(path, written)
    return {path: hashlib.sha256(written).hexdigest()[:16]}


def _write_digests(store: Store, path: str, digests: Mapping[str, str]) -> None:
    write_parquet(store, path, pa.table({"path": list(digests), "digest": list(digests.values())}))


def _compute(
    task: RollUp,
    tables: Sequence[MonthTable],
    rows: Mapping[str, FactRows],
    read: TablesRead,
    day: Day | None = None,
) -> _Facts:
    """Compute tables of a month, or of one of its days, from the rows of its facts."""
    last_day = min(day.day, task.last_day) if day else task.last_day
    facts = roll_up(tables, rows, last_day, task.numbers, read)
    if task.level:
        return _Facts(facts.tables, {})
    drops, shared = _with_origins(facts.drops, task, "delivery"), _with_origins(facts.shared, task, "delivery", "other")
    return _Facts(facts.tables, dict(zip(COUNTS, (drops, shared), strict=True)))


class _Days:
    """The computation of a month by days: those that lack their facts are computed, and all are merged."""

    def __init__(self, store: Store, work: RollUpWork) -> None:
        self._store, self._task, self._kept, self._first = store, work.task, work.days, work.first
        task = self._task
        self._daily = [table for table in task.tables if table.by_day]
        self._of_month = [table for table in task.tables if not table.by_day]
        self._read = _Read(store, task)

    def run(self) -> int:
        """Compute, keep and merge the facts. Return the number of lines that were read.

        If all days are computed, compare the first with what their rows give together: the pack states how rows of
        days are merged.
        """
        task, count = self._task, 0
        groups = _at_once([day for day in task.days if day not in self._kept], task.rows // len(task.days))
        of_day, digests = dict[Day, _Facts](), dict[Day, dict[str, str]]()
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            merged_before = [task.first(self._first)] if self._first else []
            others = [day for day in task.days[self._first :] if day in self._kept]
            read = {day: pool.submit(self._read_day, day) for day in (*merged_before, *others)}
            for group in groups:
                every = len(group) == len(task.days)
                rows = _read_facts(self._store, task, ALL_DAYS if every else sum(day.bit for day in group))
                compared = () if self._kept or of_day else group[:_COMPARED] if task.level else group
                hashes = Counter[str]()
                for day in group:
                    own = {name: _of_days(fact, [day]) for name, fact in rows.items()}
                    facts = _compute(task, self._daily, own, self._read.of_day(day.day), day)
                    digests[day] = self._write_day(pool, day, facts)
                    hashes.update(self._hashes(facts) if day in compared else {})
                    of_day[day] = self._needed(facts)
                if compared:
                    self._compare(rows, compared, self._merge([of_day[day] for day in compared]), hashes)
                count += _count(rows)
            for day, result in read.items():
                of_day[day], digests[day] = result.result()
            self._finish(pool, [*merged_before, *task.days[self._first :]], of_day, digests)
        return count

    def _finish(
        self,
        pool: ThreadPoolExecutor,
        days: Sequence[Day],
        facts: Mapping[Day, _Facts],
        digests: Mapping[Day, Mapping[str, str]],
    ) -> None:
        """Merge and write the facts of the month, and those of its first days; the first of ``days`` may be merged."""
        task, left = self._task, [facts[day] for day in days]
        own = len(days) - (len(task.days) - task.merged_days)  # of the first days
        if task.merged_days > self._first:
            left = [self._merge(left[:own]), *left[own:]]
            first = task.first(task.merged_days)
            self._write_files(pool, first, task.needed_tables, left[0])
            of_days = {path: name for day in days[:own] for path, name in digests[day].items()}
            _write_digests(self._store, first.digests, of_days)
        names = {path: name for day in days for path, name in digests[day].items()}
        _write(self._store, task, self._with_month(self._merge(left)), names)

    def _compare(
        self, rows: Mapping[str, FactRows], days: Sequence[Day], merged_facts: _Facts, hashes: Mapping[str, int]
    ) -> None:
        """Compare some days with what their rows give together. Raise SqlFailed."""
        own = {name: _of_days(fact, days) for name, fact in rows.items()}
        together = _compute(self._task, self._daily, own, self._read.of_days(days), days[-1])
        self._require_equal(together, merged_facts, hashes)

    def _hashes(self, facts: _Facts) -> dict[str, int]:
        """Return a hash of the rows of each table whose rows of days are those of the month."""
        return {table.name: hash_of_rows(facts.tables[table.name]) for table in self._daily if table.by_day == "rows"}

    def _require_equal(self, together: _Facts, merged_facts: _Facts, hashes: Mapping[str, int]) -> None:
        """Raise SqlFailed if rows of days differ from what the days give together.

        Dimensions are cut to the day or the month, so the rows of tables that read them differ without a mistake.
        """
        of_whole = self._hashes(together)
        for table in (table for table in self._daily if not table.dimensions):
            if table.by_day == "merged":
                require_equal(table, merged_facts.tables[table.name], together.tables[table.name])
            elif of_whole[table.name] != hashes[table.name]:
                raise differs(table)

    def _with_month(self, facts: _Facts) -> _Facts:
        """Add the tables that only the rows of the month give."""
        if not self._of_month:
            return facts
        read = self._read.of_month()
        read = replace(read, same={**read.same, **facts.tables})
        own = roll_up(self._of_month, {}, self._task.last_day, self._task.numbers, read)
        return replace(facts, tables={**facts.tables, **own.tables})

    def _write_day(self, pool: ThreadPoolExecutor, day: Day, facts: _Facts) -> dict[str, str]:
        """Write the facts of a day; return the names of the contents of its tables, by path."""
        digests = self._write_files(pool, day, self._daily, facts)
        _write_digests(self._store, day.digests, digests)
        return digests

    def _write_files(
        self, pool: ThreadPoolExecutor, day: Day, tables_of_day: Sequence[MonthTable], facts: _Facts
    ) -> dict[str, str]:
        """Write tables and counts of a day, or of the first days; return the names of the tables' contents, by path."""
        tables = [
            pool.submit(_write_table, self._store, self._task, table, facts.tables[table.name], day.path(table.name))
            for table in tables_of_day
        ]
        counts = [pool.submit(write_parquet, self._store, day.path(name), rows) for name, rows in facts.counts.items()]
        digests = {path: digest for result in tables for path, digest in result.result().items()}
        for result in counts:
            result.result()
        return digests

    def _needed(self, facts: _Facts) -> _Facts:
        """Return the facts of a day without the rows that are only in its files."""
        return replace(facts, tables={table.name: facts.tables[table.name] for table in self._task.needed_tables})

    def _read_day(self, day: Day) -> tuple[_Facts, dict[str, str]]:
        """Read the facts of a day, if they are merged or read, and the names of the contents of all."""
        names = [table.name for table in self._task.needed_tables]
        tables = {name: read_parquet(self._store, day.path(name)).drop_columns(["month"]) for name in names}
        counts = {name: read_parquet(self._store, day.path(name)) for name in self._task.counts}
        digests = read_parquet(self._store, day.digests).to_pylist()
        return _Facts(tables, counts), {row["path"]: row["digest"] for row in digests}

    def _merge(self, days: Sequence[_Facts]) -> _Facts:
        """Merge the facts of the days of a month."""
        tables = {
            table.name: merged(table, [facts.tables[table.name] for facts in days])
            for table in self._task.needed_tables
        }
        if self._task.level:
            return _Facts(tables, {})
        drops, shared = (pa.concat_tables(facts.counts[name] for facts in days) for name in COUNTS)
        pairs = shared.group_by(["delivery", "other"]).aggregate([("lines", "sum")])
        shared = pairs.rename_columns(shared.column_names)
        task = self._task
        counts = (_in_order(drops, task, "delivery"), _in_order(shared, task, "delivery", "other"))
        return _Facts(tables, dict(zip(COUNTS, counts, strict=True)))


def _at_once(days: Sequence[Day], rows: int) -> list[Sequence[Day]]:
    """Divide days, of so many rows each, into groups that are read together."""
    size = max(_ROWS_AT_ONCE // max(rows, 1), 1)
    return [days[start : start + size] for start in range(0, len(days), size)]


def _of_days(fact: FactRows, days: Sequence[Day]) -> FactRows:
    """Return the rows of some days."""
    at, wanted = fact.identity.fact.at, pa.array([day.day for day in days], pa.date32())
    is_own = pc.is_in(fact.rows[at], wanted)
    suspicious = fact.suspects.filter(pc.is_in(fact.suspects[at], wanted))
    beyond = fact.beyond
    if beyond:
        own = fact.rows["position"].filter(is_own)
        marks = beyond.marks.filter(pc.is_in(beyond.marks["position"], own.combine_chunks()))
        beyond = replace(beyond, marks=marks)
    return FactRows(fact.rows.filter(is_own), suspicious, fact.identity, beyond)


def _in_order(rows: pa.Table, task: RollUp, *names: str) -> pa.Table:
    """Return rows in the order of the drops that columns name; then in their own."""
    origins = pa.array([drop.origin for fact in task.facts for drop in fact.drops], pa.string())
    places = [pc.index_in(rows[name], origins).to_numpy() for name in reversed(names)]
    return rows.take(pa.array(np.lexsort(places)))


class _Read:
    """The tables and the dimensions that the tables of a task read."""

    def __init__(self, store: Store, task: RollUp) -> None:
        self._store, self._task = store, task
        self._before: dict[str, list[pa.Table]] | None = None
        self._so_far: dict[str, pa.Table] = {}
        self._dimensions = {item.kind.name: _dimension(store, task, item) for item in task.dimensions}

    def of_month(self) -> TablesRead:
        """Read what tables of the month read."""
        names = {name for table in self._task.tables if not (self._task.days and table.by_day) for name in table.also}
        return self._tables([file for file in self._task.same if file.table in names and self._is_of_month(file)])

    def of_days(self, days: Sequence[Day]) -> TablesRead:
        """Read what tables of days read for the first days together."""
        wanted = {day.day for day in days}
        return self._tables([file for file in self._task.same if file.day in wanted])

    def of_day(self, day: date) -> TablesRead:
        """Read what tables of a day read."""
        read = self._tables([file for file in self._task.same if file.day == day], day)
        files = [file for file in self._task.so_far if file.day and file.day < day]
        missing = [file for file in files if file.path not in self._so_far]
        self._so_far |= dict(zip((file.path for file in missing), self._own_rows(missing), strict=True))
        so_far = defaultdict(list)
        for file in files:
            so_far[file.table].append(self._so_far[file.path])
        before = {name: pa.concat_tables([rows, *so_far[name]]) for name, rows in read.before.items()}
        return replace(read, before=before)

    def _is_of_month(self, file: TableFile) -> bool:
        """Return whether a file has rows of the month: of a table with rows of days, all files have."""
        return file.day is None or not any(o.table == file.table and not o.day for o in self._task.same)

    def _own_rows(self, files: Sequence[TableFile]) -> list[pa.Table]:
        return at_once(lambda file: _own_rows(self._store, self._task, file), files, READS_AT_ONCE)

    def _tables(self, files: Sequence[TableFile], day: date | None = None) -> TablesRead:
        """Read files of the month, all of the months before, and the dimensions."""
        same: dict[str, list[pa.Table]] = defaultdict(list)
        for file, rows in zip(files, self._own_rows(files), strict=True):
            same[file.table].append(rows.drop_columns(["month"]))
        if self._before is None:
            self._before = {file.table: [_schema(self._store, file.path).empty_table()] for file in self._task.like}
            for file, rows in zip(self._task.before, self._own_rows(self._task.before), strict=True):
                self._before[file.table].append(rows)
        starts, after = (day, day + timedelta(days=1)) if day else (self._task.starts, month_after(self._task.starts))
        kinds = {item.kind.name: item.kind for item in self._task.dimensions}
        return TablesRead(
            {name: pa.concat_tables(tables) for name, tables in same.items()},
            {name: pa.concat_tables(tables) for name, tables in self._before.items()},
            {name: dimension_rows(kinds[name], rows, starts, after) for name, rows in self._dimensions.items()},
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
    whole = read_tables(store, item.paths, names if item.kind.versions else None)
    rows = unique(pa.concat_tables(whole, promote_options="default"), item.kind, item.last_counts) if whole else None
    return empty_dimension(item.kind, task.tables) if rows is None else rows.select(names)


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
    crossing = pa.concat_tables(read_tables(store, settled.crossing))
    crossing = crossing.filter(pc.equal(crossing["month"], month))
    return Beyond(_read_marks(store, settled.marks, month, files, rows), crossing)


def _read_marks(
    store: Store, paths: Sequence[str], month: str, files: Sequence[File], rows: Sequence[np.ndarray]
) -> pa.Table:
    result = pa.concat_tables(read_tables(store, paths))
    result = result.filter(pc.equal(result["month"], month))
    positions, kept = [np.arange(0)], [pa.array([], pa.string())]
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
