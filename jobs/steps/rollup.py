"""Step 3, roll up: one task per month (and part of its buckets) computes the month's facts from clean lines.

Facts are named by their inputs. A month whose drops did not change is not recomputed. Of a month that goes on, the
facts of each day are kept as well: a new drop computes those of its days, and all are merged. Tables that read other
months or dimensions are computed afterwards, level by level, by tasks of the same kind, see derive.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from jobs.adapters.store.open import StoreAddress
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
_MERGE = 1 / 4
"""Share of the time of a whole month that it takes to merge its days."""
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
    days: tuple[Day, ...] = ()
    """The days of a month that goes on, if its tables can be merged from theirs."""

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

    @property
    def day_paths(self) -> set[str]:
        """Return the paths of the facts of its days: not all of them need to be there."""
        return {path for day in self.days for path in self.paths_of(day)}

    def paths_of(self, day: Day) -> set[str]:
        """Return the paths of the facts of a day."""
        return {day.path(name) for name in (*self.names, *COUNTS)}


@dataclass(frozen=True)
class RollUpWork:
    """A task, and the state that it reads and writes."""

    task: RollUp
    state: StoreAddress
    days: tuple[Day, ...] | None = None
    """The days whose facts are kept, to merge them with those of its other days; None to compute the whole month."""

    @property
    def lines(self) -> float:
        """Return the approximate number of lines whose whole computation takes as long."""
        if not self.days:
            return self.task.rows
        missing = 1 - len(self.days) / len(self.task.days)
        return self.task.rows * max(missing, _MERGE)


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
    last_day = max((lines.last_day for item in manifests for lines in item.months.values()), default=as_of.isoformat())
    newest = min(as_of, date.fromisoformat(last_day))
    goes_on = (max(newest, date.min + _GOES_ON) - _GOES_ON).isoformat()[:7]
    return [
        rollup
        for month in sorted(by_month)
        for group in calculations.groups
        for rollup in _plan_month(month, group, by_month[month], as_of, lines_per_task, calculations, settled, goes_on)
    ]


def _plan_month(
    month: str,
    group: MonthGroup,
    drops: Sequence[Manifest],
    as_of: date,
    lines_per_task: int,
    calculations: Calculations,
    settled: Mapping[str, Settled],
    goes_on: str,
) -> Iterable[RollUp]:
    """Yield the tasks of a month; ``goes_on`` is the first of the months that go on."""
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
                DropFiles(item.origin, tuple(file.path for file in lines.files), lines.days)
                for item, lines in ((manifest, manifest.months[month]) for manifest in manifests)
                if item.delivery.kind == name
            ),
            settled.get(name),
        )
        for name in names
    )
    tables = group.at(0)
    code = code_of(tables, group.facts, calculations.numbers)
    by_day = month >= goes_on and rows // parts * _BY_DAY >= lines_per_task and all(table.merge for table in tables)
    days = _days(last_day, facts) if by_day and all(fact.identity.within_day for fact in facts) else []
    for part in range(parts):
        name = rows_name(name_of(code, month, cut, part, parts, *made_from(facts)), month, facts)
        own = tuple(
            Day(day, f"facts/month={month}/day-{day:%d}-{name_of(code, day, min(day, cut), part, parts, *rows_of)}")
            for day, rows_of in days
        )
        yield RollUp(
            month=month,
            part=part,
            parts=parts,
            last_day=cut,
            facts=facts,
            tables=tables,
            numbers=calculations.numbers,
            name=name,
            rows=rows // parts,
            is_read=group.levels > 1,
            days=own,
        )


def _days(last_day: date, facts: Sequence[FactFiles]) -> list[tuple[date, list[object]]]:
    """Return the days of a month that may have lines, each with what distinguishes its rows."""
    days = []
    for day in (last_day.replace(day=number) for number in range(1, last_day.day + 1)):
        of_day = [fact.on(1 << day.day) for fact in facts]
        if any(fact.drops for fact in of_day):
            days.append((day, made_from(of_day)))
    return days


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
