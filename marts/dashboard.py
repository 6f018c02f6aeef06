"""The dashboard of a pack, as dashboard.toml beside pack.toml says it: what pages count, by what, and how they show it.

A page adds up rows of published marts and divides once: a figure is a sum of a column, or the ratio of two sums.
"""

import tomllib
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from marts.errors import UsageError
from marts.pack import Mart
from marts.pack_columns import Name
from marts.policy import explain, nearest

FILE = "dashboard.toml"
Unit = Literal["money", "count", "percent", "decimal"]
_SUMMED = ("money", "count")
"""Types of columns that are added up: as whole numbers, money in hundredths."""
_CHOSEN = ("id", "text_id", "text")
"""Types of columns that rows are chosen by."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Dimension(_Part):
    """What rows are chosen and grouped by: a column of the cells, or of a table that describes its values."""

    label: str
    column: str
    """Column of the cells, or of ``table`` if it names one."""
    table: str = ""
    """Mart that describes the values of ``on``: region, state and city of a store."""
    on: str = ""
    """Column of the cells that is the key of this mart."""
    named_by: str = ""
    """Column of the mart with the name of a value; the value by default."""
    below: str = ""
    """The dimension above it in a hierarchy: choosing a value there leaves those below it."""
    note: str = ""
    """What a reader must know of it."""


class Elsewhere(_Part):
    """A table by month that has a figure which the cells do not have."""

    table: str
    month: str
    """Column of the month."""
    by: dict[str, str] = Field(default_factory=dict)
    """Dimensions that it knows, with its column of each."""


class Figure(_Part):
    """A number that pages show: a sum, or a ratio of two sums."""

    label: str
    help: str
    unit: Unit
    sum: str = ""
    per: str = ""
    """Column whose sum the sum is divided by."""
    negative: bool = False
    """Whether the sum is shown with the other sign: returns are below zero."""
    more_is: Literal["better", "worse", "neither"] = "better"
    of: Elsewhere | None = None
    """The table by month that it is added up from, instead of the cells."""
    of_one_month: bool = False
    """Whether sums of several months mean nothing: customers who bought in two months are in both."""


class Panel(_Part):
    """A part of a page: a chart with its table."""

    kind: Literal["trend", "lines", "ranking", "bars"]
    title: str
    figure: str
    by: tuple[str, ...] = ()
    """Dimensions that it is divided by: the first without a chosen value, or else the last."""
    top: Annotated[int, Field(ge=1, le=50)] = 6
    bottom: Annotated[int, Field(ge=0, le=50)] = 0


class Dashboard(_Part):
    """The page of a pack."""

    title: str
    table: str
    """The mart whose rows are the cells that figures are added up from."""
    date: str
    """Its column of the day."""
    count: str
    """Figure beside the options of a filter."""
    dimensions: dict[Name, Dimension] = Field(min_length=1)
    figures: dict[Name, Figure] = Field(min_length=1)
    cards: tuple[str, ...] = Field(min_length=1)
    panels: tuple[Panel, ...] = ()

    @model_validator(mode="after")
    def _dimensions_exist(self) -> Self:
        for name, dimension in self.dimensions.items():
            if dimension.below and dimension.below not in self.dimensions:
                raise ValueError(f"dimensions.{name}.below: {dimension.below!r} is no dimension")
            if bool(dimension.table) != bool(dimension.on):
                raise ValueError(f"dimensions.{name}: table and on belong together")
            if dimension.below and name in self.above(dimension.below):
                raise ValueError(f"dimensions.{name}.below: {dimension.below!r} is below it")
        return self

    @model_validator(mode="after")
    def _figures_exist(self) -> Self:
        used = [("count", self.count), *(("cards", card) for card in self.cards)]
        used += [(f"panels.{number}.figure", panel.figure) for number, panel in enumerate(self.panels)]
        for where, name in used:
            if name not in self.figures:
                raise ValueError(f"{where}: {name!r} is no figure{nearest(name, self.figures)}")
        if self.figures[self.count].per or self.figures[self.count].of:
            raise ValueError(f"count: {self.count} must be a sum of the cells")
        return self

    @model_validator(mode="after")
    def _panels_fit(self) -> Self:
        for number, panel in enumerate(self.panels):
            where = f"panels.{number}"
            if self.figures[panel.figure].of:
                raise ValueError(f"{where}.figure: {panel.figure} is of a table by month: panels show figures of cells")
            if panel.kind != "trend" and not panel.by:
                raise ValueError(f"{where}.by is missing")
            for name in panel.by:
                if name not in self.dimensions:
                    raise ValueError(f"{where}.by: {name!r} is no dimension{nearest(name, self.dimensions)}")
        return self

    def above(self, name: str) -> list[str]:
        """Return a dimension and those above it in its hierarchy, the nearest first."""
        results = [name]
        while (upper := self.dimensions[results[-1]].below) and upper not in results:
            results.append(upper)
        return results

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the marts that the page reads, the cells first."""
        described = (dimension.table for dimension in self.dimensions.values() if dimension.table)
        elsewhere = (figure.of.table for figure in self.figures.values() if figure.of)
        return tuple(dict.fromkeys((self.table, *described, *elsewhere)))

    def columns_of(self, table: str) -> tuple[str, ...]:
        """Return the columns of a mart that the page reads; none of them is personal."""
        own: list[str] = [self.date, *self.sums] if table == self.table else []
        for dimension in self.dimensions.values():
            if table == self.table:
                own.append(dimension.on or dimension.column)
            if table == dimension.table:
                own += [dimension.on, dimension.column, dimension.named_by]
        for figure in self.figures.values():
            if figure.of and figure.of.table == table:
                own += [figure.of.month, *figure.of.by.values(), figure.sum, figure.per]
        return tuple(dict.fromkeys(filter(None, own)))

    @property
    def sums(self) -> tuple[str, ...]:
        """Return the columns of the cells that are added up."""
        own = [figure for figure in self.figures.values() if not figure.of]
        return tuple(dict.fromkeys(name for figure in own for name in (figure.sum, figure.per) if name))


def read_dashboard(text: str, marts: Mapping[str, Mart], where: str) -> Dashboard:
    """Read dashboard.toml; ``marts`` are those of its pack. Raise UsageError that names the wrong key."""
    try:
        dashboard = Dashboard.model_validate(tomllib.loads(text))
        _require_columns(dashboard, marts)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"is not TOML: {error}", where) from error
    except ValidationError as error:
        raise UsageError(*explain(error, Dashboard), where) from error
    except ValueError as error:
        raise UsageError(str(error), where) from error
    return dashboard


def _require_columns(dashboard: Dashboard, marts: Mapping[str, Mart]) -> None:
    """Raise ValueError for a mart or a column that does not exist, or that has another type."""
    used: list[tuple[str, str, str, tuple[str, ...]]] = [("date", dashboard.table, dashboard.date, ("date",))]
    for name, dimension in dashboard.dimensions.items():
        where, table = f"dimensions.{name}", dimension.table or dashboard.table
        used.append((f"{where}.column", table, dimension.column, _CHOSEN))
        if dimension.on:
            used += [(f"{where}.on", table, dimension.on, _CHOSEN), (f"{where}.on", dashboard.table, dimension.on, ())]
        if dimension.named_by:
            used.append((f"{where}.named_by", table, dimension.named_by, ("text",)))
    for name, figure in dashboard.figures.items():
        table = figure.of.table if figure.of else dashboard.table
        used += [(f"figures.{name}", table, column, _SUMMED) for column in (figure.sum, figure.per) if column]
        if not figure.sum:
            raise ValueError(f"figures.{name}.sum is missing")
        if figure.of:
            used.append((f"figures.{name}.of.month", table, figure.of.month, ("month",)))
            for other, column in figure.of.by.items():
                if other not in dashboard.dimensions:
                    raise ValueError(f"figures.{name}.of.by: {other!r} is no dimension")
                used.append((f"figures.{name}.of.by.{other}", table, column, _CHOSEN))
    for where, table, column, types in used:
        _require_column(where, table, column, types, marts)


def _require_column(where: str, table: str, column: str, types: tuple[str, ...], marts: Mapping[str, Mart]) -> None:
    if table not in marts:
        raise ValueError(f"{where}: {table!r} is no mart{nearest(table, marts)}")
    known = {item.name: item for item in marts[table].columns}
    if column not in known:
        raise ValueError(f"{where}: {column!r} is no column of {table}{nearest(column, known)}")
    if types and known[column].type not in types:
        raise ValueError(f"{where}: {column} must be of type {' or '.join(types)}")
    if known[column].personal:
        raise ValueError(f"{where}: {column} is personal: pages show nobody")
