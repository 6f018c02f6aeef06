"""Tables of months that read other months or dimensions, computed level by level after the roll-up.

A task is named by the content of the tables that it reads, and by the clean lines of its month if it reads facts: a
late row, or a new snapshot, computes again only what differs.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import gcd

from jobs.ports.store import Store, at_once
from jobs.state.manifest import name_of
from jobs.state.parquet import read_parquet
from jobs.steps.histories import Dimensions
from jobs.steps.rollup import (
    Calculations,
    Day,
    DimensionFiles,
    RollUp,
    TableFile,
    day_folder,
    lines_of,
    made_from,
    rows_name,
)
from marts.compute.months import code_of
from marts.compute.versions import month_after
from marts.pack import Kind, MonthGroup, MonthTable, Pack


def levels_of(pack: Pack) -> int:
    """Return the number of levels of the tables of months: one is rolled up."""
    return max((group.levels for group in pack.month_groups), default=1)


def read_digests(store: Store, rollups: Iterable[RollUp]) -> dict[str, str]:
    """Return the names of the contents of the tables that other levels read, by path."""
    paths = [rollup.digests for rollup in rollups if rollup.is_read]
    contents = at_once(lambda path: read_parquet(store, path).to_pylist(), paths)
    return {row["path"]: row["digest"] for rows in contents for row in rows}


def plan_level(
    level: int,
    rollups: Sequence[RollUp],
    pack: Pack,
    calculations: Calculations,
    dimensions: Dimensions,
    digests: Mapping[str, str],
) -> list[RollUp]:
    """Return the tasks of a level; ``rollups`` and ``digests`` are those of all lower levels."""
    files = _files(rollups, pack, digests)
    read = {
        kind.name: DimensionFiles(kind, tuple(dimensions.files.get(kind.name, ())), kind.name in dimensions.last_counts)
        for kind in pack.dimensions
    }
    tasks = list[RollUp]()
    for group in calculations.groups:
        own = [item for item in rollups if item.level == 0 and item.facts[0].identity.fact in group.facts]
        of_months = {item.month: replace(item, part=0, parts=1, rows=0) for item in own}.values()
        divided, whole = group.at(level), group.at(level, whole=True)
        tasks += [_plan(level, item, group, divided, calculations, files, read) for item in own if divided]
        tasks += [_plan(level, item, group, whole, calculations, files, read) for item in of_months if whole]
    return tasks


@dataclass(frozen=True)
class _Files:
    """The files of tables of months, by table and month."""

    of_months: Mapping[tuple[str, str], Sequence[TableFile]]
    """Those of their rows: of a table whose rows are those of days, the files of days."""
    of_days: Mapping[tuple[str, str], Sequence[TableFile]]
    """Those of days, of months that are computed by days."""


def _files(rollups: Iterable[RollUp], pack: Pack, digests: Mapping[str, str]) -> _Files:
    """Return the files of each table and month."""
    of_months: dict[tuple[str, str], list[TableFile]] = defaultdict(list)
    of_days: dict[tuple[str, str], list[TableFile]] = defaultdict(list)
    for rollup in rollups:
        for table in rollup.tables if rollup.is_read else ():
            own, shard = (table.name, rollup.month), _shard(table, pack.kinds)
            paths = [(day.day, day.path(table.name)) for day in rollup.days if table.by_day]
            days = [TableFile(*own, rollup.part, rollup.parts, path, digests[path], shard, day) for day, path in paths]
            of_days[own] += days
            if days and table.by_day == "rows":
                of_months[own] += days
            else:
                path = rollup.path(table.name)
                of_months[own].append(TableFile(*own, rollup.part, rollup.parts, path, digests[path], shard))
    return _Files(of_months, of_days)


def _shard(table: MonthTable, kinds: Mapping[str, Kind]) -> Kind | None:
    """Return the fact whose shard is in the key of a table."""
    return next((kinds[fact] for fact in table.reads if kinds[fact].shard in table.key), None)


def _plan(
    level: int,
    rollup: RollUp,
    group: MonthGroup,
    tables: Sequence[MonthTable],
    calculations: Calculations,
    files: _Files,
    dimensions: Mapping[str, DimensionFiles],
) -> RollUp:
    """Return the task that computes tables of a level for the month and the buckets of a roll-up."""
    names = {name for table in tables for name in table.facts}
    facts = tuple(fact for fact in rollup.facts if fact.identity.fact.name in names)
    of_days = [table for table in tables if rollup.days and table.by_day]
    of_month = [table for table in tables if table not in of_days]
    earlier = sorted({name for table in tables for name in table.lookback})
    month, daily = (
        [
            file
            for name in sorted({name for table in some for name in table.also} - {table.name for table in tables})
            for file in _of(rollup, known.get((name, rollup.month), ()))
        ]
        for some, known in ((of_month, files.of_months), (of_days, files.of_days))
    )
    so_far = [
        file
        for name in sorted({name for table in of_days for name in table.so_far})
        for file in _of(rollup, files.of_days[name, rollup.month])
    ]
    before = [
        file
        for month_before, name in _months_before(tables, rollup)
        for file in _of(rollup, files.of_months.get((name, month_before), ()))
    ]
    read = tuple(dimensions[name] for name in sorted({name for table in tables for name in table.dimensions}))
    code = code_of(tables, [fact.identity.fact for fact in facts], calculations.numbers)
    histories = [(item.kind.name, item.paths, item.last_counts) for item in read]
    place = (rollup.part, rollup.parts)

    def day_name(day: date) -> str:
        """Return the name of what the rows of a day are computed from."""
        used = [file.content for file in (*(file for file in daily if file.day == day), *before)]
        used += [file.content for file in so_far if file.day and file.day < day]
        return name_of(code, day, min(day, rollup.last_day), *place, lines_of(facts, day), used, histories)

    name = name_of(
        *(code, rollup.month, rollup.last_day, *place, made_from(facts)),
        [file.content for file in (*month, *daily, *so_far, *before)],
        histories,
    )
    return RollUp(
        month=rollup.month,
        part=rollup.part,
        parts=rollup.parts,
        last_day=rollup.last_day,
        facts=facts,
        tables=tuple(tables),
        numbers=calculations.numbers,
        name=rows_name(name, rollup.month, facts),
        rows=rollup.rows if facts else 0,
        level=level,
        is_read=group.levels > level + 1,
        same=tuple(dict.fromkeys((*month, *daily))),
        before=tuple(before),
        like=tuple(files.of_months[name, rollup.month][0] for name in earlier),
        so_far=tuple(so_far),
        dimensions=read,
        goes_on=rollup.goes_on,
        days=tuple(Day(day.day, day_folder(day.day, day_name(day.day))) for day in rollup.days) if of_days else (),
    )


def _of(rollup: RollUp, files: Iterable[TableFile]) -> list[TableFile]:
    """Return the files that may have rows in the buckets of a roll-up."""
    return [file for file in files if not (file.part - rollup.part) % gcd(file.parts, rollup.parts)]


def _months_before(tables: Iterable[MonthTable], rollup: RollUp) -> list[tuple[str, str]]:
    """Return the months before, each with a table, that tables read."""
    pairs = {
        (f"{month_after(rollup.starts, -count):%Y-%m}", name)
        for table in tables
        for name, most in table.lookback.items()
        for count in range(1, most + 1)
    }
    return sorted(pairs)
