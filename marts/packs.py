"""Read a pack from its TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from marts.errors import UsageError
from marts.highlights import Highlight, TopHighlight
from marts.pack import (
    Kind,
    Mart,
    MonthTable,
    Pack,
    SourceColumn,
    Subject,
)
from marts.pack_columns import Columns, Name, PackColumn, require_columns, require_names
from marts.pack_numbers import Number, NumberColumn, NumberTable
from marts.pack_tables import PackTable, text_of
from marts.policy import EnginePolicy, explain, nearest, policy_model
from marts.reserved_words import DUCKDB
from marts.views import View

SHIPPED = ("retail",)
"""Packs that are part of this package."""


class _Identity(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    within: tuple[str, ...] = ()
    number: str = ""
    item: str = ""
    sign: tuple[str, ...] = ()
    repeats: Literal["add", "replace"] = "add"


class _Drop(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str | None = None
    at: str = ""
    shard: str = ""
    total: tuple[str, ...] = ()
    control: str = ""
    currency: str = ""
    identity: _Identity | None = None
    across: str = ""
    versions: bool = False
    carried: tuple[str, ...] = ()
    updated: str = ""
    members: dict[int, str] = Field(default_factory=dict)
    worded: tuple[str, ...] = ()
    columns: Columns = Field(min_length=1)
    values: dict[str, tuple[str, ...] | dict[str, tuple[str, ...]]] = Field(default_factory=dict)
    synonyms: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_columns(self) -> Self:
        if bool(self.key) == bool(self.at):
            raise ValueError("it has either key (a dimension) or at (a fact: the column of its day)")
        used = [("key", self.key), ("at", self.at), ("shard", self.shard), ("control", self.control)]
        used += [("currency", self.currency), *(("total", name) for name in self.total)]
        if item := self.identity:
            within = [name for name in item.within if name not in ("day", "month")]
            used += [("identity", name) for name in (item.id, item.number, item.item, *item.sign, *within)]
        used += [("updated", self.updated), *(("carried", name) for name in self.carried)]
        used += [*(("worded", name) for name in self.worded), *(("values", name) for name in self.values)]
        require_columns(self.columns, [*used, *(("synonyms", name) for name in self.synonyms)])
        require_names([column.name for column in self.columns], DUCKDB)
        return self

    @model_validator(mode="after")
    def _versions_are_of_a_dimension(self) -> Self:
        for setting in ("carried", "updated", "members", "worded"):
            if getattr(self, setting) and not (self.versions and self.key):
                raise ValueError(f"{setting} is for a dimension with versions = true")
        if self.versions and not self.key:
            raise ValueError("versions = true is for a dimension: of a fact, every drop counts")
        return self

    @model_validator(mode="after")
    def _types_fit(self) -> Self:
        types = {column.name: column.type for column in self.columns}
        clean = [self._source(column).clean_name for column in self.columns]
        clean += [name for name, type_ in types.items() if type_ == "time"]
        if repeated := next((name for name in clean if clean.count(name) > 1), ""):
            raise ValueError(f"{repeated}: two columns are stored under this name")
        if self.at and types[self.at] not in ("date", "time"):
            raise ValueError(f"at: {self.at} must be of type date or time")
        if self.key and (wrong := next((name for name, type_ in types.items() if type_ == "time"), "")):
            raise ValueError(f"{wrong}: time is a type of facts; a dimension has dates")
        if self.updated and types[self.updated] != "date":
            raise ValueError(f"updated: {self.updated} must be of type date")
        if self.identity and (wrong := next((name for name in self.identity.within if types.get(name) == "time"), "")):
            raise ValueError(f"identity.within: {wrong} is a time: name day or month")
        if wrong := next((name for name in self.values if types.get(name, "text") != "text"), ""):
            raise ValueError(f"values: {wrong} must be of type text")
        if wrong := next((name for name in self.worded if types[name] != "text"), ""):
            raise ValueError(f"worded: {wrong} must be of type text")
        return self

    def _source(self, column: PackColumn) -> SourceColumn:
        given = self.values.get(column.name)
        return replace(column.source(), values=_words(column.name, given)) if given else column.source()

    def kind(self, name: str, subject: "_Subject | None", lookups: Mapping[str, str], sql: Mapping[str, str]) -> Kind:
        columns = tuple(map(self._source, self.columns))
        names = {column.name: column.clean_name for column in columns}
        own = self.identity or _Identity(id="")
        return Kind(
            name=name,
            columns=columns,
            key=self.key,
            at=names.get(self.at, ""),
            shard=self.shard,
            control=names.get(self.control, ""),
            currency=self.currency,
            id=own.id,
            number=own.number,
            item=own.item,
            sign=own.sign,
            transaction_key=own.within,
            once_per_id=own.repeats == "replace",
            across=text_of(self.across, sql) if self.across else "",
            synonyms=self.synonyms,
            total=self.total,
            versions=self.versions,
            carried=tuple(dict.fromkeys((*self.carried, *filter(None, (self.updated,))))),
            updated=self.updated,
            members=tuple(sorted(self.members.items(), reverse=True)),
            worded=self.worded,
            person=subject.key if subject and subject.key in names else "",
            is_subject=bool(subject and subject.drop == name),
            lookups={on: kind for on, kind in lookups.items() if on in names} if self.at else {},
        )


def _words(column: str, given: tuple[str, ...] | dict[str, tuple[str, ...]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the words of a column, each with others that mean it. Raise ValueError for one that means two."""
    words = tuple(given.items()) if isinstance(given, dict) else tuple((word, ()) for word in given)
    every = [word.upper() for value, others in words for word in (value, *others)]
    if repeats := sorted({word for word in every if every.count(word) > 1}):
        raise ValueError(f"values: {column} has the word {repeats[0]!r} twice")
    return words


class _Number(BaseModel):
    """A business number: its type is that of its default, a text that is no choice is a decimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: bool | int | float | str
    help: str
    digits: Literal[0, 2, 4, 6] = 0
    least: Decimal | None = None
    most: Decimal | None = None
    choices: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if isinstance(self.default, str | float) and not (self.choices or self.digits):
            raise ValueError("a text has choices, and a decimal has digits: digits = 2")
        if self.choices and self.default not in self.choices:
            raise ValueError(f"the default {self.default!r} is not among the choices")
        return self

    def number(self, name: str) -> Number:
        default = Decimal(str(self.default)) if self.digits or isinstance(self.default, float) else self.default
        return Number(name, default, self.help, self.digits, self.least, self.most, self.choices)


class _NumberTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    help: str
    columns: Columns = Field(min_length=1)
    default: tuple[dict[str, str | bool | int | float], ...] = ()
    last_has_no_condition: bool = False

    @model_validator(mode="after")
    def _rows_name_columns(self) -> Self:
        require_columns(self.columns, (("default", name) for row in self.default for name in row))
        return self

    def table(self, name: str) -> NumberTable:
        columns = tuple(column.number() for column in self.columns)
        rows = tuple(tuple(_typed(column, row.get(column.name)) for column in columns) for row in self.default)
        return NumberTable(name, self.help, columns, rows, self.last_has_no_condition)


def _typed(column: NumberColumn, value: Any) -> Any:
    return Decimal(str(value)) if column.type == "money" and value is not None else value


class _Subject(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    drop: str
    key: str


class _Pack(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    about: str
    subject: _Subject | None = None
    drops: dict[Name, _Drop] = Field(min_length=1)
    tables: dict[Name, PackTable] = Field(min_length=1)
    highlights: dict[Name, Highlight] = Field(default_factory=dict)
    views: dict[Name, View] = Field(default_factory=dict)
    policy: dict[Name, _Number] = Field(default_factory=dict)
    policy_tables: dict[Name, _NumberTable] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _tables_read_what_exists(self) -> Self:
        facts = [name for name, drop in self.drops.items() if drop.at]
        dimensions = [name for name, drop in self.drops.items() if drop.key]
        for name, table in self.tables.items():
            others = [other for other in self.tables if other != name]
            of_months = [other for other in others if self.tables[other].per == "month"]
            known, what = [*others, *dimensions], "table or dimension"
            if table.per == "month":
                known, what = [*facts, *of_months, *dimensions], "fact, table of months or dimension"
                if name in self.drops:
                    raise ValueError(f"tables.{name}: a drop has this name")
                if not {*facts, *of_months} & {*table.reads, *table.lookback}:
                    raise ValueError(f"tables.{name}.reads: a table of months reads a fact, or another such table")
            for other in table.reads:
                if other not in known:
                    raise ValueError(f"tables.{name}.reads: {other!r} is no {what}{nearest(other, known)}")
            for other in table.lookback:
                if other not in of_months:
                    raise ValueError(
                        f"tables.{name}.lookback: {other!r} is no other table of months{nearest(other, of_months)}"
                    )
        return self

    @model_validator(mode="after")
    def _lookups_are_dimensions(self) -> Self:
        dimensions = [name for name, drop in self.drops.items() if drop.key]
        for name, table in self.tables.items():
            for kind in table.lookups:
                if kind not in dimensions:
                    raise ValueError(f"tables.{name}.lookups: {kind!r} is no dimension{nearest(kind, dimensions)}")
        return self

    @model_validator(mode="after")
    def _subject_is_a_dimension(self) -> Self:
        if self.subject and (self.subject.drop not in self.drops or self.drops[self.subject.drop].key is None):
            raise ValueError(f"subject: {self.subject.drop!r} is no dimension{nearest(self.subject.drop, self.drops)}")
        return self

    @model_validator(mode="after")
    def _highlights_and_views_name_columns(self) -> Self:
        for name, item in self.highlights.items():
            where = f"highlights.{name}"
            table = self._mart_of(where, item.table)
            table.require_types(where, item.columns_used)
            if item.once_per and table.per == "month":
                raise ValueError(f"{where}.once_per is not for tables of months: a key may be in several")
            if item.once_per not in ("", table.key[0]):
                raise ValueError(f"{where}.once_per must be {table.key[0]!r}, the first column of its key")
            if isinstance(item, TopHighlight) and item.last and table.per == "key":
                raise ValueError(f'{where}.last is for tables with per = "all"')
        for name, view in self.views.items():
            self._mart_of(f"views.{name}", view.table).require_types(f"views.{name}", view.columns_used)
        return self

    def _mart_of(self, where: str, name: str) -> PackTable:
        marts = [name for name, table in self.tables.items() if table.publish]
        if name not in marts:
            raise ValueError(f"{where}.table: {name!r} is no mart{nearest(name, marts)}")
        return self.tables[name]

    @model_validator(mode="after")
    def _numbers_have_names_of_their_own(self) -> Self:
        for name in (*self.policy, *self.policy_tables):
            if name in EnginePolicy.model_fields:
                raise ValueError(f"policy: {name!r} is a number of the engine, which every pack has")
        if both := sorted({*self.policy_tables} & {*self.policy, *self.tables, *self.drops}):
            raise ValueError(f"policy_tables: another table, drop or number has the name {both[0]!r}")
        return self


def read_pack(text: str, sql: Mapping[str, str], where: str) -> Pack:
    """Read pack.toml; ``sql`` are the texts beside it, by file name.

    Raise UsageError that names the wrong key and the nearest valid one.
    """
    try:
        values = _Pack.model_validate(tomllib.loads(text))
        lookups = {item.on: kind for table in values.tables.values() for kind, item in table.lookups.items() if item.on}
        kinds = {name: drop.kind(name, values.subject, lookups, sql) for name, drop in values.drops.items()}
        dimensions = {name for name, kind in kinds.items() if not kind.is_fact}
        of_months = {name for name, table in values.tables.items() if table.per == "month"}
        tables = {
            name: table.mart(name, sql, dimensions, of_months)
            for name, table in values.tables.items()
            if name not in of_months or table.publish
        }
        numbers = tuple(item.number(name) for name, item in values.policy.items())
        number_tables = tuple(item.table(name) for name, item in values.policy_tables.items())
        policy_model(numbers, number_tables)()  # the defaults must be valid themselves
        months: dict[str, MonthTable] = {}
        left = {name: table for name, table in values.tables.items() if name in of_months}
        while left:
            ready = next((name for name, table in left.items() if not {*table.reads, *table.lookback} & {*left}), "")
            if not ready:
                raise ValueError(f"tables that read each other: {', '.join(left)}")
            months[ready] = left.pop(ready).of_month(ready, sql, months, kinds)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"is not TOML: {error}", where) from error
    except ValidationError as error:
        raise UsageError(*explain(error, _Pack), where) from error
    except ValueError as error:
        raise UsageError(str(error), where) from error
    subject = Subject(values.subject.drop, values.subject.key) if values.subject else None
    views = tuple(view.model_copy(update={"name": name}) for name, view in values.views.items())
    highlights = tuple(_highlight(name, item, tables[item.table], subject) for name, item in values.highlights.items())
    pack = Pack(values.name, values.about, kinds, tables, months, subject, numbers, number_tables, highlights, views)
    try:
        pack.levels(pack.tables)
    except ValueError as error:
        raise UsageError(str(error), where, "let one of them read only tables of months") from error
    return pack


def _highlight(name: str, item: Highlight, mart: Mart, subject: Subject | None) -> Highlight:
    own: dict[str, Any] = {"name": name}
    if isinstance(item, TopHighlight):
        own["people"] = tuple(column.name for column in mart.columns if subject and column.name == subject.key)
    return item.model_copy(update=own)


@cache
def shipped(name: str) -> Pack:
    """Read a pack that is part of this package, one of `SHIPPED`."""
    folder = files("marts").joinpath(name)
    texts = {item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.endswith(".sql")}
    file = folder.joinpath("pack.toml")
    return read_pack(file.read_text(encoding="utf-8"), texts, str(file))
