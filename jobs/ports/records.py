"""Records: what the ledger keeps of drops, runs, publications, decisions and people's notices."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from jobs.ports.notices import Notice
from marts.privacy.erasure import Erased
from marts.schema import Mart

KEPT, ASKED = "kept", "asked"
"""It counted on by a decision or setting, and has given its name away; people were asked, and have not decided."""
_log = logging.getLogger("marts.ledger")


@dataclass(frozen=True)
class DropRecord:
    """One version of one drop, and what became of it."""

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
    """The earliest time of the objects that held its content when a run first saw it: its place in the order."""
    first_key: str = ""
    """The name of that object."""
    repeated: int = 0
    """Lines that do not count since an equal one does."""
    replaced: int = 0
    """Lines that do not count since another one took their place."""
    repeated_cents: int = 0
    replaced_cents: int = 0
    counted_cents: int = 0
    """Sum of its lines that counted, up to as_of of the run."""
    delivered_rows: str = ""
    """What its rows are, as JSON, of a sales drop that left the marts: they may come again under other bytes."""
    gone: str = ""
    """What holds of a live drop whose object is gone, whatever its reason says: KEPT, ASKED, or both."""

    @property
    def kept(self) -> bool:
        """Return whether it has given its name away: an object that has it later is another drop."""
        return KEPT in self.gone

    @property
    def asked(self) -> bool:
        """Return whether people were asked about it, and have not decided."""
        return ASKED in self.gone

    @property
    def counted_total(self) -> Decimal:
        return Decimal(self.counted_cents).scaleb(-2)


@dataclass(frozen=True)
class DropEvent(DropRecord):
    """What a run made of a drop; nothing of this is ever changed."""

    recorded_at: str = ""


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    run_id: str
    started_at: str
    ended_at: str
    as_of_date: str
    outcome: str
    """running, published, unchanged, failed, unknown; or killed: it ended without a word."""
    exit_code: int
    error: str
    report: str
    """The whole RunReport as JSON."""
    policy: str = ""
    """Names the policy."""
    version: str = ""
    """Of Martwright."""


@dataclass(frozen=True)
class QualityRecord:
    """How many rows of a delivery break a rule, of those that it looks at.

    Written for ROWS, and for each rule that some rows break, or that does not look at some of them.
    """

    delivery_id: str
    rule_id: str
    kind: str
    object_key: str
    modified: str
    rule: str
    """In words."""
    severity: str
    row_count: int
    unexpected: int
    judged_by: str
    """Names the rules that the delivery was judged by: shares are compared under the same rules only."""
    run_id: str


ROWS = "rows"
"""The rule_id of the record that each judged delivery has: its rows, and those that are in quarantine."""


@dataclass(frozen=True)
class Decision:
    """What somebody decided about a delivery: the audit trail."""

    decision_id: str
    decided_at: str
    who: str
    action: str
    """accept: release it although it is held; repair: replace rows that are in quarantine; accept or refuse withdrawal:
    its object is gone; accept fall: of a run that did not publish."""
    kind: str
    object_key: str
    delivery_id: str
    why: str
    detail: str
    """For a repair, JSON: the new text of each line, by its number in the file."""


@dataclass(frozen=True)
class Generation:
    """One version of a mart's rows; readers see the live one."""

    mart: str
    generation: int
    run_id: str
    as_of_date: str
    fingerprint: str
    """Names what the rows were made from."""
    row_count: int
    published_at: str
    inputs: str = ""
    """Names the drops, the policy and the version that it was made with, whatever the day."""


@dataclass(frozen=True)
class Publication:
    """One moment at which what readers see was changed: the generation of one mart since then."""

    number: int
    mart: str
    generation: int
    run_id: str
    action: str
    """build, or rollback."""
    who: str
    why: str
    published_at: str


@dataclass(frozen=True)
class Rollback:
    """Who goes back to the publication before, and why."""

    run_id: str
    at: str
    who: str
    why: str


@dataclass(frozen=True)
class Staged:
    """A generation that is loaded and checked, but seen by no reader yet."""

    mart: Mart
    generation: int
    fingerprint: str
    rows: int
    inputs: str


@dataclass(frozen=True)
class Seal:
    """The newest revision of the sealed file of credentials that was used with this target."""

    file_id: str
    fingerprint: str
    """Names the lineage of the file, which only its keys open."""
    revision: int
    seen_at: str


@dataclass(frozen=True)
class Erasure:
    """A person who was erased: not who, but a digest by which builds know them again."""

    number: int
    """From 1; 0 is the salt of all digests."""
    digest: str
    erased_at: str


@dataclass(frozen=True)
class NoticeRecord:
    """A notice, and whether anything is left to do for it."""

    notice_id: str
    raised_at: str
    event: str
    run_id: str
    done: int
    notice: str
    """The whole Notice as JSON."""

    @classmethod
    def of(cls, notice: Notice) -> "NoticeRecord":
        """Write a notice down."""
        done, text = int(notice.done), notice.as_json()
        return cls(notice.notice_id, notice.raised_at, notice.event, notice.run_id, done, text)

    def read(self) -> Notice | None:
        """Read it again; nothing if it is of a newer version of ours, or damaged."""
        try:
            return Notice.of_json(self.notice)
        except ValueError:
            _log.warning("notice %s cannot be read, and is left alone", self.notice_id)
            return None


@dataclass(frozen=True)
class NoticeChanges:
    """The notices that a run raises, and those whose matter is over."""

    new: tuple[Notice, ...] = ()
    over: tuple[str, ...] = ()
    at: str = ""


NO_NEWS = NoticeChanges()


def erased_people(erasures: Sequence[Erasure]) -> Erased:
    """Return those who were erased, as tasks know them."""
    if not erasures:
        return Erased()
    return Erased(erasures[0].digest, {item.digest: item.number for item in erasures[1:]})
