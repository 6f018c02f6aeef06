"""What a target must do: hold the marts, the ledger and the notices."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pyarrow as pa

from jobs.ports.audit import AuditEntry, Deed
from jobs.ports.notices import Notice, Outbox
from jobs.ports.records import (
    NO_NEWS,
    Decision,
    DropEvent,
    DropRecord,
    Erasure,
    Generation,
    NoticeChanges,
    Publication,
    QualityRecord,
    Rollback,
    RunRecord,
    Seal,
    Staged,
)
from marts.schema import Mart


class Warehouse(Outbox, Protocol):
    """A target: it holds the marts, the ledger and the notices."""

    loaders: int
    """How many processes may load at the same time; 0 if only this one may."""
    judged_by_sql: bool
    """Great Expectations speaks its SQL; if not, rows are measured as those of drops are."""

    def close(self) -> None: ...

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; give its rows."""

    def lock(self, seconds: int) -> AbstractContextManager[None]:
        """Hold the right to build. Raises TryLater if another build has it for so long."""

    def prepare(self) -> None:
        """Create our tables and views where they are missing."""

    def begin(self, run: RunRecord) -> None:
        """Write that a run begins, and take the right to publish from all that began before."""

    def fail(self, run: RunRecord, news: NoticeChanges = NO_NEWS) -> str:
        """Write how a run ended that did not publish, and what people are to hear of it.

        Gives its outcome in the ledger: it may have published.
        """

    def write_end(self, run: RunRecord) -> None:
        """Write when a run that is recorded already did all, and its report of that."""

    def disown(self, run: RunRecord, news: NoticeChanges = NO_NEWS) -> str:
        """Write that a run failed although it has published: readers see something else; the next publishes anew."""

    def drops(self) -> list[DropRecord]:
        """Give the records of all drops; nothing if the target is new."""

    def history(self, key: str, limit: int) -> list[DropEvent]:
        """Give what runs made of drops whose key ends with ``key``, newest first."""

    def withdrawn(self, since: str, reasons: Collection[str]) -> list[DropEvent]:
        """Return all events since a moment of contents that were withdrawn for a reason, oldest first."""

    def runs(self, limit: int) -> list[RunRecord]:
        """Give the last runs, newest first."""

    def runs_named(self, names: Collection[str]) -> list[RunRecord]:
        """Return the records of some runs."""

    def live(self) -> dict[str, Generation]:
        """Give what readers see, by mart."""

    def last_notices(self, limit: int) -> list[Notice]:
        """Give the last notices that were raised, newest first."""

    def generations(self) -> dict[int, Generation]:
        """Give all that were ever live, by number; the rows of the last two publications are there."""

    def publications(self, limit: int) -> list[list[Publication]]:
        """Give the last publications, newest first, each with its marts."""

    def kept_generations(self) -> set[int]:
        """Name the generations of the last two publications, and what is live: their rows stay."""

    def built(self) -> list[Publication]:
        """Give the newest publication that a build made; since then somebody may have gone back."""

    def rollback(self, by: Rollback) -> list[Generation]:
        """Make the publication before the live one live again, and keep runs that have begun from publishing.

        Gives what is live then.
        """

    def quality(self, limit: int) -> list[QualityRecord]:
        """Give what was measured of the last deliveries, newest first; at most ``limit`` records."""

    def decisions(self) -> list[Decision]:
        """Give all decisions, oldest first."""

    def decide(self, decision: Decision) -> None:
        """Remember a decision, and note it in the audit trail; the next build follows it."""

    def seals(self) -> list[Seal]:
        """Give the sealed files of credentials that were used with this target."""

    def remember_seal(self, seal: Seal, deed: Deed | None = None) -> None:
        """Remember the revision of a sealed file; with a deed, as the only right one."""

    def audit(self) -> list[AuditEntry]:
        """Give the audit trail, oldest first."""

    def audit_end(self) -> AuditEntry | None:
        """Give the last entry of the audit trail."""

    def erasures(self) -> list[Erasure]:
        """Give the people who were erased, and first the salt of their digests."""

    def erase(self, erasures: Sequence[Erasure], customer: int, deed: Deed) -> int:
        """Remember that a customer is erased, and remove the rows of every generation. Gives how many rows."""

    def rewrite(self, table: str, column: str, change: Callable[[str], str]) -> int:
        """Change a text of the ledger in all its rows. Gives how many it changed."""

    def staged(self, mart: Mart, generation: int) -> AbstractContextManager[str]:
        """Give a name by which SQL can read a generation that no reader sees yet, with the mart's columns."""

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query of the user's. Raises UsageError if it is wrong."""

    def batches(self, table: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read some columns of a table by parts."""

    def connect(self) -> Any:
        """Open another connection, for a library that speaks SQL to the target."""

    def stage(self, mart: Mart) -> int:
        """Make an empty generation that no reader sees; give its number."""

    def load(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        """Add rows to a staged generation; adding them again does no harm."""

    def count(self, mart: Mart, generation: int) -> int:
        """Count the rows of a generation, and check that its keys are unique."""

    def take_over(self, run_id: str) -> None:
        """Take the right to publish from all runs that have begun."""

    def check_fence(self, run_id: str) -> None:
        """Raise Fenced if another run, or a rollback, has taken the right to publish."""

    def publish(
        self,
        staged: Sequence[Staged],
        drops: Iterable[DropRecord],
        run: RunRecord,
        quality: Sequence[QualityRecord] = (),
        news: NoticeChanges = NO_NEWS,
    ) -> None:
        """Make generations live (none, if nothing changed), and write ledger, notices and the run's end; or nothing.

        Raises Fenced if the run has lost the right to do so.
        """

    def clean_up(self, run_id: str) -> None:
        """Remove the rows of all generations but those of the last two publications. Blocks no reader.

        Raises Fenced if the run has lost the right to publish: what it takes for waste may be live by now.
        """

    def diagnose(self) -> list[tuple[str, bool, str]]:
        """Check versions and rights: (what, fine, what was seen or is to do)."""
