"""The RunReport: the one object that the ledger, --json, the log and the terminal all render."""

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

from jobs.state.manifest import Reason
from marts.compute.highlights import Figures, UnusualMonth
from marts.errors import MartsError

Outcome = Literal["running", "published", "unchanged", "failed", "unknown"]
"""unknown: the answer to the COMMIT is lost, and the database did not come back to be asked."""
DropState = Literal["live", "missing", "older", "duplicate", "rejected", "held", "deferred", "withdrawn"]
"""missing: it counts on although its object is gone, until somebody decides; older: of a dimension, not the newest."""


LEFT_OUT: tuple[DropState, ...] = ("held", "rejected", "deferred", "missing")
"""States of drops that people have to look at: not in the marts, or in them although their object is gone."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class DropReport(_Part):
    """One drop that is new, that changed, or that is not live."""

    kind: str
    key: str
    change: Literal["new", "replaced", "put again", "known", "vanished"]
    state: DropState
    reason: str = ""
    delivery: str = ""
    """Names this version of it."""
    rows_read: int = 0
    clean: int = 0
    quarantined: int = 0
    duplicates: int = 0
    """Repeated and replaced ones."""
    repeated: int = 0
    """Lines that do not count since an equal one does."""
    replaced: int = 0
    """Lines that do not count since others took their place."""
    repeated_total: Decimal = Decimal(0)
    replaced_total: Decimal = Decimal(0)
    """Money that left the marts with them; what took their place is not in it."""
    reasons: tuple[Reason, ...] = ()
    """The most common reasons for quarantine."""


class MartReport(_Part):
    """One mart after the run."""

    name: str
    table: str
    rows: int
    total_sales: Decimal
    changed: bool
    """False if the live rows were already right."""


class Totals(_Part):
    """Sums over the live sales drops: rows read = clean + quarantined + duplicates."""

    drops: int = 0
    """Sales drops that are there now, live or not."""
    held_rows: int = 0
    """Rows of drops that are held; none of them counts."""
    scanned: int = 0
    """Sales drops that this run read."""
    rows_read: int = 0
    clean: int = 0
    quarantined: int = 0
    duplicates: int = 0
    """Repeated and replaced ones."""
    repeated: int = 0
    replaced: int = 0
    repeated_total: Decimal = Decimal(0)
    replaced_total: Decimal = Decimal(0)
    counted: int = 0
    """Clean lines up to as_of: those that the marts are made of."""
    counted_total: Decimal = Decimal(0)
    guests: int = 0
    """Those of them that are of nobody in particular."""
    guests_total: Decimal = Decimal(0)


class BrokenRule(_Part):
    """An expectation that does not hold."""

    rule: str
    """In words."""
    severity: str
    rows: int
    """Rows that it looked at; 0 if it is not about rows."""
    basis: str = "rows"
    """Describes these rows."""
    unexpected: int
    observed: str


class QualityReport(_Part):
    """What Great Expectations says of the drops of a kind that a run brought, or of a mart."""

    name: str
    outcome: Literal["passed", "warned", "failed"]
    """Failed if a critical expectation does not hold, warned if only others do not."""
    drops: int = 0
    """0 for a mart."""
    rows: int
    rules: int
    broken: tuple[BrokenRule, ...] = ()
    page: str
    """Below the folder of the data docs."""


class FallReport(_Part):
    """The total up to the last publication's as_of: as it was published, and as this run found it."""

    since: str
    """The run whose marts were live."""
    as_of: str
    before: Decimal
    now: Decimal
    taken_back: Decimal = Decimal(0)
    """Money of drops whose withdrawal this run applies."""


class Problem(_Part):
    """Why a run failed."""

    what: str
    where: str
    hint: str
    kind: str = ""
    """Name of the class in the tree of errors."""

    @classmethod
    def of(cls, error: MartsError) -> "Problem":
        return cls(what=error.what, where=error.where, hint=error.hint, kind=type(error).__name__)


class RunReport(_Part):
    """What a run did."""

    run_id: str
    outcome: Outcome
    exit_code: int
    as_of: str
    policy: str = ""
    """Names the business numbers."""
    version: str = ""
    """Of Martwright."""
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
    """Where the data docs are."""
    months_rolled_up: tuple[str, ...] = ()
    months: int = 0
    """Months with any line up to as_of."""
    unknown: dict[str, int] = {}
    """Lines whose customer, sales person or store has no dimension row."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Why the numbers are as they are, where nothing is wrong."""
    submission: str = ""
    """Submission id of the Ray job that it ran in, if somebody submitted one."""
    audit: str = ""
    """Hash of the last entry of the audit trail when the run began."""
    figures: Figures = Figures()
    """What is in the marts that this run made live, or found right; written down without the names of people."""
    unusual: tuple[UnusualMonth, ...] = ()
    held_back: str = ""
    """Why new marts were not published, although they differ from the live ones: somebody went back."""
    seconds: dict[str, float] = {}
    """Per step."""
    fall: FallReport | None = None
    """How the total up to the last publication's as_of changed, if it was known."""
    error: Problem | None = None

    @property
    def left_out(self) -> dict[str, int]:
        """Return how many drops are left out of the marts, by why."""
        counts = Counter(drop.state for drop in self.drops)
        return {state: counts[state] for state in LEFT_OUT if counts[state]}

    @property
    def words(self) -> str:
        """Return how it ended in words: the outcome, and what the marts are without."""
        left_out = [f"{count:,} drop{'' if count == 1 else 's'} {why}" for why, count in self.left_out.items()]
        return ", ".join([self.outcome, *(() if self.error else left_out)])

    @property
    def level(self) -> Literal["passed", "warned", "failed"]:
        """Return how well it ended: warned if it goes on, or published without some of the drops."""
        if self.error or self.outcome in ("failed", "unknown"):
            return "failed"
        return "warned" if self.outcome == "running" or self.exit_code or self.left_out else "passed"
