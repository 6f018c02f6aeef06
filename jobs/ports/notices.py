"""Notices that were raised, and what became of each: kept until all who should have one got it.

A notice is about one or more things, each with a name: a cause of failure, a drop that is held. While it is open,
nothing is told again of what it is about; that is how a re-run does not repeat it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from pydantic import TypeAdapter

DeliveryState = Literal["pending", "sending", "sent", "given up"]
_ORDER: tuple[DeliveryState, ...] = ("pending", "sending", "given up", "sent")
LEASE = timedelta(minutes=10)
"""After it, a delivery whose process was killed is made by another."""


@dataclass(frozen=True)
class NoticeDelivery:
    """One notice for one address."""

    state: DeliveryState = "pending"
    at: str = ""
    """Of the last change."""
    tries: int = 0
    error: str = ""
    """Of the last try."""


@dataclass(frozen=True)
class Notice:
    """What people are told of a run."""

    notice_id: str
    event: str
    level: Literal["failure", "warning", "success", "info"]
    raised_at: str
    run_id: str
    subject: str
    body: str
    about: tuple[str, ...] = ()
    deliveries: Mapping[str, NoticeDelivery] = field(default_factory=dict)
    """By the name of the address."""
    scope: str = ""
    """The mart, if the run was to build only one: a good run of the other does not end its failure."""
    closed_at: str = ""
    """Since then, what it is about may be told again."""

    @property
    def unsent(self) -> tuple[str, ...]:
        return tuple(name for name, item in self.deliveries.items() if item.state in ("pending", "sending"))

    @property
    def done(self) -> bool:
        """Nobody needs it any more."""
        return bool(self.closed_at) and not self.unsent

    def as_json(self) -> str:
        return _NOTICE.dump_json(self).decode()

    @classmethod
    def of_json(cls, text: str | bytes) -> "Notice":
        return _NOTICE.validate_json(text)


_NOTICE = TypeAdapter(Notice)
NoticeUpdate = Callable[[Notice | None], Notice | None]
"""Makes of a notice, or of none, what it is from now on; None changes nothing."""


class Outbox(Protocol):
    """Where notices are kept."""

    def notices(self) -> list[Notice]:
        """Return those that are open or not sent to all, oldest first."""

    def change_notice(self, notice_id: str, change: NoticeUpdate) -> Notice | None:
        """Change one, while nobody else does. Returns what it is then, or None if nothing was changed."""


def announced_topics(notices: Iterable[Notice]) -> set[str]:
    """Return a name for what people have been told, and is not over."""
    return {item for notice in notices if not notice.closed_at for item in notice.about}


def unless_known(known: Notice | None, new: Notice) -> Notice | None:
    """Add a notice, unless it is there."""
    return None if known else new


def merged(known: Notice | None, other: Notice) -> Notice | None:
    """Put two copies of a notice together: of each delivery, the one that went further."""
    if known is None:
        return other
    further = {
        name: max(known.deliveries.get(name, item), item, key=lambda d: (_ORDER.index(d.state), d.at))
        for name, item in other.deliveries.items()
    }
    return replace(known, deliveries={**known.deliveries, **further})


def claimed(notice: Notice | None, name: str, now: datetime) -> Notice | None:
    """Take a delivery upon us, unless somebody else has it."""
    delivery = notice.deliveries.get(name) if notice else None
    if notice is None or delivery is None or name not in notice.unsent:
        return None
    if delivery.state == "sending" and abs(now - datetime.fromisoformat(delivery.at)) < LEASE:
        return None
    return _with(notice, name, replace(delivery, state="sending", at=now.isoformat(), tries=delivery.tries + 1))


def settled(notice: Notice | None, name: str, now: datetime, error: str, keep: timedelta) -> Notice | None:
    """Note how a delivery went. One that has failed for so long is given up."""
    if notice is None or name not in notice.deliveries:
        return None
    old = datetime.fromisoformat(notice.raised_at) <= now - keep
    state: DeliveryState = "sent" if not error else "given up" if old else "pending"
    return _with(notice, name, replace(notice.deliveries[name], state=state, at=now.isoformat(), error=error))


def closed(notice: Notice | None, now: str) -> Notice | None:
    """Describe that what a notice is about is over."""
    return replace(notice, closed_at=notice.closed_at or now) if notice else None


def _with(notice: Notice, name: str, delivery: NoticeDelivery) -> Notice:
    return replace(notice, deliveries={**notice.deliveries, name: delivery})
