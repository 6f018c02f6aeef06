"""Views of a pack: queries of its marts on the command line, without SQL."""

from pydantic import BaseModel, ConfigDict, Field

Types = dict[str, tuple[str, ...]]
"""Types that a column may have, by column; any if empty."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TopView(_Part):
    """The rows with the highest values."""

    title: str
    """Above the rows; ``{month}`` is the month that they are of."""
    help: str
    order: str
    """Column by which rows are listed, highest first; then by their key."""
    columns: tuple[str, ...] = Field(min_length=1)
    where: dict[str, int | str | bool] = Field(default_factory=dict)
    """Values that columns of a listed row have."""
    equal: tuple[str, str] | None = None
    """Two columns that are equal in a listed row: of a key, one row is listed."""


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


class View(_Part):
    """Commands about one mart: ``marts NAME top`` and ``marts NAME show VALUE``."""

    name: str = ""
    """Its key in pack.toml."""
    table: str
    """The mart."""
    help: str
    month: str = ""
    """Column of the month, if rows of one month are listed: by default of the last one."""
    headings: dict[str, str] = Field(default_factory=dict)
    """Short names of columns, for tables."""
    top: TopView
    show: ShowView

    @property
    def columns_used(self) -> Types:
        """Return the types that each column may have."""
        top, show = self.top, self.show
        named = dict.fromkeys((*top.columns, *top.where, *(top.equal or ()), *self.headings, *show.order), ())
        typed: Types = {top.order: ("count", "money"), show.by: ("id", "text")}
        return {**named, **typed, **({self.month: ("month",)} if self.month else {})}
