"""Records of the ledger: drops, runs, publications, decisions and notices."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from jobs.ports.notices import Notice
from marts.pack import Mart
from marts.privacy.erasure import Erased
from marts.subject import Subject
from marts.values import amount_of

KEPT, ASKED = "kept", "asked"
"""KEPT: it still counts by a decision or setting, without its name; ASKED: a decision is pending."""
_log = logging.getLogger("marts.ledger")


@dataclass(frozen=True)
class DropRecord:
    """One version of one drop and its state."""

    kind: str
    object_key: str
    delivery_id: str
    etag: str
    size: int
    modified: str
    state: str
    reason: str
    rows_read: int
    clean: int
    quarantined: int
    duplicates: int
    run_id: str
    """The run that last changed this record."""
    content: str = ""
    """Hash of its bytes, if they were read."""
    first_seen: str = ""
    """Earliest time of the objects with its content when a run first saw it: its place in the order."""
    first_key: str = ""
    """Name of that object."""
    repeated: int = 0
    """Lines that do not count because an equal line does."""
    replaced: int = 0
    """Lines that do not count because another line replaced them."""
    repeated_cents: int = 0
    replaced_cents: int = 0
    counted_cents: int = 0
    """Sum of its counted lines up to as_of of the run."""
    delivered_rows: str = ""
    """JSON about the rows of a drop that left the marts: they may be delivered again as other bytes."""
    gone: str = ""
    """Status of a live drop whose object was removed, independent of its reason: KEPT, ASKED, or both."""
    first_day: str = ""
    """First and last day of its clean rows, or of all if it does not count; empty if it has none, or if an earlier
    version wrote the record."""
    last_day: str = ""

    @property
    def kept(self) -> bool:
        """Return whether it has given up its name: a later object of that name is another drop."""
        return KEPT in self.gone

    @property
    def asked(self) -> bool:
        """Return whether a decision about it is pending."""
        return ASKED in self.gone

    def may_be_of(self, first: date, last: date) -> bool:
        """Return whether it may have rows of some days: it has, or its days are not known."""
        return not self.first_day or (self.first_day <= last.isoformat() and first.isoformat() <= self.last_day)

    @property
    def counted_total(self) -> Decimal:
        return amount_of(self.counted_cents)


@dataclass(frozen=True)
class DropEvent(DropRecord):
    """State of a drop after a run; an event is never changed."""

    recorded_at: str = ""


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    run_id: str
    started_at: str
    ended_at: str
    as_of_date: str
    outcome: str
    """running, published, unchanged, failed, unknown; or killed: it ended without recording its end."""
    exit_code: int
    error: str
    report: str
    """The whole RunReport as JSON."""
    policy: str = ""
    """Name of the policy."""
    version: str = ""
    """Version of Martwright."""


@dataclass(frozen=True)
class QualityRecord:
    """Number of rows of a delivery that break a rule, of those that the rule checks.

    Written for ROWS, and for each rule that some rows break or that does not check some of them.
    """

    delivery_id: str
    rule_id: str
    kind: str
    object_key: str
    modified: str
    rule: str
    """Rule in words."""
    severity: str
    row_count: int
    unexpected: int
    judged_by: str
    """Name of the rules that judged the delivery: shares are compared under the same rules only."""
    run_id: str


ROWS = "rows"
"""rule_id of the record of each judged delivery with its rows and those in quarantine."""


@dataclass(frozen=True)
class Decision:
    """A decision about a delivery, also recorded in the audit trail."""

    decision_id: str
    decided_at: str
    who: str
    action: str
    """accept: release a held drop; repair: replace quarantined rows; accept or refuse withdrawal: its object is
    missing; accept fall: of a run that did not publish."""
    kind: str
    object_key: str
    delivery_id: str
    why: str
    detail: str
    """JSON; for a repair, the new text of each line by its number in the file."""


@dataclass(frozen=True)
class Generation:
    """One version of a mart's rows; readers see the live one."""

    mart: str
    generation: int
    run_id: str
    as_of_date: str
    fingerprint: str
    """Name of the inputs of the rows."""
    row_count: int
    published_at: str
    inputs: str = ""
    """Name of the drops, the policy and the version that it was built with, without as_of."""
    base: int = 0
    """Generation as which its rows were loaded; later ones exchange some of them. 0 if it is this one."""
    earlier: int = 0
    """Generation with the same base that it was before some rows were exchanged; 0 if all rows were loaded."""

    @property
    def rows_of(self) -> int:
        """Return the number that its rows have in the target."""
        return self.base or self.generation


@dataclass(frozen=True)
class Publication:
    """One change of what readers see: the generation of one mart since then."""

    number: int
    mart: str
    generation: int
    run_id: str
    action: str
    """build or rollback."""
    who: str
    why: str
    published_at: str


@dataclass(frozen=True)
class Pointer:
    """Which rows of a mart readers see."""

    mart: str
    generation: int
    """Number under which the rows are stored."""
    run_id: str
    as_of_date: str


@dataclass(frozen=True)
class Rollback:
    """A rollback to the publication before: who and why."""

    run_id: str
    at: str
    who: str
    why: str


@dataclass(frozen=True)
class Staged:
    """A generation that is loaded and checked but not yet visible to readers."""

    mart: Mart
    generation: int
    fingerprint: str
    rows: int
    inputs: str
    over: Generation | None = None
    """The live generation, if only the rows that differ from it are loaded."""

    @property
    def rows_of(self) -> int:
        """Return the number that its rows have in the target."""
        return self.over.rows_of if self.over else self.generation


@dataclass(frozen=True)
class Seal:
    """Newest revision of a sealed file of credentials that was used with this target."""

    file_id: str
    fingerprint: str
    """Name of the lineage of the file, which only its keys open."""
    revision: int
    seen_at: str


@dataclass(frozen=True)
class Erasure:
    """An erased person, by a digest that lets builds recognize them, not by id."""

    number: int
    """From 1; 0 is the salt of all digests."""
    digest: str
    erased_at: str


@dataclass(frozen=True)
class NoticeRecord:
    """A stored notice, and whether it is done."""

    notice_id: str
    raised_at: str
    event: str
    run_id: str
    done: int
    notice: str
    """The whole Notice as JSON."""

    @classmethod
    def of(cls, notice: Notice) -> "NoticeRecord":
        """Return the record of a notice."""
        done, text = int(notice.done), notice.as_json()
        return cls(notice.notice_id, notice.raised_at, notice.event, notice.run_id, done, text)

    def read(self) -> Notice | None:
        """Return the notice; None if a newer version of Martwright wrote it or it is damaged."""
        try:
            return Notice.of_json(self.notice)
        except ValueError:
            _log.warning("cannot read notice %s; it is left unchanged", self.notice_id)
            return None


@dataclass(frozen=True)
class NoticeChanges:
    """The notices that a run raises, and the ids of those that it closes."""

    new: tuple[Notice, ...] = ()
    over: tuple[str, ...] = ()
    at: str = ""


NO_NEWS = NoticeChanges()


def erased_people(erasures: Sequence[Erasure], subject: Subject | None) -> Erased:
    """Return the erased people of a pack in the form that tasks use."""
    if not erasures or not subject:
        return Erased()
    numbers = {item.digest: item.number for item in erasures[1:]}
    return Erased(erasures[0].digest, numbers, subject.key, subject.has_text_ids)
