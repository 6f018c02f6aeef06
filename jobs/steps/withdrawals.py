"""Drops whose objects were removed: which are withdrawn, which still count, which need a decision.

A lifecycle rule of a bucket, an archiving job and a mistake look the same: an object is missing. Above a few, nothing
is withdrawn until the withdrawal is accepted.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from jobs.ports.records import Decision, DropEvent, DropRecord
from jobs.report.run_report import DropState
from marts.pack import Pack

Mode = Literal["ask", "apply", "keep"]
ACCEPT, REFUSE = "accept withdrawal", "refuse withdrawal"
"""Actions of decisions."""
VANISHED = "it vanished from the source"
"""Reason of a withdrawal without a decision; the ledger counts these."""
LEFT = "it vanished from the source, and did not count"
"""Reason of removing a drop that was rejected, held, a duplicate or without rows: no line leaves the marts."""
ACCEPTED = f"{VANISHED}, and its withdrawal was accepted"
TAKEN_BACK = (VANISHED, ACCEPTED)
"""Reasons for which a drop left the marts."""
WAITING = "its object is gone: `marts withdraw` decides; until then it counts"
KEPT_ON = "its object is gone: it counts on"
WEIGHED = (*TAKEN_BACK, WAITING)
"""Reasons of events that affect later withdrawals."""
_IN_THE_MARTS_OR_NOT = ("live", "duplicate", "withdrawn")
"""States that show whether the rows of a content are in the marts; held and rejected drops change nothing."""
DROPS, SHARE, DAYS = 3, 0.05, 90
"""Drops, share of the live lines, and days: limits of withdrawals without a decision."""


@dataclass(frozen=True)
class Withdrawals:
    """Decisions and limits for drops whose objects were removed."""

    mode: Mode = "ask"
    accepted: frozenset[str] = frozenset()
    """Deliveries whose withdrawal was accepted."""
    refused: frozenset[str] = frozenset()
    recent: tuple[int, int] = (0, 0)
    """Drops withdrawn without a decision in the last DAYS days, and their clean lines."""
    live: int = 0
    """Clean lines of the drops that were live before this run, of kinds of which every drop counts."""

    def decide(self, removed: Sequence[DropRecord]) -> dict[str, tuple[DropState, str]]:
        """Return state and reason of each drop whose object was removed."""
        with_rows = [record for record in removed if _has_rows(record)]
        asked = [record for record in with_rows if record.delivery_id not in self.accepted | self.refused]
        drops = self.recent[0] + len(asked)
        lines = self.recent[1] + sum(record.clean for record in asked)
        few = drops <= DROPS and lines <= SHARE * (self.live + self.recent[1])
        unasked: dict[Mode, tuple[DropState, str]] = {
            "apply": ("withdrawn", VANISHED),
            "keep": ("live", KEPT_ON),
            "ask": ("withdrawn", VANISHED) if few else ("missing", WAITING),
        }
        decided = {record.delivery_id: unasked[self.mode] for record in removed}
        if self.mode == "ask":  # a pending decision stays pending, even if few drops are missing now
            decided |= {record.delivery_id: ("missing", WAITING) for record in removed if record.asked}
        for record in removed:
            if record.delivery_id in self.accepted:
                decided[record.delivery_id] = ("withdrawn", ACCEPTED)
            elif record.delivery_id in self.refused:
                decided[record.delivery_id] = ("live", KEPT_ON)
        return decided | {record.delivery_id: ("withdrawn", LEFT) for record in removed if not _has_rows(record)}


def withdrawals_of(
    mode: Mode,
    decisions: Iterable[Decision],
    events: Iterable[DropEvent],
    ledger: Iterable[DropRecord],
    past: str,
    pack: Pack,
) -> Withdrawals:
    """Read the decisions, and the withdrawals since ``past``, a timestamp in the format of the ledger.

    A drop that came back does not count, whatever its state then. An acceptance is valid for one withdrawal and until
    it is older than ``past``: a drop that comes back and vanishes again needs a new decision.
    """
    events = list(events)
    # An acceptance ends when the drop is withdrawn, and when its object comes back.
    ended = {event.delivery_id: event.recorded_at for event in events if _ends_acceptance(event)}
    last_word = _last_words(decisions)
    last_event = {
        event.content or event.delivery_id: event
        for event in events
        if pack.accumulates(event.kind) and event.state in _IN_THE_MARTS_OR_NOT and event.reason != LEFT
    }
    unasked = [event for event in last_event.values() if event.reason == VANISHED]
    return Withdrawals(
        mode,
        frozenset(
            name
            for name, item in last_word.items()
            if item.action == ACCEPT and item.decided_at > max(past, ended.get(name, ""))
        ),
        frozenset(name for name, item in last_word.items() if item.action == REFUSE),
        (len(unasked), sum(event.clean for event in unasked)),
        sum(record.clean for record in ledger if record.state == "live" and pack.accumulates(record.kind)),
    )


def why_left(record: DropRecord) -> str:
    """Return the reason of withdrawing a drop whose object was removed, without a decision."""
    return VANISHED if record.state == "live" and _has_rows(record) else LEFT


def _has_rows(record: DropRecord) -> bool:
    """Return whether a drop has a row that could count: without one, its withdrawal removes nothing."""
    return bool(record.clean or record.duplicates)


def refused_by(decisions: Iterable[Decision]) -> set[str]:
    """Return the deliveries whose withdrawal was refused: they still count without their objects."""
    return {name for name, item in _last_words(decisions).items() if item.action == REFUSE}


def counts_on(record: DropRecord, refused: Container[str]) -> bool:
    """Return whether a drop counts without its object by a decision: a later object of its name is another drop."""
    return record.kept or (record.asked and record.delivery_id in refused)


def _last_words(decisions: Iterable[Decision]) -> dict[str, Decision]:
    return {item.delivery_id: item for item in decisions if item.action in (ACCEPT, REFUSE)}


def _ends_acceptance(event: DropEvent) -> bool:
    is_there = event.state in ("live", "duplicate") and not event.gone
    return is_there or event.reason == ACCEPTED


def since(now: datetime) -> str:
    """Return the time from which withdrawals count, in the format of the ledger."""
    return (now - timedelta(days=DAYS)).isoformat()
