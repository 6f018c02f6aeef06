"""The audit trail: decisions of people, each entry chained to the one before by its hash."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

BEGIN = "0" * 64
"""Hash that the first entry is chained to."""


@dataclass(frozen=True)
class AuditEvent:
    """An action: who, when, on what and why."""

    entry_id: str
    noted_at: str
    """UTC, ISO 8601."""
    who: str
    action: str
    """rollback, trust, erase, or the action of a decision (accept, repair, …)."""
    subject: str
    why: str


@dataclass(frozen=True)
class AuditEntry(AuditEvent):
    """An audit event at its place in the chain."""

    number: int = 0
    """From 1, without gaps."""
    previous: str = ""
    """Hash of the entry before."""
    hash: str = ""
    """SHA-256 of all other fields, as JSON with sorted keys."""


def bound(event: AuditEvent, last: AuditEntry | None) -> AuditEntry:
    """Chain an event to the last entry."""
    number, previous = (last.number + 1, last.hash) if last else (1, BEGIN)
    entry = AuditEntry(**asdict(event), number=number, previous=previous)
    return replace(entry, hash=_hash(entry))


def broken(entries: Sequence[AuditEntry], heads: Sequence[str] = ()) -> str:
    """Return where a trail, oldest first, was tampered with; empty if it was not.

    ``heads`` are recorded hashes of earlier last entries: the trail must still contain them. Without them, entries that
    were cut off at the end cannot be detected.
    """
    previous = BEGIN
    for number, entry in enumerate(entries, 1):
        if entry.number != number:
            return f"entry {number} is missing"
        if entry.previous != previous or entry.hash != _hash(entry):
            return f"entry {number} or the one before it was changed"
        previous = entry.hash
    known = {BEGIN, *(entry.hash for entry in entries)}
    lost = [head for head in heads if head not in known]
    return f"entries after number {len(entries)} were cut off: no entry has hash {lost[0][:12]}…" if lost else ""


def _hash(entry: AuditEntry) -> str:
    fields = {name: value for name, value in asdict(entry).items() if name != "hash"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
