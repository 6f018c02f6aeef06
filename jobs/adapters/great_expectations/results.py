"""What Great Expectations judges, and its results, for code that does not import it: that takes seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from marts.quality.findings import Measured
from marts.quality.rule_types import UNIQUE, UNIQUE_TOGETHER, WELL_FORMED
from marts.quality.rules import Rule

SuiteOutcome = Literal["passed", "warned", "failed"]


@dataclass(frozen=True)
class About:
    """What is validated: for the result and its page."""

    run_id: str
    at: datetime
    title: str
    words: str
    rows: str = "rows"
    """Describes the rows that each rule is about."""
    places: Mapping[str, str] = field(default_factory=lambda: {"runs": "", "quality": "", "trends": ""})
    """Addresses of the other pages."""


@dataclass(frozen=True)
class RuleResult:
    """Result of Great Expectations for one rule."""

    rule: Rule
    success: bool
    rows: int
    """Rows that were checked; 0 for a rule that is not about rows."""
    basis: str
    """Describes these rows."""
    unexpected: int
    observed: str


@dataclass(frozen=True)
class SuiteResult:
    """The validation result of a suite."""

    name: str
    outcome: SuiteOutcome
    """Failed if a critical expectation does not hold, warned if only others do not."""
    results: tuple[RuleResult, ...]
    result: str
    """As JSON of Great Expectations."""
    page: str
    """As HTML."""


@dataclass(frozen=True)
class Batch:
    """Input of one checkpoint: a drop, or all new drops of a kind in a run."""

    measured: Measured
    types: Mapping[str, str]
    """The Python type of each column of the schema."""
    known: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Number of lines, and of lines without a row, by dimension."""
    query_rows: Mapping[str, tuple[int, list[dict[str, Any]]]] = field(default_factory=dict)
    """Number of rows that the query of a rule returns, and samples of them, by the rule's id."""
    drops: int = 1
    broken: Mapping[str, Sequence[tuple[str, Any]]] = field(default_factory=dict)
    """Drops that break a rule about whole drops, with the observed value, by the rule's id."""


def is_about_whole(rule: Rule) -> bool:
    """Return whether a rule has one value per drop that cannot be added up over drops."""
    adds_up = (UNIQUE, UNIQUE_TOGETHER, WELL_FORMED)
    return rule.level in ("key", "drop") and rule.type not in adds_up
