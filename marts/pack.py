"""A pack: the drops and the tables of one domain. Checks, table definitions and documentation are derived from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from marts.alerts import Alert
from marts.highlights import Highlight
from marts.pack_numbers import UNITS, Number, NumberTable
from marts.subject import Subject
from marts.views import DatabaseView, View

SourceType = Literal[
    "id",
    "text_id",
    "integer",
    "quantity",
    "price",
    "money",
    "amount",
    "percent",
    "decimal4",
    "decimal6",
    "date",
    "time",
    "text",
    "yes_no",
]
"""How a CSV value is parsed.

id: whole number > 0 · text_id: the same column with the setting ``ids = "text"`` · integer: whole number ·
quantity: decimal, not 0, at most 4 digits after the point ·
price: decimal, at most 6 digits after the point · money: decimal >= 0, at most 2 digits · amount: the same, may be
negative · percent: decimal from 0 to 100, at most 2 digits · decimal4, decimal6: any decimal, at most 4 or 6 digits ·
trailing zeros do not count as digits ·
date: ISO date or timestamp, of which the day counts · time: the same, and its time counts, too ·
text: 1 to ``max_length`` characters · yes_no: Y or N
"""

MartType = Literal[
    "id",
    "text_id",
    "text",
    "month",
    "money",
    "rate",
    "percent",
    "decimal4",
    "decimal6",
    "count",
    "flag",
    "date",
    "time",
    "version",
]

Every = Literal["day", "week", "month", "analytics"]
"""day: as_of; week: the last Sunday; month: the last day of a month; analytics: as the policy's [analytics] says."""

DECIMALS: Mapping[str, tuple[int, int]] = {
    "money": (18, 2),
    "rate": (14, 2),
    "percent": (5, 2),
    "decimal4": (18, 4),
    "decimal6": (18, 6),
    "version": (38, 0),
}
"""Digits of the decimals of marts, and those after the point."""
DIGITS: Mapping[str, int] = {
    "price": 6,
    "quantity": 4,
    "money": 2,
    "amount": 2,
    "rate": 2,
    "percent": 2,
    "decimal4": 4,
    "decimal6": 6,
}
"""Digits after the point by type; values are stored as whole numbers of the last digit."""
IDS: tuple[str, ...] = ("id", "text_id")
"""Types of ids; those of all columns of a pack are one of them."""
ID_LENGTH = 64
"""Maximum characters of an id that is a text."""
PersonId = int | str
"""An id of a person: a whole number, or a text with the setting ``ids = "text"``."""
GUEST, TEXT_GUEST = 0, ""
"""Ids of guests (rows of nobody) in clean rows."""


@dataclass(frozen=True)
class SourceColumn:
    """One column of a drop."""

    name: str
    type: SourceType
    help: str
    mandatory: bool = True
    """Whether the header must contain it."""
    nullable: bool = False
    """Whether a value may be empty."""
    max_length: int = 255
    """Maximum characters of a text."""
    personal: bool = False
    """Whether it is personal data: masked wherever values are shown."""
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Words that a text may be, each with others that mean it, in any case of letters; any text if there are none."""
    guests: bool = False
    """Whether an empty value, or one of the policy's unknown_ids, means a guest."""
    stored_as: str = ""
    """Name in clean rows, which SQL reads; by default its own, with the unit of a decimal."""
    free_text: bool = False
    """Whether people type it: card numbers in it are masked when it is read."""

    @property
    def clean_name(self) -> str:
        """Return its name in clean rows: of a time that of its day, of a decimal one that names its unit."""
        if self.stored_as:
            return self.stored_as
        if self.type == "time":
            return f"{self.name}_day"
        if self.type not in DIGITS:
            return self.name
        return f"{self.name}_{'hundredths' if self.type == 'percent' else UNITS[DIGITS[self.type]]}"

    @property
    def words(self) -> dict[str, str]:
        """Return the value of each word that it may be, by the word in upper case."""
        return {word.upper(): value for value, others in self.values for word in (value, *others)}


@dataclass(frozen=True)
class Kind:
    """One kind of drop: a folder under the source."""

    name: str
    columns: tuple[SourceColumn, ...]
    key: str | None = None
    """The unique key of a dimension; a fact has none."""
    at: str = ""
    """Column of clean rows with the day on which a row of a fact happened; empty for a dimension."""
    shard: str = ""
    """Column whose equal values meet in one task."""
    control: str = ""
    """Column of money whose sum the marts must have, as it is named in clean rows."""
    currency: str = ""
    """Column of the currency of its amounts."""
    id: str = ""
    """Column of the id of a transaction, of which several rows may be."""
    number: str = ""
    """Column of the number of a row in its transaction."""
    item: str = ""
    """Column of what a row is about: two rows of a transaction about the same correct each other."""
    sign: tuple[str, ...] = ()
    """Columns whose sign says whether a row adds or takes back: the first that is not 0."""
    transaction_key: tuple[str, ...] = ()
    """Columns, day or month within which an id is unique, besides the shard, unless the policy names others."""
    once_per_id: bool = False
    """Whether a later row of an id replaces the earlier one."""
    across: str = ""
    """SQL of what is to know, in each month, of transactions that are in several."""
    total: tuple[str, ...] = ()
    """Columns of which the last is the product of the others, exactly."""
    versions: bool = False
    """Whether all snapshots of a dimension count, each by the date in its name: it has one row per version."""
    carried: tuple[str, ...] = ()
    """Columns whose change starts no version."""
    updated: str = ""
    """Column of the day since when a row is as it is; a carried one."""
    reports: tuple[str, ...] = ()
    """Columns, as they are named in clean rows, whose values in the last snapshot of each month a history keeps."""
    members: tuple[tuple[int, str], ...] = ()
    """Keys of rows that stand for no entity, such as -1, and the word for each."""
    worded: tuple[str, ...] = ()
    """Columns that have this word in such rows; the others are empty."""
    person: str = ""
    """Column of the person that a row is of; empty if it is of nobody."""
    is_subject: bool = False
    """Whether it is the dimension of the people who can be erased."""
    lookups: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Dimensions by the column of a fact whose values are looked up in them."""
    synonyms: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Names that other systems have for a column, separated by commas, most likely first: for proposals."""

    @property
    def is_fact(self) -> bool:
        """Return whether every drop counts, by days; of a dimension, the newest drop is the whole table."""
        return bool(self.at)

    @property
    def dated_by(self) -> SourceColumn:
        """Return the column of a fact with its day."""
        return next(column for column in self.columns if column.clean_name == self.at)

    @property
    def has_text_key(self) -> bool:
        """Return whether the keys of a dimension are texts."""
        return bool(self.key) and self.column(self.key or "").type not in ("id", "integer")

    @property
    def accumulates(self) -> bool:
        """Return whether every drop counts: of a fact, and of a dimension with versions."""
        return self.is_fact or self.versions

    def column(self, name: str) -> SourceColumn:
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class MartColumn:
    """One column of a mart."""

    name: str
    type: MartType
    help: str
    null_when: str = ""
    """Condition under which a value is NULL; never NULL if empty."""
    max_length: int = 255
    personal: bool = False

    @property
    def nullable(self) -> bool:
        return bool(self.null_when)


@dataclass(frozen=True)
class Lookup:
    """A dimension that a table reads, and the column of its rows that names an entry."""

    kind: str
    on: str
    """Column of the fact; empty if the dimension is only read along."""
    may_be_absent: bool = False


@dataclass(frozen=True)
class Mart:
    """A table computed from those of months, dimensions and others; a mart, if it is published."""

    name: str
    table: str
    """Its name in the target; empty if it is not published."""
    columns: tuple[MartColumn, ...]
    key: tuple[str, ...]
    lookups: tuple[Lookup, ...] = ()
    """The dimensions that it reads."""
    per: Literal["month", "key", "all"] = "all"
    """How far its rows depend: those of a month, or of one value of its first key column, can be computed alone."""
    every: Every = "day"
    """The period at whose end its rows are: as_of, or the last end of one up to it. Its SQL leaves out later rows."""
    calculation: str = ""
    """Name of the calculation that gives its rows from those that its SQL selects; empty if they are its rows."""
    last_months: int = 0
    """Number of months that it reads of the tables of months, the newest is that of as_of; 0: all."""
    partition: Literal["", "day", "month"] = ""
    """Of a published table of months: the unit in which its rows differ from those of another build."""
    reads: str = ""
    """The month table that it reads; empty if it reads none."""
    also: tuple[str, ...] = ()
    """Other month tables and marts that it reads: as a whole, but those of months by its keys, if it is per key, and
    those that are per this key, too."""
    columns_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """The columns that it reads of some of these; all of the others."""
    sql: str = ""
    """Computes its rows; the last statement selects them."""
    stale: str = ""
    """Selects the first key of rows that another as_of changes; if empty, all may change."""
    control: str = ""
    """Column whose sum equals that of the counted rows of its facts."""
    stops: tuple[str, str] = ("", "")
    """What its rows say, and what to do: a build stops if it has any. Empty for other tables."""
    indexes: tuple[tuple[str, ...], ...] = ()
    """Columns of each secondary index of its table in a database that has such."""


EXTRA = "additional_columns"
"""Column of clean rows with the columns that are not in the schema, as JSON."""


@dataclass(frozen=True)
class MonthTable:
    """Rows of one month, computed from the counted rows of the facts."""

    name: str
    key: tuple[str, ...]
    reads: tuple[str, ...]
    """Facts, those that the tables that it reads read included."""
    sql: str
    """The last statement selects its rows, in the order of the key."""
    prepare: tuple[str, ...] = ()
    """SQL that runs before, once for all tables of a month that need it."""
    control: str = ""
    """Column whose sum equals that of the counted rows."""
    facts: tuple[str, ...] = ()
    """Facts that its SQL reads itself."""
    also: tuple[str, ...] = ()
    """Other tables of the same month that it reads: they stand before it in a pack."""
    lookback: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Tables of months whose rows of months before it reads, each with the number of months."""
    dimensions: tuple[str, ...] = ()
    level: int = 0
    """Tables of a level read other months, and dimensions by way of other tables, of lower levels only."""
    is_whole: bool = False
    """Whether one task computes its rows of a month; else several do, each for some shards of the facts."""
    merge: Mapping[str, str] = field(default_factory=dict, hash=False)
    """By column, the aggregate that gives rows of a month from those of its days."""
    by_day: Literal["", "rows", "merged"] = ""
    """How its rows of days give those of a month: as they are, or one per key by ``merge``; empty if they do not."""
    so_far: tuple[str, ...] = ()
    """Tables of ``lookback`` of which a day reads the days before it in its month, too."""


@dataclass(frozen=True)
class MonthGroup:
    """Facts whose rows of a month are read together, and the tables computed from them."""

    facts: tuple[Kind, ...]
    tables: tuple[MonthTable, ...]

    @property
    def levels(self) -> int:
        """Return the number of levels of its tables."""
        return 1 + max((table.level for table in self.tables), default=0)

    def at(self, level: int, whole: bool = False) -> tuple[MonthTable, ...]:
        """Return its tables of a level, whole or not, each after those that it reads."""
        return tuple(table for table in self.tables if table.level == level and table.is_whole == whole)


@dataclass(frozen=True)
class Pack:
    """A domain: its drops and its tables."""

    name: str
    about: str
    kinds: Mapping[str, Kind]
    """By name, in the order of the file."""
    tables: Mapping[str, Mart]
    """The tables that are computed from those of months, dimensions and each other, by name."""
    months: Mapping[str, MonthTable]
    """The tables of one month, by name."""
    subject: Subject | None = None
    numbers: tuple[Number, ...] = ()
    """Business numbers of the policy, besides those of the engine."""
    number_tables: tuple[NumberTable, ...] = ()
    highlights: tuple[Highlight, ...] = ()
    views: tuple[View, ...] = ()
    database_views: tuple[DatabaseView, ...] = ()
    alerts: tuple[Alert, ...] = ()
    analytics: frozenset[str] = frozenset()
    """The tables of customer analytics."""
    command: str = ""
    """Command that has its views as commands; if empty, each view is a command."""
    folder: str = ""
    """Folder of a pack that is given by its path; empty for a shipped one."""

    @property
    def has_text_ids(self) -> bool:
        return any(column.type == "text_id" for kind in self.kinds.values() for column in kind.columns)

    @property
    def marts(self) -> dict[str, Mart]:
        """Return the tables that are published, by name."""
        return {name: mart for name, mart in self.tables.items() if mart.table}

    @property
    def facts(self) -> tuple[Kind, ...]:
        return tuple(kind for kind in self.kinds.values() if kind.is_fact)

    @property
    def counting(self) -> str:
        """Return the names of the kinds of which every drop counts, as a message writes them."""
        *names, last = [kind.name for kind in self.kinds.values() if kind.accumulates] or [""]
        return " and ".join(filter(None, (", ".join(names), last)))

    @property
    def month_groups(self) -> tuple[MonthGroup, ...]:
        """Return the facts in groups, each with the tables of months that read them; no table reads two groups."""
        groups = [MonthGroup((fact,), ()) for fact in self.facts]
        for table in self.months.values():
            read = [group for group in groups if {fact.name for fact in group.facts} & set(table.reads)]
            facts = tuple(fact for group in read for fact in group.facts)
            tables = tuple(item for group in read for item in group.tables)
            groups = [group for group in groups if group not in read] + [MonthGroup(facts, (*tables, table))]
        return tuple(groups)

    @property
    def computed(self) -> list[str]:
        """Return the names of the tables that each build needs: marts, and those whose rows stop it."""
        return [name for name, table in self.tables.items() if table.table or table.stops[0]]

    def reads_by_key(self, mart: Mart, other: str) -> bool:
        """Return whether a part of a table reads only the rows of its keys of another one."""
        return mart.per == "key" and self.tables[other].per == "key" and self.tables[other].key[0] == mart.key[0]

    def facts_of(self, mart: Mart) -> tuple[str, ...]:
        """Return the names of the facts that the month tables of a mart read."""
        months = [name for name in (mart.reads, *mart.also) if name in self.months]
        return tuple(dict.fromkeys(fact for name in months for fact in self.months[name].reads))

    def tables_read(self, name: str) -> tuple[str, ...]:
        """Return the tables that a table reads, besides those of months."""
        return tuple(other for other in self.tables[name].also if other not in self.months)

    def levels(self, names: Iterable[str]) -> list[list[str]]:
        """Return tables and those that they read, in levels: each reads only tables of the levels before it."""
        wanted, levels = list(dict.fromkeys(names)), list[list[str]]()
        for name in wanted:  # it grows
            wanted += [other for other in self.tables_read(name) if other not in wanted]
        left = [name for name in self.tables if name in wanted]
        while left:
            level = [name for name in left if not {*self.tables_read(name)} & {*left}]
            if not level:
                raise ValueError(f"tables that read each other: {', '.join(left)}")
            levels.append(level)
            left = [name for name in left if name not in level]
        return levels

    @property
    def dimensions(self) -> tuple[Kind, ...]:
        return tuple(kind for kind in self.kinds.values() if not kind.is_fact)

    @property
    def tables_of_people(self) -> tuple[tuple[Mart, str], ...]:
        """Return the tables with rows of the people who can be erased, each with the column of their ids."""
        subject = self.subject or Subject("", "")
        named = [(m, subject.column_in({column.name for column in m.columns})) for m in self.tables.values()]
        return tuple((mart, column) for mart, column in named if column)

    @property
    def marts_of_people(self) -> tuple[tuple[Mart, str], ...]:
        """Return those of them that are published."""
        return tuple((mart, key) for mart, key in self.tables_of_people if mart.table)

    @property
    def looked_up(self) -> frozenset[str]:
        """Return the dimensions in which values of facts are looked up."""
        return frozenset(item.kind for mart in self.tables.values() for item in mart.lookups if item.on)

    def may_be_absent(self, kind: str) -> bool:
        """Return whether a run goes on without a dimension."""
        return any(item.kind == kind and item.may_be_absent for mart in self.tables.values() for item in mart.lookups)

    def is_fact(self, kind: str) -> bool:
        """Return whether drops of a kind are facts; a kind of another pack is none."""
        return kind in self.kinds and self.kinds[kind].is_fact

    def accumulates(self, kind: str) -> bool:
        """Return whether every drop of a kind counts."""
        return kind in self.kinds and self.kinds[kind].accumulates
