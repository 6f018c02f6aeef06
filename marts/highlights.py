"""What a pack shows of its marts: highlights on the page of a run.

Figures of a highlight add up over parts of a mart, so each is of one of three kinds.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Highlight(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    """Its key in pack.toml."""
    table: str
    """The mart."""
    title: str
    about: str = ""
    """What its numbers are, below the title."""
    once_per: str = ""
    """First key column of the mart, if its rows repeat the values: of each key, one row counts."""


class MonthsHighlight(_Highlight):
    """Money by month."""

    kind: Literal["months"]
    by: str
    """Column of the month."""
    sum: str
    """Column of money."""
    sum_heading: str = "Total"
    count: str = ""
    """Column of a count that is added up, too."""
    count_heading: str = ""

    @property
    def columns_used(self) -> dict[str, tuple[str, ...]]:
        """Return the types that each column may have."""
        return {self.by: ("month",), self.sum: ("money",), **({self.count: ("count",)} if self.count else {})}


class GroupsHighlight(_Highlight):
    """Rows and money by the values of a column, and by a flag."""

    kind: Literal["groups"]
    by: str
    by_heading: str
    flag: str = ""
    """Column of a flag that divides each group."""
    flags: tuple[str, ...] = ()
    """What the flag means: if it does not hold, and if it does."""
    noun: str
    """What a row is about, in the singular: customer."""
    sum: str
    sum_heading: str

    @model_validator(mode="after")
    def _flag_is_named(self) -> "GroupsHighlight":
        if len(self.flags) != (2 if self.flag else 0):
            raise ValueError('flags names what the flag means: flags = ["active", "inactive"]')
        return self

    @property
    def columns_used(self) -> dict[str, tuple[str, ...]]:
        flags = {self.flag: ("flag",)} if self.flag else {}
        return {self.by: ("text", "month", "null"), self.sum: ("money", "null"), **flags}


class ListedColumn(BaseModel):
    """``[name, heading]``, and "signed" for a rate that is a change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    heading: str
    signed: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, values: Any) -> Any:
        if not isinstance(values, list):
            return values
        if len(values) not in (2, 3) or not all(isinstance(item, str) for item in values) or values[2:] > ["signed"]:
            raise ValueError('a listed column is [name, heading], such as ["fees", "Fees"], or has "signed"')
        return {"name": values[0], "heading": values[1], "signed": len(values) == 3}


class ListedChart(BaseModel):
    """A chart of listed rows: the value of each beside what was expected.

    With limits, a row is drawn as a multiple of what was expected of it: rows differ in size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    along: str
    """Column that the rows are drawn along: days with limits, else counts."""
    value: str
    expected: str
    lower: str = ""
    upper: str = ""

    @model_validator(mode="after")
    def _limits_are_two(self) -> "ListedChart":
        if bool(self.lower) != bool(self.upper):
            raise ValueError("lower and upper belong together: name both or none")
        return self

    @property
    def columns_used(self) -> dict[str, tuple[str, ...]]:
        """Return the types that each column may have."""
        numbers = ("money", "rate", "decimal", "null")
        limits = (self.lower, self.upper) if self.lower else ()
        named = dict.fromkeys((self.value, self.expected, *limits), numbers)
        return {**named, self.along: ("date",) if self.lower else ("count",)}


class TopHighlight(_Highlight):
    """The rows with the highest values."""

    kind: Literal["top"]
    order: str
    """Column by which rows are chosen, highest first."""
    either_way: bool = False
    """Whether the highest are those farthest from 0, above or below."""
    limit: int = Field(10, ge=1, le=1000)
    last: str = ""
    """Column of the month, if only rows of the last one are chosen."""
    where: dict[str, int | str | bool] = Field(default_factory=dict)
    """Values that columns of a chosen row have."""
    by_key: bool = False
    """Whether the chosen rows are listed by their key."""
    columns: tuple[ListedColumn, ...] = Field(min_length=1)
    """Those that are listed; the first is what a row is about."""
    details: dict[str, str] = Field(default_factory=dict)
    """Texts below a column, by the column that they have: ``{}`` stands for its value."""
    below: str = ""
    """The listed column that the details are below: the first by default."""

    chart: ListedChart | None = None

    people: tuple[str, ...] = ()
    """Columns of ids of people, kept so that a person can be erased from reports."""

    @property
    def columns_used(self) -> dict[str, tuple[str, ...]]:
        listed = {column.name: () for column in self.columns}
        last = {self.last: ("month",)} if self.last else {}
        others = (*self.details, *self.where, *([self.below] if self.below else []))
        rest = dict.fromkeys(others, ())
        charted = self.chart.columns_used if self.chart else {}
        return {**listed, **rest, **charted, **last, self.order: ("count", "money", "rate", "null")}

    @property
    def stored(self) -> tuple[str, ...]:
        """Return the columns whose values are kept."""
        charted = self.chart.columns_used if self.chart else ()
        return tuple(dict.fromkeys((*(column.name for column in self.columns), *self.details, *charted, *self.people)))


Highlight = Annotated[MonthsHighlight | GroupsHighlight | TopHighlight, Field(discriminator="kind")]
