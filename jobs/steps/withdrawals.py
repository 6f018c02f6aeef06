"""Drops whose objects are gone: what is taken back, what counts on, and what people are asked.

A bucket's lifecycle, a job that archives, and a mistake all look the same: an object that was there is not. Above a
few, nothing is taken back until somebody says so.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from jobs.ports.records import Decision, DropEvent, DropRecord
from jobs.report.run_report import DropState
from marts.schema import SALES

Mode = Literal["ask", "apply", "keep"]
ACCEPT, REFUSE = "accept withdrawal", "refuse withdrawal"
"""Actions of decisions."""
VANISHED = "it vanished from the source"
"""Why a drop was taken back; the ledger counts those that nobody was asked about."""
LEFT = "it vanished from the source, and did not count"
"""Why a drop is forgotten that was rejected, held, a duplicate or without a row: nothing was taken back."""
ACCEPTED = f"{VANISHED}, and its withdrawal was accepted"
TAKEN_BACK = (VANISHED, ACCEPTED)
"""Why a drop left the marts."""
WAITING = "its object is gone: `marts withdraw` decides; until then it counts"
KEPT_ON = "its object is gone: it counts on"
WEIGHED = (*TAKEN_BACK, WAITING)
"""Reasons of events that decide about later withdrawals."""
_IN_THE_MARTS_OR_NOT = ("live", "duplicate", "withdrawn")
"""States that say whether the rows of a content are in the marts; a drop that is held or rejected changes nothing."""
DROPS, SHARE, DAYS = 3, 0.05, 90
"""So many drops, and such a share of the live lines, may be taken back unasked within so many days."""


@dataclass(frozen=True)
class Withdrawals:
    """What is decided about drops whose objects are gone."""

    mode: Mode = "ask"
    accepted: frozenset[str] = frozenset()
    """Deliveries that may be taken back."""
    refused: frozenset[str] = frozenset()
    recent: tuple[int, int] = (0, 0)
    """Drops, and their clean lines, that were taken back unasked in the last days."""
    live: int = 0
    """Clean lines of the sales drops that were live before this run."""

    def decide(self, removed: Sequence[DropRecord]) -> dict[str, tuple[DropState, str]]:
        """Return state and reason of each sales drop whose object is gone."""
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
        if self.mode == "ask":  # whoever was asked decides, however many drops are gone by now
            decided |= {record.delivery_id: ("missing", WAITING) for record in removed if record.asked}
        for record in removed:
            if record.delivery_id in self.accepted:
                decided[record.delivery_id] = ("withdrawn", ACCEPTED)
            elif record.delivery_id in self.refused:
                decided[record.delivery_id] = ("live", KEPT_ON)
        return decided | {record.delivery_id: ("withdrawn", LEFT) for record in removed if not _has_rows(record)}


def withdrawals_of(
    mode: Mode, decisions: Iterable[Decision], events: Iterable[DropEvent], ledger: Iterable[DropRecord], past: str
) -> Withdrawals:
    """Read what was decided, and what was taken back since ``past``, a moment as the ledger writes it.

    A drop that came back does not count, whatever became of it then. A decision to take a drop back is good for one
    withdrawal, and as long as withdrawals are weighed: what comes back and vanishes again is asked about again.
    """
    events = list(events)
    # An acceptance ends when the drop is taken back, and when its object comes back.
    ended = {event.delivery_id: event.recorded_at for event in events if _ends_acceptance(event)}
    last_word = _last_words(decisions)
    last_event = {
        event.content or event.delivery_id: event
        for event in events
        if event.kind == SALES.name and event.state in _IN_THE_MARTS_OR_NOT and event.reason != LEFT
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
        sum(record.clean for record in ledger if record.state == "live" and record.kind == SALES.name),
    )


def why_left(record: DropRecord) -> str:
    """Return why a drop leaves the ledger whose object is gone, and about which nobody was asked."""
    return VANISHED if record.state == "live" and _has_rows(record) else LEFT


def _has_rows(record: DropRecord) -> bool:
    """Return whether a drop has a row that could count: without one, its withdrawal takes nothing back."""
    return bool(record.clean or record.duplicates)


def refused_by(decisions: Iterable[Decision]) -> set[str]:
    """Return the deliveries that are to count on although their objects are gone."""
    return {name for name, item in _last_words(decisions).items() if item.action == REFUSE}


def counts_on(record: DropRecord, refused: Container[str]) -> bool:
    """Return whether a drop whose object is gone counts on by a decision: what has its name later is another drop."""
    return record.kept or (record.asked and record.delivery_id in refused)


def _last_words(decisions: Iterable[Decision]) -> dict[str, Decision]:
    return {item.delivery_id: item for item in decisions if item.action in (ACCEPT, REFUSE)}


def _ends_acceptance(event: DropEvent) -> bool:
    is_there = event.state in ("live", "duplicate") and not event.gone
    return is_there or event.reason == ACCEPTED


def since(now: datetime) -> str:
    """Return the moment from which drops that were taken back count, as the ledger writes it."""
    return (now - timedelta(days=DAYS)).isoformat()
