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
    during: tuple[str, str] | None = None
    """Columns of its first day, and of the first day after it, if the mart has several rows of a key: that of the day
    counts."""
    named_by: str = ""
    """Column of the mart with the name of a value; the value by default."""
    below: str = ""
    """The dimension above it in a hierarchy: choosing a value there leaves those below it."""
    note: str = ""
    """What a reader must know of it."""


class Split(_Part):
    """A column of a table by month that panels divide its figures by; nothing is chosen by it."""

    column: str
    label: str


class Elsewhere(_Part):
    """A table by month that has a figure which the cells do not have."""

    table: str
    month: str
    """Column of the month."""
    by: dict[str, str] = Field(default_factory=dict)
    """Dimensions that it knows, with its column of each."""
    where: dict[str, str] = Field(default_factory=dict)
    """Values of columns of the rows that are added up, if others are rows of other figures."""
    per_where: dict[str, str] = Field(default_factory=dict)
    """The same of the sum that it is divided by; those of `where` by default."""
    split: Split | None = None


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
    drops: tuple[str, ...] = ()
    """Kinds of drops that it is computed from, if not from all those of its mart."""
    of_last_month: bool = False
    """Whether it is a level at the end of a month, and never added up over months: a balance."""

    @property
    def formula(self) -> str:
        """Return how it is calculated, as SQL that people read."""
        of = self.of
        text = f"{'-' if self.negative else ''}SUM({self.sum}){_condition(of.where if of else {})}"
        if not self.per:
            return text
        text = f"{text} / SUM({self.per}){_condition((of.per_where or of.where) if of else {})}"
        return f"100 * {text}" if self.unit == "percent" else text


def _condition(where: Mapping[str, str]) -> str:
    texts = [f"{column} = '{value}'" for column, value in where.items()]
    return f" where {' and '.join(texts)}" if texts else ""


class Panel(_Part):
    """A chart with its table. Of a figure of a table by month, lines have a point per month."""

    kind: Literal["trend", "lines", "ranking", "bars"]
    title: str
    figure: str
    by: tuple[str, ...] = ()
    """Dimensions that it is divided by: the first without a chosen value, or else the last."""
    top: Annotated[int, Field(ge=1, le=50)] = 6
    bottom: Annotated[int, Field(ge=0, le=50)] = 0


class Section(_Part):
    """Cards and panels below a heading."""

    title: str
    cards: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = Field(min_length=1)


class Unusual(_Part):
    """A mart that lists unusual days of a figure; pages do without it if it is not published."""

    mart: str
    figure: str
    day: str
    value: str
    expected: str
    where: dict[str, str] = Field(default_factory=dict)
    """Values of columns of the rows that are about the figure."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.day, self.value, self.expected, *self.where)


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
    unusual: Unusual | None = None
    sections: tuple[Section, ...] = ()
    """What follows below headings."""

    @model_validator(mode="after")
    def _dimensions_exist(self) -> Self:
        for name, dimension in self.dimensions.items():
            if dimension.below and dimension.below not in self.dimensions:
                raise ValueError(f"dimensions.{name}.below: {dimension.below!r} is no dimension")
            if bool(dimension.table) != bool(dimension.on):
                raise ValueError(f"dimensions.{name}: table and on belong together")
            if dimension.during and not dimension.table:
                raise ValueError(f"dimensions.{name}.during: it has no table")
            if dimension.below and name in self.above(dimension.below):
                raise ValueError(f"dimensions.{name}.below: {dimension.below!r} is below it")
        return self

    @model_validator(mode="after")
    def _figures_exist(self) -> Self:
        used = [("count", self.count), *(("cards", card) for _, card in self.every_card)]
        used += [(f"{where}.figure", panel.figure) for where, panel in self._named_panels()]
        used += [("unusual.figure", self.unusual.figure)] if self.unusual else []
        for where, name in used:
            if name not in self.figures:
                raise ValueError(f"{where}: {name!r} is no figure{nearest(name, self.figures)}")
        if self.figures[self.count].per or self.figures[self.count].of:
            raise ValueError(f"count: {self.count} must be a sum of the cells")
        names = [name for _, name in self.every_card]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"cards: {repeated[0]} is there twice")
        return self

    @model_validator(mode="after")
    def _months_fit(self) -> Self:
        for name, figure in self.figures.items():
            if (figure.of_one_month or figure.of_last_month) and not figure.of:
                raise ValueError(f"figures.{name}: of_one_month and of_last_month are for figures of a table by month")
            if figure.of and figure.of.per_where and not figure.per:
                raise ValueError(f"figures.{name}.of.per_where: it is divided by nothing")
        return self

    @model_validator(mode="after")
    def _panels_fit(self) -> Self:
        for where, panel in self._named_panels():
            of = self.figures[panel.figure].of
            if of and panel.by:
                raise ValueError(f"{where}.by: {panel.figure} is of a table by month: it is divided by its split")
            if panel.kind != "trend" and not panel.by and not (of and of.split):
                raise ValueError(f"{where}: by, or the split of the table by month, is missing")
            for name in panel.by:
                if name not in self.dimensions:
                    raise ValueError(f"{where}.by: {name!r} is no dimension{nearest(name, self.dimensions)}")
        return self

    def _named_panels(self) -> list[tuple[str, Panel]]:
        """Return each panel with its key in the file."""
        own = [(f"panels.{number}", panel) for number, panel in enumerate(self.panels)]
        for number, section in enumerate(self.sections):
            own += [(f"sections.{number}.panels.{at}", panel) for at, panel in enumerate(section.panels)]
        return own

    @property
    def every_card(self) -> list[tuple[str, str]]:
        """Return the title of its section, empty at the top, and the figure of each card."""
        below = [(section.title, name) for section in self.sections for name in section.cards]
        return [*(("", name) for name in self.cards), *below]

    @property
    def every_panel(self) -> list[tuple[str, Panel]]:
        """Return the title of its section, empty at the top, and each panel."""
        below = [(section.title, panel) for section in self.sections for panel in section.panels]
        return [*(("", panel) for panel in self.panels), *below]

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
        return tuple(dict.fromkeys(column for _, owner, column, _ in _used(self) if owner == table))

    def table_of(self, figure: Figure) -> str:
        """Return the mart that a figure is added up from."""
        return figure.of.table if figure.of else self.table

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


_Used = tuple[str, str, str, tuple[str, ...]]
"""Where a column is named, its mart, the column, and the types that it may have; none: any."""


def _require_columns(dashboard: Dashboard, marts: Mapping[str, Mart]) -> None:
    """Raise ValueError for a mart or a column that does not exist, or that has another type."""
    for where, table, column, types in _used(dashboard):
        _require_column(where, table, column, types, marts)
    if unusual := dashboard.unusual:
        for column, types in ((unusual.day, ("date",)), (unusual.value, ("money",)), (unusual.expected, ("money",))):
            _require_column("unusual", unusual.mart, column, types, marts)
        for column in unusual.where:
            _require_column("unusual.where", unusual.mart, column, ("text",), marts)
    for name, dimension in dashboard.dimensions.items():
        if dimension.table and not dimension.during and marts[dimension.table].key != (dimension.on,):
            more = f"{dimension.table} may have several rows of a {dimension.on}"
            raise ValueError(f"dimensions.{name}: {more}: say with during which one is that of a day")


def _used(dashboard: Dashboard) -> list[_Used]:
    """Return all columns that a dashboard reads."""
    used: list[_Used] = [("date", dashboard.table, dashboard.date, ("date",))]
    for name, dimension in dashboard.dimensions.items():
        used += _columns_of_dimension(f"dimensions.{name}", dimension, dashboard.table)
    for name, figure in dashboard.figures.items():
        if not figure.sum:
            raise ValueError(f"figures.{name}.sum is missing")
        used += _columns_of_figure(f"figures.{name}", figure, dashboard)
    return used


def _columns_of_dimension(where: str, dimension: Dimension, cells: str) -> list[_Used]:
    table = dimension.table or cells
    used: list[_Used] = [(f"{where}.column", table, dimension.column, _CHOSEN)]
    if dimension.on:
        used += [(f"{where}.on", table, dimension.on, _CHOSEN), (f"{where}.on", cells, dimension.on, ())]
        used += [(f"{where}.during", table, column, ("date",)) for column in dimension.during or ()]
    if dimension.named_by:
        used.append((f"{where}.named_by", table, dimension.named_by, ("text",)))
    return used


def _columns_of_figure(where: str, figure: Figure, dashboard: Dashboard) -> list[_Used]:
    of, table = figure.of, dashboard.table_of(figure)
    used: list[_Used] = [(where, table, column, _SUMMED) for column in (figure.sum, figure.per) if column]
    if of is None:
        return used
    used.append((f"{where}.of.month", table, of.month, ("month",)))
    for other, column in of.by.items():
        if other not in dashboard.dimensions:
            raise ValueError(f"{where}.of.by: {other!r} is no dimension")
        used.append((f"{where}.of.by.{other}", table, column, _CHOSEN))
    used += [(f"{where}.of.where", table, column, ("text",)) for column in {**of.where, **of.per_where}]
    return [*used, *([(f"{where}.of.split", table, of.split.column, _CHOSEN)] if of.split else [])]


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
