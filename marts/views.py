"""Views of a pack: queries of its marts on the command line, without SQL, and views in the database."""

import re
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from marts.errors import UsageError

_TEXT = re.compile(r"[^'\\\x00]*")
"""Texts that are the same literal in every database."""
Types = dict[str, tuple[str, ...]]
"""Types that a column may have, by column; any if empty."""
MAY_BE_NULL = "null"
"""Among the types that a column may have: it may be NULL, too."""
ORDERED = (MAY_BE_NULL, "count", "money", "rate", "percent", "decimal", "date")
"""Types of columns by which the highest rows are listed."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TopView(_Part):
    """The rows with the highest values."""

    title: str
    """Above the rows; ``{month}`` is the month that they are of."""
    help: str
    order: str
    """Column by which rows are listed, highest first; then by ``then`` and their key."""
    then: str = ""
    """Column by which rows of equal order are listed, highest first."""
    columns: tuple[str, ...] = Field(min_length=1)
    where: dict[str, int | str | bool] = Field(default_factory=dict)
    """Values that columns of a listed row have."""
    equal: tuple[str, str] | None = None
    """Two columns that are equal in a listed row: of a key, one row is listed."""

    @property
    def ordered_by(self) -> tuple[str, ...]:
        """Return the columns by which rows are listed."""
        return tuple(filter(None, (self.order, self.then)))


class Section(_Part):
    """The rows of another mart with the value, below those of a view."""

    table: str
    """The mart."""
    title: str
    """Above the rows; ``{}`` is the value."""
    by: str
    """Column of the value, of the type that it has in the view."""
    order: tuple[str, ...] = Field(min_length=1)
    columns: tuple[str, ...] = ()
    """All if empty."""
    headings: dict[str, str] = Field(default_factory=dict)
    """Short names of columns, for tables."""

    @property
    def columns_used(self) -> Types:
        """Return the types that each column may have."""
        return {**dict.fromkeys((*self.columns, *self.headings, *self.order), ()), self.by: ("id", "text")}


class ShowView(_Part):
    """All rows with one value."""

    title: str
    """Above the rows; ``{}`` is the value, ``{month}`` the month."""
    help: str
    by: str
    """Column of the value: an id or a text."""
    noun: str
    """What the value names, in the singular: customer."""
    order: tuple[str, ...]
    first: tuple[str, ...] = ()
    """Columns that come before the others: a narrow terminal shows these."""
    every: str = ""
    """Title of the rows of every value, which a command without a value shows; it asks for a value if empty."""
    also: tuple[Section, ...] = ()


class GroupsView(_Part):
    """Counts and sums by the values of a column."""

    title: str
    help: str
    by: str
    count: str = "rows"
    """Heading of the number of rows."""
    sums: tuple[str, ...] = Field(min_length=1)
    """Columns that are added up; groups are listed by the first, highest first."""


class View(_Part):
    """Commands about one mart: ``marts NAME top`` and ``marts NAME show VALUE``, or one of them.

    A view with ``words`` is one command.
    """

    name: str = ""
    """Its key in pack.toml."""
    words: str = Field("", pattern=r"^([a-z][a-z-]*( [a-z][a-z-]*)?)?$")
    """The words of its only command, such as ``orders open``."""
    command: str = ""
    """Words of its commands after ``marts``: its name, and before it the command of the pack, if it has one."""
    table: str
    """The mart."""
    help: str
    month: str = ""
    """Column of the month, if rows of one month are listed: by default of the last one."""
    headings: dict[str, str] = Field(default_factory=dict)
    """Short names of columns, for tables."""
    top: TopView | None = None
    show: ShowView | None = None
    groups: GroupsView | None = None

    @model_validator(mode="after")
    def _shows_something(self) -> Self:
        parts = [part for part in (self.top, self.show, self.groups) if part]
        if not parts:
            raise ValueError("a view has a top, a show or groups")
        if self.words and len(parts) > 1:
            raise ValueError("a view with words is one command: it has one of top, show and groups")
        if self.groups and not self.words:
            raise ValueError('groups is for a view with words, such as words = "orders countries"')
        if self.show and self.show.every and (self.show.also or not self.month):
            raise ValueError("show.every is for a view with month, and without show.also")
        return self

    @property
    def columns_used(self) -> Types:
        """Return the types that each column may have."""
        used: Types = dict.fromkeys(self.headings, ())
        if top := self.top:
            used |= dict.fromkeys((*top.columns, *top.where, *(top.equal or ())), ())
        if show := self.show:
            used |= dict.fromkeys((*show.order, *show.first), ())
        if self.top:
            used |= dict.fromkeys(self.top.ordered_by, ORDERED)
        if self.show:
            used[self.show.by] = ("id", "text")
        if self.groups:
            used |= dict.fromkeys((self.groups.by, *self.groups.sums), ())
        return {**used, **({self.month: ("month",)} if self.month else {})}


@dataclass(frozen=True)
class DatabaseView:
    """A view of marts in the target."""

    name: str
    reads: tuple[str, ...]
    """Marts, by name, and views before it."""
    sql: str
    """One SELECT that DuckDB, MySQL and MariaDB understand; it names the marts as the database does."""


def literal(value: bool | int | str) -> str:
    """Return a value in SQL. Raise UsageError for a text that databases read differently."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if not _TEXT.fullmatch(value):
        raise UsageError(f"{value!r} has a quote or a backslash", "arguments", "query the table with SQL")
    return f"'{value}'"
