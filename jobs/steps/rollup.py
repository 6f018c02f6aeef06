"""Step 3, roll up: one task per month (and part of its buckets) computes the month's facts from clean lines.

Facts are named by their inputs. A month whose drops did not change is not recomputed. Of a month that goes on, the
facts of each day are kept as well: a new drop computes those of its days, and all are merged. Tables that read other
months or dimensions are computed afterwards, level by level, by tasks of the same kind, see derive.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date, timedelta

from jobs.state.manifest import Manifest, name_of
from jobs.steps.lines import File, parts_for
from jobs.steps.settle import Settled
from marts.compute.identity import Identities, Identity
from marts.compute.months import code_of
from marts.compute.numbers import Numbers
from marts.pack import Kind, MonthGroup, MonthTable, Pack
from marts.policy import Policy

COUNTS = ("drops", "shared")
"""Files beside the tables of a month: what each drop brings, and the rows that drops share."""
_GOES_ON = timedelta(days=7)
"""A month goes on until so many days after its end: late lines come."""
_LAST = 3
"""Days of a month that are not merged with those before: most late lines are of them."""
_DAYS = 8
"""A month that is computed by days is divided as if it had so many, each with as many lines as the largest: not all
days are read at once, and tasks read files of all days."""
_DAY_VERSION = 2
"""Version of the files of days."""
_BY_DAY = 4
"""A task of fewer lines than 1/_BY_DAY of ``rollup_lines`` is computed as a whole: that is as fast."""


@dataclass(frozen=True)
class DropFiles:
    """The files of one drop in one month."""

    origin: str
    """Name of the drop's content."""
    paths: tuple[str, ...]
    days: int = 0
    """The days of the month that have lines, a bit each; 0 if they are not known."""

    def is_on(self, days: int) -> bool:
        """Return whether it may have lines of some days."""
        return not self.days or bool(self.days & days)


@dataclass(frozen=True)
class FactFiles:
    """The drops of a fact in one month, in order of delivery."""

    identity: Identity
    drops: tuple[DropFiles, ...]
    settled: Settled | None = None
    """Which lines count, if transactions span months."""

    def files(self, month: str, days: int) -> list[File]:
        """Return the files of the lines of some days; each has the place of its drop among all."""
        drops = [(place, drop) for place, drop in enumerate(self.drops) if drop.is_on(days)]
        return [File(place, drop.origin, month, path) for place, drop in drops for path in drop.paths]

    def on(self, days: int) -> "FactFiles":
        """Return only the drops that may have lines of some days."""
        return replace(self, drops=tuple(drop for drop in self.drops if drop.is_on(days)))


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
    day: date | None = None
    """The day of its rows; None if it has all of its month."""

    @property
    def content(self) -> tuple[object, ...]:
        days = [self.day] if self.day else []
        return self.table, self.month, self.part, self.parts, self.digest, *days


@dataclass(frozen=True)
class DimensionFiles:
    """The files of a dimension that a task reads, in order of delivery."""

    kind: Kind
    paths: tuple[str, ...]
    last_counts: bool
    """Whether the last row of a key counts."""


@dataclass(frozen=True)
class Day:
    """The facts of one day, in files of their own."""

    day: date
    folder: str

    @property
    def bit(self) -> int:
        """Return its bit among the days of a month."""
        return 1 << self.day.day

    def path(self, table: str) -> str:
        return f"{self.folder}/{table}.parquet"

    @property
    def digests(self) -> str:
        """Return the path of the names of its tables' contents."""
        return self.path("digests")


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
    """Tables of its month of lower levels: those of its buckets, of its month and of its days."""
    before: tuple[TableFile, ...] = ()
    """Tables of months before, which may have rows of other buckets."""
    like: tuple[TableFile, ...] = ()
    """Tables of its month with the columns of ``before``: there may be no month before."""
    dimensions: tuple[DimensionFiles, ...] = ()
    so_far: tuple[TableFile, ...] = ()
    """Tables of days of its month, of which a day reads those of the days before it."""
    days: tuple[Day, ...] = ()
    """The days of a month that is computed by days; empty if it is computed whole."""
    goes_on: bool = False
    """Whether the facts of its days are kept: drops of it may still come."""

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
    def counts(self) -> tuple[str, ...]:
        """Return the names of the files beside its tables."""
        return () if self.level else COUNTS

    @property
    def paths(self) -> set[str]:
        tables = (path for table in self.tables for path in self.files(table))
        return {*tables, *map(self.path, self.counts), *([self.digests] if self.is_read else [])}

    def files(self, table: MonthTable, until: date = date.max) -> tuple[str, ...]:
        """Return the files of the rows of a table in the month; of those of days, the ones up to a day."""
        if not (self.days and table.by_day == "rows"):
            return (self.path(table.name),)
        return tuple(day.path(table.name) for day in self.days if day.day <= until)

    @property
    def day_paths(self) -> set[str]:
        """Return the paths of the facts of its days that are kept: not all of them need to be there."""
        days = {path for day in self.days for path in self.paths_of(day)}
        return days | self.merged_paths(self.merged_days) if self.goes_on else set()

    @property
    def merged_days(self) -> int:
        """Return the number of the first days whose facts are kept merged."""
        return max(len(self.days) - _LAST, 0) if self.goes_on else 0

    @property
    def needed_tables(self) -> tuple[MonthTable, ...]:
        """Return the tables of days whose rows of all days are needed: those merged, or read by tables of the month."""
        read = {name for table in self.tables if not table.by_day for name in table.also}
        daily = (table for table in self.tables if table.by_day)
        return tuple(table for table in daily if table.by_day == "merged" or table.name in read)

    def first(self, count: int) -> Day:
        """Return where the merged facts of the first days are."""
        own = self.days[:count]
        return Day(own[-1].day, f"facts/month={self.month}/days-{name_of(*(day.folder for day in own))}")

    def merged_paths(self, count: int) -> set[str]:
        """Return the paths of the merged facts of the first days."""
        if not count:
            return set()
        day = self.first(count)
        return {*(day.path(table.name) for table in self.needed_tables), *map(day.path, self.counts), day.digests}

    def paths_of(self, day: Day) -> set[str]:
        """Return the paths of the facts of a day."""
        tables = (day.path(table.name) for table in self.tables if table.by_day)
        return {*tables, *map(day.path, self.counts), day.digests}


@dataclass(frozen=True)
class Calculations:
    """What roll-ups compute, and how."""

    groups: tuple[MonthGroup, ...]
    identities: Identities
    numbers: Numbers

    @classmethod
    def of(cls, pack: Pack, policy: Policy) -> "Calculations":
        return cls(pack.month_groups, Identity.of_all(policy, pack), Numbers.of(pack, policy))


@dataclass(frozen=True)
class MonthPlan:
    """A month of a group of facts: its drops, and how it is divided."""

    month: str
    group: MonthGroup
    manifests: tuple[Manifest, ...]
    """In order of delivery."""
    parts: int
    goes_on: bool
    """Whether it is large, and drops of it may still come."""

    @property
    def rows(self) -> int:
        return sum(manifest.months[self.month].rows for manifest in self.manifests)

    @property
    def last_day(self) -> date:
        return max(date.fromisoformat(manifest.months[self.month].last_day) for manifest in self.manifests)

    @property
    def is_by_day(self) -> bool:
        """Return whether days can give the rows of its tables: facts are read for these only."""
        return all(table.by_day or not table.facts for table in self.group.tables)

    def divided_by_day(self, lines_per_task: int) -> "MonthPlan":
        """Return it as its days are divided: this changes little while it grows, so that days are kept."""
        months = [manifest.months[self.month] for manifest in self.manifests]
        largest = max(lines.rows // max(lines.days.bit_count(), 1) for lines in months)
        return replace(self, parts=_parts(self.group, largest * _DAYS, lines_per_task))


def _parts(group: MonthGroup, rows: int, lines_per_task: int) -> int:
    """Return the number of tasks for some rows; facts without a shard are not divided."""
    return parts_for(rows, lines_per_task * 3 // 2) if any(fact.shard for fact in group.facts) else 1


def plan_months(
    manifests: Sequence[Manifest], as_of: date, lines_per_task: int, groups: Sequence[MonthGroup]
) -> list[MonthPlan]:
    """Return the months of the live drops. ``manifests`` are in order of delivery."""
    by_month: dict[str, list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        for month in manifest.months:
            by_month[month].append(manifest)
    last_day = max((lines.last_day for item in manifests for lines in item.months.values()), default=as_of.isoformat())
    newest = min(as_of, date.fromisoformat(last_day))
    goes_on = (max(newest, date.min + _GOES_ON) - _GOES_ON).isoformat()[:7]
    plans = []
    for month in sorted(by_month):
        for group in groups:
            names = [fact.name for fact in group.facts]
            own = tuple(manifest for manifest in by_month[month] if manifest.delivery.kind in names)
            if own:
                rows = sum(manifest.months[month].rows for manifest in own)
                parts = _parts(group, rows, lines_per_task)
                is_large = rows // parts * _BY_DAY >= lines_per_task
                plans.append(MonthPlan(month, group, own, parts, month >= goes_on and is_large))
    return plans


Settling = Callable[[Identity, Collection[str]], Settled | None]
"""Settles the lines of a fact in some months; None if that was not done."""


def plan_rollups(
    manifests: Sequence[Manifest],
    as_of: date,
    lines_per_task: int,
    calculations: Calculations,
    settle: Settling,
    existing: AbstractSet[str],
) -> list[RollUp]:
    """Return the roll-up tasks of the live drops, month by month. ``manifests`` are in order of delivery.

    A large month that goes on is computed whole the first time, and by days from the next time on. ``existing`` are
    the files of earlier runs.
    """
    months = {month for manifest in manifests for month in manifest.months}
    spanning = {name: item for name, item in calculations.identities.items() if not item.within_month}
    settled = {name: result for name, item in spanning.items() if (result := settle(item, months))}
    folders = {tuple(path.split("/")[1:3]) for path in existing if path.startswith("facts/")}
    known_months = {month.removeprefix("month=") for month, _ in folders}
    with_days = {month.removeprefix("month=") for month, folder in folders if folder.startswith("day-")}

    def was_by_day(plan: MonthPlan) -> bool:
        """Return whether a month was computed by days that are not kept, since it has ended."""
        if any(table.by_day == "rows" for table in plan.group.tables):
            return False
        days = plan_month(plan.divided_by_day(lines_per_task), as_of, calculations, {}, by_day=True)
        return any(task.paths <= existing for task in days)

    tasks = list[RollUp]()
    for plan in plan_months(manifests, as_of, lines_per_task, calculations.groups):
        whole = plan_month(plan, as_of, calculations, settled)
        has_days = plan.month in with_days
        is_new = plan.month not in known_months or (not has_days and any(task.paths <= existing for task in whole))
        if is_new or not plan.is_by_day or not (plan.goes_on or has_days or was_by_day(plan)):
            tasks += whole
            continue
        crossing = [item for fact in plan.group.facts if not (item := calculations.identities[fact.name]).within_day]
        of_days = {item.fact.name: settled.get(item.fact.name) or settle(item, {plan.month}) for item in crossing}
        known = {**settled, **{name: result for name, result in of_days.items() if result}}
        tasks += plan_month(plan.divided_by_day(lines_per_task), as_of, calculations, known, by_day=True)
    return tasks


def plan_month(
    plan: MonthPlan, as_of: date, calculations: Calculations, settled: Mapping[str, Settled], by_day: bool = False
) -> list[RollUp]:
    """Return the tasks of a month.

    ``settled`` has the result of `Settle` by fact: for facts whose transactions span months, or days if it is computed
    by days.
    """
    month, group, last_day, parts = plan.month, plan.group, plan.last_day, plan.parts
    # as_of changes a month's facts only if the month has lines after it.
    cut = as_of if last_day > as_of >= date.fromisoformat(f"{month}-01") else last_day
    facts = tuple(
        FactFiles(
            calculations.identities[fact.name],
            tuple(
                DropFiles(item.origin, tuple(file.path for file in lines.files), lines.days)
                for item, lines in ((manifest, manifest.months[month]) for manifest in plan.manifests)
                if item.delivery.kind == fact.name
            ),
            settled.get(fact.name),
        )
        for fact in group.facts
    )
    tables = group.at(0)
    code = code_of(tables, group.facts, calculations.numbers)
    days = _days(last_day, facts) if by_day else []
    tasks = []
    for part in range(parts):
        name = rows_name(name_of(code, month, cut, part, parts, *made_from(facts)), month, facts)
        own = tuple(
            Day(day, day_folder(day, name_of(_DAY_VERSION, code, day, min(day, cut), part, parts, *rows_of)))
            for day, rows_of in days
        )
        task = RollUp(
            month=month,
            part=part,
            parts=parts,
            last_day=cut,
            facts=facts,
            tables=tables,
            numbers=calculations.numbers,
            name=name_of(name, *(day.folder for day in own)) if own and group.levels > 1 else name,
            rows=plan.rows // parts,
            is_read=group.levels > 1,
            days=own,
            goes_on=plan.goes_on,
        )
        tasks.append(task)
    return tasks


def day_folder(day: date, name: str) -> str:
    """Return the folder of the facts of a day."""
    return f"facts/month={day:%Y-%m}/day-{day:%d}-{name}"


def _days(last_day: date, facts: Sequence[FactFiles]) -> list[tuple[date, list[object]]]:
    """Return the days of a month that may have lines, each with what distinguishes its rows."""
    days = []
    for day in (last_day.replace(day=number) for number in range(1, last_day.day + 1)):
        if any(fact.on(1 << day.day).drops for fact in facts):
            days.append((day, lines_of(facts, day)))
    return days


def lines_of(facts: Sequence[FactFiles], day: date) -> list[object]:
    """Return what distinguishes the rows of facts on a day."""
    settled = [fact.settled.days[day] for fact in facts if fact.settled and day in fact.settled.days]
    return [*made_from(fact.on(1 << day.day) for fact in facts), *settled]


def made_from(facts: Iterable[FactFiles]) -> list[object]:
    """Return what distinguishes the rows of facts in a month. A moved drop has other paths but the same content."""
    parts: list[object] = []
    for fact in facts:
        files = [(drop.origin, [path.rpartition("/")[2] for path in drop.paths]) for drop in fact.drops]
        parts += [files, fact.identity.name]
    return parts


def rows_name(name: str, month: str, facts: Iterable[FactFiles]) -> str:
    """Return a name with which lines count, if transactions span months."""
    spanning = [fact.settled for fact in facts if fact.settled and not fact.identity.within_month]
    digests = [settled.digests[month] for settled in spanning if month in settled.digests]
    return name_of(name, *digests) if digests else name
