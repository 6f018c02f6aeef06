"""What a target remembers: the ledger, notices, the audit trail."""

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


class Ledger(Protocol):
    """What a target remembers of drops, runs, publications and decisions, and who may publish."""

    def lock(self, seconds: int) -> AbstractContextManager[None]:
        """Hold the right to build. Raises TryLater if another build has it for so long."""

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
        """Return the records of all drops; nothing if the target is new."""

    def history(self, key: str, limit: int) -> list[DropEvent]:
        """Return what runs made of drops whose key ends with ``key``, newest first."""

    def withdrawn(self, since: str, reasons: Collection[str]) -> list[DropEvent]:
        """Return all events since a moment of contents that were withdrawn for a reason, oldest first."""

    def runs(self, limit: int) -> list[RunRecord]:
        """Return the last runs, newest first."""

    def runs_named(self, names: Collection[str]) -> list[RunRecord]:
        """Return the records of some runs."""

    def live(self) -> dict[str, Generation]:
        """Return what readers see, by mart."""

    def generations(self) -> dict[int, Generation]:
        """Return all that were ever live, by number; the rows of the last two publications are there."""

    def publications(self, limit: int) -> list[list[Publication]]:
        """Return the last publications, newest first, each with its marts."""

    def kept_generations(self) -> set[int]:
        """Return the names of the generations of the last two publications, and what is live: their rows stay."""

    def built(self) -> list[Publication]:
        """Return the newest publication that a build made; since then somebody may have gone back."""

    def quality(self, limit: int) -> list[QualityRecord]:
        """Return what was measured of the last deliveries, newest first; at most ``limit`` records."""

    def decisions(self) -> list[Decision]:
        """Return all decisions, oldest first."""

    def decide(self, decision: Decision) -> None:
        """Remember a decision, and note it in the audit trail; the next build follows it."""

    def take_over(self, run_id: str) -> None:
        """Take the right to publish from all runs that have begun."""

    def check_fence(self, run_id: str) -> None:
        """Raise Fenced if another run, or a rollback, has taken the right to publish."""


class Trust(Protocol):
    """The audit trail, erased people, and the sealed files of credentials that were used."""

    def seals(self) -> list[Seal]:
        """Return the sealed files of credentials that were used with this target."""

    def remember_seal(self, seal: Seal, event: AuditEvent | None = None) -> None:
        """Remember the revision of a sealed file; with an audit event, as the only valid one."""

    def audit(self) -> list[AuditEntry]:
        """Return the audit trail, oldest first."""

    def audit_end(self) -> AuditEntry | None:
        """Return the last entry of the audit trail."""

    def erasures(self) -> list[Erasure]:
        """Return the people who were erased, and first the salt of their digests."""

    def erase(self, erasures: Sequence[Erasure], customer: int, event: AuditEvent) -> int:
        """Remember that a customer is erased, and remove the rows of every generation. Returns how many rows."""

    def rewrite(self, table: str, column: str, change: Callable[[str], str]) -> int:
        """Change a text of the ledger in all its rows. Returns how many it changed."""


class NoticeBox(Outbox, Protocol):
    """Notices, and who got them."""

    def last_notices(self, limit: int) -> list[Notice]:
        """Return the last notices that were raised, newest first."""
