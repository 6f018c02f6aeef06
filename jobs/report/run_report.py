"""The RunReport: the one object that the ledger, --json, the log and the terminal all render."""

from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from jobs.report.highlights import ReportedHighlight
from jobs.state.manifest import Reason
from marts.errors import MartsError

Outcome = Literal["running", "published", "unchanged", "failed", "unknown"]
"""unknown: the reply to the COMMIT was lost, and the database did not come back to be queried."""
DropState = Literal["live", "missing", "older", "duplicate", "rejected", "held", "deferred", "withdrawn"]
"""missing: its object is missing, and it counts until a decision; older: a drop of a dimension, not the newest."""


LEFT_OUT: tuple[DropState, ...] = ("held", "rejected", "deferred", "missing")
"""States of drops that need attention: not in the marts, or in them although their object is missing."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class DropReport(_Part):
    """One drop that is new, has changed or is not live."""

    kind: str
    is_fact: bool = False
    """Whether it adds rows of days."""
    key: str
    change: Literal["new", "replaced", "put again", "known", "vanished"]
    state: DropState
    reason: str = ""
    delivery: str = ""
    """Id of this version of the drop."""
    rows_read: int = 0
    clean: int = 0
    quarantined: int = 0
    duplicates: int = 0
    """Repeated and replaced lines."""
    repeated: int = 0
    """Lines that do not count because an equal one does."""
    replaced: int = 0
    """Lines that do not count because others replaced them."""
    repeated_total: Decimal = Decimal(0)
    replaced_total: Decimal = Decimal(0)
    """Money of the replaced lines, without that of their replacements."""
    reasons: tuple[Reason, ...] = ()
    """The most common reasons for quarantine."""
    columns: tuple[str, ...] = ()
    """Header of the drop; empty without reasons."""


class MartReport(_Part):
    """One mart after the run."""

    name: str
    table: str
    rows: int
    total: Decimal | None = None
    """Sum of its control column, if it has one."""
    changed: bool
    """False if the live rows were already up to date."""

    @model_validator(mode="before")
    @classmethod
    def _total_by_another_name(cls, values: Any) -> Any:
        """Reports of earlier versions name the total after its column."""
        if not isinstance(values, dict):
            return values
        return {"total" if name.startswith("total_") else name: value for name, value in values.items()}


class FactTotal(_Part):
    """Clean lines of a fact up to as_of, and their control sum."""

    counted: int
    counted_total: Decimal


class Totals(_Part):
    """Sums over the live drops of facts, or of all kinds of a pack without facts.

    Rows read = clean + quarantined + duplicates.
    """

    kinds: tuple[str, ...] = ()
    """Kinds of these drops; empty in reports of older versions."""
    drops: int = 0
    """Existing drops of them, live or not."""
    held_rows: int = 0
    """Rows of held drops; none of them counts."""
    scanned: int = 0
    """Those that this run read."""
    rows_read: int = 0
    clean: int = 0
    quarantined: int = 0
    duplicates: int = 0
    """Repeated and replaced lines."""
    repeated: int = 0
    replaced: int = 0
    repeated_total: Decimal = Decimal(0)
    replaced_total: Decimal = Decimal(0)
    counted: int = 0
    """Clean lines up to as_of: the marts are built from these."""
    counted_total: Decimal = Decimal(0)
    guests: int = 0
    """Counted lines of guests, which belong to nobody."""
    guests_total: Decimal = Decimal(0)
    facts: dict[str, FactTotal] = {}
    """Of each fact, if there are several."""


class BrokenRule(_Part):
    """An expectation that does not hold."""

    rule: str
    """In words."""
    severity: str
    rows: int
    """Rows that were checked; 0 if the rule is not about rows."""
    basis: str = "rows"
    """Describes these rows."""
    unexpected: int
    observed: str


class QualityReport(_Part):
    """Great Expectations' result for the drops of a kind that a run read, or for a mart."""

    name: str
    outcome: Literal["passed", "warned", "failed"]
    """Failed if a critical expectation does not hold, warned if only others do not."""
    drops: int = 0
    """0 for a mart."""
    rows: int
    quarantined: int = 0
    """Those of the drops that are in quarantine."""
    rules: int
    broken: tuple[BrokenRule, ...] = ()
    page: str
    """Path below the folder of the data docs."""


class FallReport(_Part):
    """The total up to the last publication's as_of: as published, and as this run computed it."""

    since: str
    """Id of the run whose marts were live."""
    as_of: str
    before: Decimal
    now: Decimal
    taken_back: Decimal = Decimal(0)
    """Money of drops whose withdrawal this run applies."""
    fact: str = ""
    """Empty in reports of earlier versions."""


class Problem(_Part):
    """Why a run failed."""

    what: str
    where: str
    hint: str
    kind: str = ""
    """Name of the error class."""

    @classmethod
    def of(cls, error: MartsError) -> "Problem":
        return cls(what=error.what, where=error.where, hint=error.hint, kind=type(error).__name__)


class AlertReport(_Part):
    """New rows of a mart that a pack has an alert for."""

    name: str
    title: str
    hint: str
    count: int
    is_first: bool = False
    """Whether no rows of the mart were live before: then all are new."""
    headings: dict[str, str]
    """By column."""
    rows: tuple[dict[str, str], ...]
    """Some of them, without personal data."""

    @property
    def subject(self) -> str:
        """Return the title; a first publication says so."""
        return f"{self.title} (first publication)" if self.is_first else self.title

    @property
    def lists(self) -> tuple[str, ...]:
        """Return the columns whose values are lists: a narrow page shows them below the row."""
        return tuple(name for name in self.headings if any(";" in row[name] for row in self.rows))


class RunReport(_Part):
    """Report of a run."""

    run_id: str
    outcome: Outcome
    exit_code: int
    as_of: str
    policy: str = ""
    """Digest of the policy."""
    ids: Literal["number", "text"] = "number"
    """Type of all ids."""
    version: str = ""
    """Version of Martwright."""
    source: str
    target: str
    state: str
    started_at: datetime
    ended_at: datetime
    totals: Totals = Totals()
    drops: tuple[DropReport, ...] = ()
    marts: tuple[MartReport, ...] = ()
    quality: tuple[QualityReport, ...] = ()
    docs: str = ""
    """Location of the data docs."""
    months_rolled_up: tuple[str, ...] = ()
    months: int = 0
    """Months with any line up to as_of."""
    unknown: dict[str, int] = {}
    """Lines whose customer, sales person or store has no dimension row."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Explanations of numbers, where nothing is wrong."""
    submission: str = ""
    """Submission id of the Ray job of the run, if it was submitted."""
    audit: str = ""
    """Hash of the last entry of the audit trail when the run began."""
    highlights: tuple[ReportedHighlight, ...] = ()
    """Of the marts that this run published or found up to date; stored without the names of people."""
    alerts: tuple[AlertReport, ...] = ()
    """New rows of the marts that this run published."""
    newest: dict[str, date] = {}
    """Newest day of the counted rows of each fact."""
    events: tuple[date, ...] = ()
    """Days that the policy names as events: they are neither judged nor compared with."""
    currencies: tuple[str, ...] = ()
    """Of the amounts of the drops that count; empty if they name none."""
    held_back: str = ""
    """Why new marts were not published although they differ from the live ones: a rollback."""
    seconds: dict[str, float] = {}
    """Duration of each step."""
    fall: FallReport | None = None
    """How the total up to the last publication's as_of changed, if it was known."""
    error: Problem | None = None

    @property
    def left_out(self) -> dict[str, int]:
        """Return the number of drops left out of the marts, by state."""
        counts = Counter(drop.state for drop in self.drops)
        return {state: counts[state] for state in LEFT_OUT if counts[state]}

    @property
    def words(self) -> str:
        """Return the outcome in words, with the drops left out."""
        left_out = [f"{count:,} drop{'' if count == 1 else 's'} {why}" for why, count in self.left_out.items()]
        return ", ".join([self.outcome, *(() if self.error else left_out)])

    @property
    def level(self) -> Literal["passed", "warned", "failed"]:
        """Return the level of the outcome: warned if the run goes on or left out some drops."""
        if self.error or self.outcome in ("failed", "unknown"):
            return "failed"
        return "warned" if self.outcome == "running" or self.exit_code or self.left_out else "passed"
