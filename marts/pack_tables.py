"""The tables of a pack, as pack.toml writes them."""

import re
from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from marts.pack import Every, Kind, Lookup, Mart, MonthTable
from marts.pack_columns import Columns, Name, require_columns, require_names
from marts.policy import nearest
from marts.reserved_words import DATABASES, ENGINE
from marts.views import MAY_BE_NULL, Types


class _Lookup(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    on: str = ""
    may_be_absent: bool = False


class _Stops(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    says: str
    hint: str


class PackTable(BaseModel):
    """A table of a pack: of months, or a mart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per: Literal["month", "key", "all"]
    key: tuple[str, ...] = Field(min_length=1)
    control: str = ""
    reads: tuple[str, ...] = ()
    columns_of: dict[str, tuple[Name, ...]] = Field(default_factory=dict)
    lookback: dict[str, Annotated[int, Field(ge=1, le=120)]] = Field(default_factory=dict)
    prepare: tuple[str, ...] = ()
    sql: str = ""
    stale: str = ""
    every: Every = "day"
    calculation: Literal["", "fit", "scores", "backtest", "days", "usual", "purchases"] = ""
    last_months: int = Field(0, ge=0)
    publish: Name | None = None
    partition: Literal["day", "month"] | None = None
    whole: bool | None = None
    merge: dict[str, Literal["sum", "min", "max"]] | Literal["rows", "keys"] = Field(default_factory=dict)
    so_far: tuple[str, ...] = ()
    lookups: dict[str, _Lookup] = Field(default_factory=dict)
    stops: _Stops | None = None
    columns: Columns = ()

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        of_months = self.per == "month"
        for setting, value in (("reads", self.reads or self.lookback or self.columns_of), ("sql", self.sql)):
            if not value:
                raise ValueError(f"{setting} is missing")
        for setting in (
            ("lookups", "stale", "stops", "calculation", "last_months", "columns_of")
            if of_months
            else ("lookback", "so_far", "partition", "whole", "prepare", "merge")
        ):
            if getattr(self, setting):
                raise ValueError(f"{setting} is for tables {'of keys, or all rows' if of_months else 'of months'}")
        if of_months and bool(self.publish) != bool(self.partition):
            raise ValueError("a table of months that is published has publish and partition, others neither")
        if self.stops and self.publish:
            raise ValueError("stops is for tables that are not published: leave out publish")
        if of_months and self.columns and not self.publish:
            raise ValueError("columns is for tables that are published: publish is missing")
        return self

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        if self.per == "month" and not self.publish:
            return self
        require_columns(self.columns, [*(("key", name) for name in self.key), ("control", self.control)])
        marts = [column.mart() for column in self.columns]
        if (control := next((column for column in marts if column.name == self.control), None)) and (
            control.type != "money" or control.nullable
        ):
            raise ValueError(f"control: {control.name} must be of type money, and never NULL")
        require_names([column.name for column in self.columns], DATABASES | ENGINE)
        if self.per == "month" and any(column.name == "month" and column.type != "month" for column in marts):
            raise ValueError("month is the month of its rows, which the engine adds: its type is month")
        if self.partition == "day" and not any(column.type == "date" and not column.nullable for column in marts):
            raise ValueError('partition = "day" needs a column of type date that is never NULL: its day')
        return self

    def is_by(self, key: str) -> bool:
        """Return whether it is computed in parts, by a key."""
        return self.per == "key" and self.key[0] == key

    def type_of(self, name: str) -> str:
        """Return the type of a column."""
        return next(column.type for column in self.columns if column.name == name)

    def require_types(self, where: str, used: Types) -> None:
        """Raise ValueError for a column that it does not have, or whose type is none of those allowed."""
        types = {column.name: column.type for column in self.columns}
        nullable = {column.name for column in self.columns if column.nullable}
        for name, allowed in used.items():
            if name not in types:
                raise ValueError(f"{where} names {name!r}, which is no column of its table{nearest(name, types)}")
            wrong = types[name] not in allowed or (name in nullable and MAY_BE_NULL not in allowed)
            if allowed and wrong:
                of_type = " or ".join(type_ for type_ in allowed if type_ != MAY_BE_NULL)
                never = "" if MAY_BE_NULL in allowed else ", and never NULL"
                raise ValueError(f"{where}: {name} must be of type {of_type}{never}")

    def mart(
        self, name: str, sql: Mapping[str, str], dimensions: Container[str], tables: "Mapping[str, PackTable]"
    ) -> Mart:
        """Return the mart; dimensions that it reads are looked up in none of its columns."""
        of_months = [other for other, table in tables.items() if table.per == "month"]
        if self.per == "month":
            return self._mart_of_months(name)
        months = [other for other in self.reads if other in of_months]
        also = [other for other in self.reads if other not in dimensions and other not in months[:1]]
        also += [other for other in self.columns_of if other not in also]
        by_key = [other for other in also if other in tables and tables[other].is_by(self.key[0])]
        if self.per == "key" and not months and not by_key:
            raise ValueError(f'tables.{name}: with per = "key" it reads a table of months; set per = "all"')
        lookups = {other: _Lookup() for other in self.reads if other in dimensions} | self.lookups
        return Mart(
            name=name,
            table=self.publish or "",
            columns=tuple(column.mart() for column in self.columns),
            key=self.key,
            lookups=tuple(Lookup(kind, item.on, item.may_be_absent) for kind, item in lookups.items()),
            per=self.per,
            reads=months[0] if months else "",
            also=tuple(also),
            columns_of=self.columns_of,
            sql=text_of(self.sql, sql),
            stale=text_of(self.stale, sql) if self.stale else "",
            control=self.control,
            every=self.every,
            calculation=self.calculation,
            last_months=self.last_months,
            stops=(self.stops.says, self.stops.hint) if self.stops else ("", ""),
        )

    def _mart_of_months(self, name: str) -> Mart:
        """Return the mart of a published table of months: its rows."""
        marts = tuple(column.mart() for column in self.columns)
        names = ("month_name(month) AS month" if column.name == "month" else column.name for column in marts)
        return Mart(
            name=name,
            table=self.publish or "",
            columns=marts,
            key=self.key,
            per="month",
            partition=self.partition or "",
            reads=name,
            sql=f"SELECT {', '.join(names)} FROM {name}",
            control=self.control,
        )

    def of_month(
        self, name: str, sql: Mapping[str, str], before: Mapping[str, MonthTable], kinds: Mapping[str, Kind]
    ) -> MonthTable:
        """Return a table of months; ``before`` are those that it may read."""
        also = [before[other] for other in self.reads if other in before]
        earlier = [before[other] for other in self.lookback]
        facts = tuple(other for other in self.reads if other in kinds and kinds[other].is_fact)
        own = tuple(other for other in self.reads if other in kinds and not kinds[other].is_fact)
        reads = tuple(dict.fromkeys([*facts, *(fact for table in (*also, *earlier) for fact in table.reads)]))
        shards = [kinds[fact].shard for fact in reads if kinds[fact].shard]
        divided = bool(facts) or not all(table.is_whole for table in (*also, *earlier))
        whole = not divided if self.whole is None else self.whole
        if whole and facts:
            what = f"one task computes it from all rows of a month, so it cannot read fact {facts[0]}"
            raise ValueError(f"tables.{name}: {what}: let it read a table of months that reads {facts[0]}")
        if not whole and not divided:
            raise ValueError(f"tables.{name}: it reads only tables with whole = true, so it is one itself")
        if self.whole is None and divided and shards and not {*shards} & {*self.key}:
            rule = "if each row is of one" if self.publish else "if each row is of one, or its readers add up its rows"
            raise ValueError(
                f"tables.{name}: the rows of a month are divided among tasks by {shards[0]}, which is not in its key: "
                f"set whole = true if a row stands for several {shards[0]}, or whole = false {rule}"
            )
        for table in earlier if shards and not whole else ():
            if not table.is_whole and not {*shards} & {*table.key}:
                what = f"the key of {table.name} must contain {shards[0]}, by which the rows of its facts are divided"
                raise ValueError(f"tables.{name}.lookback: {what}")
        levels = [table.level + (1 if table.dimensions or table.is_whole != whole else 0) for table in also]
        levels += [table.level + 1 for table in earlier]
        level = max([*levels, 1 if own else 0])
        if self.merge:
            self._require_days(name, [*also, *(before[other] for other in self.so_far if other in before)], sql)
        if others := [other for other in self.so_far if other not in self.lookback or not self.merge]:
            raise ValueError(f"tables.{name}.so_far: {others[0]} is not in lookback, or merge is missing")
        return MonthTable(
            name=name,
            key=self.key,
            reads=reads,
            facts=facts,
            is_whole=whole,
            lookback=self.lookback,
            dimensions=own,
            level=level,
            sql=text_of(self.sql, sql),
            prepare=tuple(text_of(item, sql) for item in self.prepare),
            control=self.control,
            also=tuple(table.name for table in also),
            merge=self.merge if isinstance(self.merge, dict) else {},
            by_day="rows" if self.merge == "rows" else "merged" if self.merge else "",
            so_far=self.so_far,
        )

    def _require_days(self, name: str, read: Sequence[MonthTable], sql: Mapping[str, str]) -> None:
        """Raise ValueError if rows of days cannot be merged: they depend on more than the lines of their day."""
        where = f"tables.{name}.merge"
        if other := next((table.name for table in read if not table.by_day), ""):
            raise ValueError(f"{where}: its rows are of days, but {other} has no merge")
        if any(re.search(r"\blast_day\b", text_of(item, sql)) for item in (self.sql, *self.prepare)):
            raise ValueError(f"{where}: its SQL reads last_day, the last day of the month's lines: leave out merge")
        if isinstance(self.merge, dict) and (both := sorted({*self.merge} & {*self.key})):
            raise ValueError(f"{where} names {both[0]!r}, which is in its key: rows of an equal key are merged")


def text_of(name: str, sql: Mapping[str, str]) -> str:
    """Return the text of a .sql file of a pack. Raise ValueError if there is none of this name."""
    if name not in sql:
        raise ValueError(f"there is no file {name!r} beside it{nearest(name, sql)}")
    return sql[name]
