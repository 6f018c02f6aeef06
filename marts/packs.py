"""Read a pack from its TOML file."""

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from marts.alerts import Alert, require_free
from marts.errors import UsageError
from marts.highlights import Highlight, TopHighlight
from marts.pack import (
    Mart,
    MonthTable,
    Pack,
)
from marts.pack_analytics import Analytics, with_analytics
from marts.pack_columns import Columns, Name, require_columns
from marts.pack_drops import PackDrop
from marts.pack_numbers import Number, NumberColumn, NumberTable
from marts.pack_tables import PackTable, text_of
from marts.policy import EnginePolicy, explain, nearest, policy_model
from marts.reserved_words import BEFORE, BESIDE_FACTS, DATABASES, DUCKDB, TABLES, VARIABLES
from marts.subject import Subject
from marts.views import DatabaseView, ShowView, View

SHIPPED = ("retail", "banking")
"""Packs that are part of this package."""


class _Number(BaseModel):
    """A business number: its type is that of its default, a text that is no choice is a decimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: bool | int | float | str
    help: str
    digits: Literal[0, 2, 4, 6] = 0
    least: Decimal | None = None
    most: Decimal | None = None
    choices: tuple[str, ...] = ()
    group: str = ""
    same_as: Name | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if isinstance(self.default, str | float) and not (self.choices or self.digits):
            raise ValueError("a text has choices, and a decimal has digits: digits = 2")
        if self.choices and self.default not in self.choices:
            raise ValueError(f"the default {self.default!r} is not among the choices")
        return self

    def number(self, name: str) -> Number:
        default = Decimal(str(self.default)) if self.digits or isinstance(self.default, float) else self.default
        same = self.same_as or ""
        return Number(name, default, self.help, self.digits, self.least, self.most, self.choices, self.group, same)


class _NumberTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    help: str
    columns: Columns = Field(min_length=1)
    default: tuple[dict[str, str | bool | int | float | date], ...] = ()
    last_has_no_condition: bool = False
    group: str = ""

    @model_validator(mode="after")
    def _rows_name_columns(self) -> Self:
        require_columns(self.columns, (("default", name) for row in self.default for name in row))
        return self

    def table(self, name: str) -> NumberTable:
        columns = tuple(column.number() for column in self.columns)
        rows = tuple(tuple(_typed(column, row.get(column.name)) for column in columns) for row in self.default)
        return NumberTable(name, self.help, columns, rows, self.last_has_no_condition, self.group)


def _typed(column: NumberColumn, value: Any) -> Any:
    return Decimal(str(value)) if column.type == "money" and value is not None else value


class _Subject(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    drop: str
    key: str
    also: tuple[Name, ...] = ()

    @property
    def subject(self) -> Subject:
        return Subject(self.drop, self.key, self.also)


class _DatabaseView(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    reads: tuple[Name, ...] = Field(min_length=1)
    sql: str

    def view(self, name: str, sql: Mapping[str, str]) -> DatabaseView:
        return DatabaseView(name, self.reads, text_of(self.sql, sql).strip().removesuffix(";"))


class _Pack(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    about: str
    command: Name | None = None
    subject: _Subject | None = None
    drops: dict[Name, PackDrop] = Field(min_length=1)
    tables: dict[Name, PackTable] = Field(min_length=1)
    highlights: dict[Name, Highlight] = Field(default_factory=dict)
    views: dict[Name, View] = Field(default_factory=dict)
    database_views: dict[Name, _DatabaseView] = Field(default_factory=dict)
    alerts: dict[Name, Alert] = Field(default_factory=dict)
    analytics: Analytics | None = None
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
                if other in facts and other not in known:
                    raise ValueError(f"tables.{name}.reads: {other!r} is a fact: only tables of months read it")
                if other not in known:
                    raise ValueError(f"tables.{name}.reads: {other!r} is no {what}{nearest(other, known)}")
            _require_tables(name, table, {other: self.tables[other] for other in others if other not in of_months})
            for other in table.lookback:
                if other not in of_months:
                    raise ValueError(
                        f"tables.{name}.lookback: {other!r} is no other table of months{nearest(other, of_months)}"
                    )
        return self

    @model_validator(mode="after")
    def _database_views_read_marts(self) -> Self:
        known = [name for name, table in self.tables.items() if table.publish]
        published = [self.tables[name].publish for name in known]
        for name, view in self.database_views.items():
            if name in DATABASES or name.startswith(TABLES) or name in published:
                raise ValueError(f"database_views: {name!r} is the name of a mart, or reserved: choose another name")
            for other in view.reads:
                if other not in known:
                    raise ValueError(f"database_views.{name}.reads: {other!r} is no mart{nearest(other, known)}")
            known.append(name)
        return self

    @model_validator(mode="after")
    def _stops_name_columns(self) -> Self:
        for name, table in self.tables.items():
            if table.stops:
                known = [f"{{{column.name}}}" for column in table.columns]
                _require_fields(f"tables.{name}.stops.says", table.stops.says, *known)
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
        if self.subject is None:
            return self
        drop, key = self.subject.drop, self.subject.key
        dimensions = [name for name, item in self.drops.items() if item.key]
        if drop not in dimensions:
            raise ValueError(f"subject.drop: {drop!r} is no dimension{nearest(drop, dimensions)}")
        if key != (own := self.drops[drop].key):
            raise ValueError(f"subject.key: {key!r} is not the key of {drop}, {own!r}")
        of_all = [("drops", name, item.columns) for name, item in self.drops.items()]
        of_all += [("tables", name, item.columns) for name, item in self.tables.items()]
        for what, name, columns in of_all:
            for column in columns:
                if column.name in self.subject.subject.columns and (
                    column.type != "id" or column.flags[:1] == ("optional",)
                ):
                    raise ValueError(f"{what}.{name}: {column.name} names a person who can be erased: its type is id")
        for other in self.subject.also:
            if not any(column.name == other for _, _, columns in of_all for column in columns):
                raise ValueError(f"subject.also: no table has a column {other!r}")
        return self

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        own = {f"{name}{BEFORE}" for name in self.tables}
        own |= {f"{name}{end}" for name, drop in self.drops.items() if drop.at for end in BESIDE_FACTS}
        for name in (*self.drops, *self.tables, *self.policy_tables):
            if name in DUCKDB or name in own:
                raise ValueError(f"{name!r} is reserved by SQL or the engine: choose another name")
        published = [table.publish for table in self.tables.values() if table.publish]
        for name in published:
            if name in DATABASES or name.startswith(TABLES):
                raise ValueError(f"publish: {name!r} is reserved by databases or the engine: choose another name")
            if published.count(name) > 1:
                raise ValueError(f"publish: two tables have the name {name!r}")
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
            if isinstance(item, TopHighlight):
                if item.last and table.per == "key":
                    raise ValueError(f'{where}.last is for tables with per = "all"')
                for column, text in item.details.items():
                    _require_fields(f"{where}.details.{column}", text, "{}")
            _require_fields(f"{where}.title", item.title, *(["{month}"] if getattr(item, "last", "") else []))
        for name, view in self.views.items():
            self._mart_of(f"views.{name}", view.table).require_types(f"views.{name}", view.columns_used)
            month = ["{month}"] if view.month else []
            if view.top:
                _require_fields(f"views.{name}.top.title", view.top.title, *month)
            if view.show:
                _require_fields(f"views.{name}.show.title", view.show.title, "{}", *month)
                _require_fields(f"views.{name}.show.every", view.show.every, *month)
                self._require_sections(f"views.{name}.show", view, view.show)
        return self

    def _require_sections(self, where: str, view: View, of: ShowView) -> None:
        """Raise ValueError for a section whose columns its mart does not have, or whose value is of another type."""
        wanted = self.tables[view.table].type_of(of.by)
        for number, section in enumerate(of.also):
            at = f"{where}.also.{number}"
            table = self._mart_of(at, section.table)
            table.require_types(at, section.columns_used)
            _require_fields(f"{at}.title", section.title, "{}")
            if (type_ := table.type_of(section.by)) != wanted:
                raise ValueError(f"{at}.by: {section.by} is of type {type_}, but {of.by} of type {wanted}")
            if section.table in (view.table, *(other.table for other in of.also[:number])):
                raise ValueError(f"{at}.table: the rows of {section.table!r} are there already: name another mart")

    @model_validator(mode="after")
    def _alerts_name_columns(self) -> Self:
        for name, alert in self.alerts.items():
            require_free(name)
            self._mart_of(f"alerts.{name}", alert.table).require_types(f"alerts.{name}", alert.columns_used)
            _require_fields(f"alerts.{name}.title", alert.title, "{count}")
            for column, number in alert.at_least.items():
                if number not in self.policy:
                    what = f"{number!r} is no number of the policy{nearest(number, self.policy)}"
                    raise ValueError(f"alerts.{name}.at_least.{column}: {what}")
            people = self.subject.subject.columns if self.subject else ()
            if named := [column.name for column in alert.columns if column.name in people]:
                raise ValueError(f"alerts.{name}.columns: {named[0]} names a person: a notice that is sent stays")
        return self

    def _mart_of(self, where: str, name: str) -> PackTable:
        marts = [name for name, table in self.tables.items() if table.publish]
        if name not in marts:
            raise ValueError(f"{where}.table: {name!r} is no mart{nearest(name, marts)}")
        return self.tables[name]

    @model_validator(mode="after")
    def _numbers_have_names_of_their_own(self) -> Self:
        for name in (*self.policy, *self.policy_tables):
            if name in EnginePolicy.model_fields or name in VARIABLES:
                raise ValueError(f"policy: {name!r} is a number of the engine, which every pack has")
        for name, number in self.policy.items():
            if number.same_as and number.same_as not in self.policy:
                raise ValueError(f"policy.{number.same_as} is missing: {name} is the same unless a policy sets it")
        if both := sorted({*self.policy_tables} & {*self.policy, *self.tables, *self.drops}):
            raise ValueError(f"policy_tables: another table, drop or number has the name {both[0]!r}")
        return self


def _require_tables(name: str, table: PackTable, known: Mapping[str, PackTable]) -> None:
    """Raise ValueError if ``columns_of`` names what is no other table of keys or all rows, or no column of it."""
    for other, columns in table.columns_of.items():
        where = f"tables.{name}.columns_of.{other}"
        if other not in known:
            raise ValueError(f"{where}: {other!r} is no other table of keys or all rows{nearest(other, known)}")
        if other in (*table.reads, *table.lookups):
            raise ValueError(f"{where}: reads or lookups name {other!r}, too: one of them is enough")
        known[other].require_types(where, dict.fromkeys(columns, ()))


def _require_fields(where: str, text: str, *known: str) -> None:
    """Raise ValueError for braces in a text that stand for nothing."""
    for field in re.findall(r"\{[^{}]*\}?|\}", text):
        if field not in known:
            listed = f"known: {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{where} has {field!r}, which stands for nothing; {listed}")


def read_pack(text: str, sql: Mapping[str, str], where: str) -> Pack:
    """Read pack.toml; ``sql`` are the texts beside it, by file name.

    Raise UsageError that names the wrong key and the nearest valid one.
    """
    try:
        content, sql, of_analytics = with_analytics(tomllib.loads(text), sql)
        values = _Pack.model_validate(content)
        subject = values.subject.subject if values.subject else None
        lookups = {item.on: kind for table in values.tables.values() for kind, item in table.lookups.items() if item.on}
        kinds = {name: drop.kind(name, subject, lookups, sql) for name, drop in values.drops.items()}
        dimensions = {name for name, kind in kinds.items() if not kind.is_fact}
        of_months = {name for name, table in values.tables.items() if table.per == "month"}
        tables = {
            name: table.mart(name, sql, dimensions, values.tables)
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
        in_database = tuple(view.view(name, sql) for name, view in values.database_views.items())
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"is not TOML: {error}", where) from error
    except ValidationError as error:
        raise UsageError(*explain(error, _Pack), where) from error
    except ValueError as error:
        raise UsageError(str(error), where) from error
    command = values.command or ""
    views = tuple(
        view.model_copy(update={"name": name, "command": f"{command} {view.words or name}".strip()})
        for name, view in values.views.items()
    )
    highlights = tuple(_highlight(name, item, tables[item.table], subject) for name, item in values.highlights.items())
    alerts = tuple(alert.model_copy(update={"name": name}) for name, alert in values.alerts.items())
    pack = Pack(
        values.name,
        values.about,
        kinds,
        tables,
        months,
        subject,
        numbers,
        number_tables,
        highlights,
        views,
        in_database,
        alerts,
        of_analytics,
        command,
    )
    try:
        pack.levels(pack.tables)
    except ValueError as error:
        raise UsageError(str(error), where, "let one of them read only tables of months") from error
    return pack


def _highlight(name: str, item: Highlight, mart: Mart, subject: Subject | None) -> Highlight:
    own: dict[str, Any] = {"name": name}
    if isinstance(item, TopHighlight):
        own["people"] = tuple(column.name for column in mart.columns if subject and column.name in subject.columns)
    return item.model_copy(update=own)


@cache
def shipped(name: str) -> Pack:
    """Read a pack that is part of this package, one of `SHIPPED`."""
    folder = files("marts").joinpath(name)
    texts = {item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.endswith(".sql")}
    file = folder.joinpath("pack.toml")
    return read_pack(file.read_text(encoding="utf-8"), texts, str(file))
