"""Records of a target: the ledger, notices, the audit trail."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from jobs.ports.audit import AuditEntry, AuditEvent
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
    RunRecord,
    Seal,
)
from marts.pack import PersonId


class Ledger(Protocol):
    """Records of drops, runs, publications and decisions, and the fence that controls who may publish."""

    def lock(self, seconds: int) -> AbstractContextManager[None]:
        """Hold the build lock. Raise TryLater if another build holds it for ``seconds``."""

    def begin(self, run: RunRecord) -> None:
        """Record the start of a run and fence off all runs that began before."""

    def fail(self, run: RunRecord, news: NoticeChanges = NO_NEWS) -> str:
        """Record the end of a run that did not publish, and its notices.

        Return its outcome in the ledger: it may have published.
        """

    def write_end(self, run: RunRecord) -> None:
        """Update the end and the report of a run that is already recorded."""

    def disown(self, run: RunRecord, news: NoticeChanges = NO_NEWS) -> str:
        """Record a published run as failed: readers see something else; the next run publishes again."""

    def drops(self) -> list[DropRecord]:
        """Return the records of all drops; empty if the target is new."""

    def history(self, key: str, limit: int) -> list[DropEvent]:
        """Return the events of drops whose key ends with ``key``, newest first."""

    def changes(self, since: str, until: str) -> list[DropEvent]:
        """Return all events up to ``until`` of the drops that have any after ``since``, oldest first."""

    def withdrawn(self, since: str, reasons: Collection[str]) -> list[DropEvent]:
        """Return all events since a time, oldest first, of contents that were withdrawn for one of the reasons."""

    def runs(self, limit: int) -> list[RunRecord]:
        """Return the last runs, newest first."""

    def last_change(self) -> str:
        """Return a text that changes with each publication and each end of a run, by one statement."""

    def runs_named(self, names: Collection[str]) -> list[RunRecord]:
        """Return the records of some runs."""

    def live(self) -> dict[str, Generation]:
        """Return the generations that readers see, by mart."""

    def generations(self) -> dict[int, Generation]:
        """Return all generations that were ever live, by number; rows exist for the last two publications."""

    def publications(self, limit: int) -> list[list[Publication]]:
        """Return the last publications, newest first, each with its marts."""

    def kept_generations(self) -> set[int]:
        """Return the numbers of the live generations and those of the last two publications: their rows are kept."""

    def built(self) -> list[Publication]:
        """Return the newest publication by a build; a rollback may have followed."""

    def quality(self, limit: int) -> list[QualityRecord]:
        """Return the quality records of the last deliveries, newest first; at most ``limit`` records."""

    def decisions(self) -> list[Decision]:
        """Return all decisions, oldest first."""

    def decide(self, decision: Decision) -> None:
        """Record a decision in the ledger and the audit trail; the next build applies it."""

    def take_over(self, run_id: str) -> None:
        """Fence off all runs that have begun."""

    def check_fence(self, run_id: str) -> None:
        """Raise Fenced if another run, or a rollback, has taken the right to publish."""


class Trust(Protocol):
    """Audit trail, erased people, and the sealed files of credentials in use."""

    def seals(self) -> list[Seal]:
        """Return the sealed files of credentials that were used with this target."""

    def remember_seal(self, seal: Seal, event: AuditEvent | None = None) -> None:
        """Record the revision of a sealed file; with an audit event, as the only valid one."""

    def audit(self) -> list[AuditEntry]:
        """Return the audit trail, oldest first."""

    def audit_end(self) -> AuditEntry | None:
        """Return the last entry of the audit trail."""

    def erasures(self) -> list[Erasure]:
        """Return the erased people; the first entry is the salt of their digests."""

    def erase(self, erasures: Sequence[Erasure], customer: PersonId, event: AuditEvent) -> int:
        """Record that a customer is erased and remove their rows from every generation. Return the number of rows."""

    def rewrite(self, table: str, column: str, change: Callable[[str], str]) -> int:
        """Change a text column of the ledger in all rows. Return the number of changed rows."""


class NoticeBox(Outbox, Protocol):
    """Notices and their deliveries."""

    def last_notices(self, limit: int) -> list[Notice]:
        """Return the last raised notices, newest first."""
