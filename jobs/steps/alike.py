"""Hold drops that repeat the same days without transaction ids: of two, one is held until a decision."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from jobs.steps.contents import ALIKE, ALIKE_FROM
from jobs.steps.resolve import Resolved, ResolvedDrop


@dataclass(frozen=True)
class Shared:
    """Number of equal lines without an id in two drops; a repeated line counts as often as both contain it."""

    lines: Mapping[frozenset[str], int]
    """By the origins of the two drops."""

    def of(self, item: ResolvedDrop, other: ResolvedDrop) -> int:
        return self.lines.get(frozenset((_origin(item), _origin(other))), 0)


def look_alike(resolved: Resolved, shared: Shared, live: Container[str], accepted: Container[str]) -> dict[str, str]:
    """Return the deliveries to hold, each with the reason: two drops share half of the lines of one of them.

    Of two drops, the one that was not live before is held, else the later one. ``live`` contains the deliveries and
    contents that counted before, ``accepted`` those released although they look alike: then both drops count.
    """
    if not shared.lines:
        return {}
    drops = sorted(resolved.live_fact_drops, key=lambda item: not _is_among(item, live))
    kept: list[ResolvedDrop] = []
    held: dict[str, str] = {}
    for drop in drops:
        was_live = _is_among(drop, live)
        others = (other for other in kept if not (was_live and _is_among(other, accepted)))
        reason = next((why for other in others if (why := _why(drop, other, shared.of(drop, other)))), "")
        if reason and not _is_among(drop, accepted):
            held[drop.drop.delivery.id] = reason
        else:
            kept.append(drop)
    return held


def _why(drop: ResolvedDrop, other: ResolvedDrop, lines: int) -> str:
    """Return why one of two drops looks like the other; empty if it does not."""
    for item in (drop, other):
        without = item.counts.without_transaction
        if without >= ALIKE_FROM and lines * 2 >= without:
            key = other.drop.delivery.key
            return f"{ALIKE}: {lines:,} of its lines without an id are also in {key}"
    return ""


def _is_among(item: ResolvedDrop, names: Container[str]) -> bool:
    """Return whether a set of deliveries and contents includes a drop."""
    return item.drop.delivery.id in names or item.drop.content in names


def _origin(item: ResolvedDrop) -> str:
    return item.drop.manifest.origin if item.drop.manifest else ""
