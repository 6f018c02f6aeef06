"""The report of a month, as report.toml beside dashboard.toml says it: its parts, and what stands out.

Figures, dimensions and panels are those of the dashboard. A query reads published marts that the dashboard does not.
"""

import tomllib
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from marts.dashboard import Dashboard, Panel
from marts.errors import UsageError
from marts.pack import Mart
from marts.policy import explain, nearest

FILE = "report.toml"
CellUnit = Literal["text", "money", "count", "percent", "decimal", "unit"]
"""unit: of each row, which has it in its last column."""
UNITS = ("money", "count", "percent", "decimal")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reads(_Part):
    """Columns of a mart that a query reads, and of which months."""

    columns: tuple[str, ...] = Field(min_length=1)
    month: str = ""
    """Column of the month or the day; without it, all rows are read."""
    months: Annotated[int, Field(ge=1, le=24)] = 1
    """Months up to that of the report."""


class Query(_Part):
    """A table of the report that SQL computes from published marts; the variable ``month`` is its first day."""

    title: str
    sql: str
    """Name of the file beside report.toml."""
    set: dict[str, str] = Field(default_factory=dict)
    """Variables of the SQL: a file may serve several tables."""
    reads: dict[str, Reads] = Field(min_length=1)
    """By mart, which is the name of the table."""
    columns: tuple[tuple[str, CellUnit], ...] = Field(min_length=1)
    """Heading and unit of each column."""
    note: str = ""
    is_as_of: bool = False
    """Whether it is about as_of, not the month: it changes without a change of the month."""
    optional: bool = False
    """Whether the report says that the marts are not published instead of stopping."""


class ReportPart(_Part):
    """A page of the report."""

    title: str
    texts: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()
    queries: tuple[Query, ...] = ()


class Insights(_Part):
    """What the sentences of the summary are about."""

    figure: str
    """The figure in money whose changes are explained."""
    by: tuple[str, ...] = ()
    """Dimensions whose values may explain a change."""
    large: tuple[str, ...] = ()
    """Dimensions of which no value should have a large share."""
    rates: tuple[str, ...] = ()
    """Ratios that are compared with their last 12 months."""


class MonthlyReport(_Part):
    """The report of a pack."""

    title: str
    figures: tuple[str, ...] = Field(min_length=1)
    """Figures of the summary."""
    parts: tuple[ReportPart, ...] = ()
    annex: ReportPart | None = None
    """Tables with all their rows."""
    insights: Insights

    @model_validator(mode="after")
    def _annex_has_tables(self) -> Self:
        if self.annex and any(panel.kind != "ranking" for panel in self.annex.panels):
            raise ValueError("annex.panels: only rankings")
        return self

    @property
    def every_part(self) -> tuple[ReportPart, ...]:
        return (*self.parts, *((self.annex,) if self.annex else ()))

    @property
    def queries(self) -> tuple[Query, ...]:
        return tuple(query for part in self.every_part for query in part.queries)


def read_report(text: str, dashboard: Dashboard, marts: Mapping[str, Mart], where: str) -> MonthlyReport:
    """Read report.toml. Raise UsageError that names the wrong key."""
    try:
        report = MonthlyReport.model_validate(tomllib.loads(text))
        _require_names(report, dashboard)
        _require_marts(report, marts)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"is not TOML: {error}", where) from error
    except ValidationError as error:
        raise UsageError(*explain(error, MonthlyReport), where) from error
    except ValueError as error:
        raise UsageError(str(error), where) from error
    return report


def _require_names(report: MonthlyReport, dashboard: Dashboard) -> None:
    """Raise ValueError for a figure or a dimension that the dashboard does not have."""
    about = report.insights
    figures = [*report.figures, about.figure, *about.rates]
    dimensions = [*about.by, *about.large]
    for part in report.every_part:
        figures += [*part.figures, *(panel.figure for panel in part.panels)]
        dimensions += [name for panel in part.panels for name in panel.by]
    for name in figures:
        if name not in dashboard.figures:
            raise ValueError(f"{name!r} is no figure of the dashboard{nearest(name, dashboard.figures)}")
    for name in dimensions:
        if name not in dashboard.dimensions:
            raise ValueError(f"{name!r} is no dimension of the dashboard{nearest(name, dashboard.dimensions)}")
    if dashboard.figures[about.figure].per or dashboard.figures[about.figure].of:
        raise ValueError(f"insights.figure: {about.figure} must be a sum of the cells")


def _require_marts(report: MonthlyReport, marts: Mapping[str, Mart]) -> None:
    """Raise ValueError for a mart or a column that does not exist or is personal."""
    used = [(name, column) for query in report.queries for name, own in query.reads.items() for column in own.columns]
    used += [(name, own.month) for query in report.queries for name, own in query.reads.items() if own.month]
    for name, column in used:
        if name not in marts:
            raise ValueError(f"{name!r} is no mart{nearest(name, marts)}")
        known = {item.name: item for item in marts[name].columns}
        if column not in known:
            raise ValueError(f"{column!r} is no column of {name}{nearest(column, known)}")
        if known[column].personal:
            raise ValueError(f"{column} of {name} is personal: reports name nobody")
