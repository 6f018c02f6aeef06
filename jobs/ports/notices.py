"""Raised notices and their deliveries: kept until all recipients have got them.

A notice is about one or more named topics: a cause of failure, a held drop. While it is open, its topics are not
announced again, so that a re-run does not repeat it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from pydantic import TypeAdapter

DeliveryState = Literal["pending", "sending", "sent", "given up"]
_ORDER: tuple[DeliveryState, ...] = ("pending", "sending", "given up", "sent")
LEASE = timedelta(minutes=10)
"""Time after which another process takes over a delivery whose process was killed."""


@dataclass(frozen=True)
class NoticeDelivery:
    """Delivery of one notice to one address."""

    state: DeliveryState = "pending"
    at: str = ""
    """Time of the last change."""
    tries: int = 0
    error: str = ""
    """Error of the last try."""


@dataclass(frozen=True)
class Notice:
    """A notification about a run."""

    notice_id: str
    event: str
    level: Literal["failure", "warning", "success", "info"]
    raised_at: str
    run_id: str
    subject: str
    body: str
    about: tuple[str, ...] = ()
    deliveries: Mapping[str, NoticeDelivery] = field(default_factory=dict)
    """By name of the address."""
    scope: str = ""
    """The mart, if the run builds only one: a successful run of the other does not close its failure."""
    closed_at: str = ""
    """Time since when its topics may be announced again."""
    files: tuple[str, ...] = ()
    """Files that are attached, in the folder of the reports."""

    @property
    def unsent(self) -> tuple[str, ...]:
        return tuple(name for name, item in self.deliveries.items() if item.state in ("pending", "sending"))

    @property
    def done(self) -> bool:
        """Return whether it is closed and no delivery is pending."""
        return bool(self.closed_at) and not self.unsent

    def as_json(self) -> str:
        return _NOTICE.dump_json(self).decode()

    @classmethod
    def of_json(cls, text: str | bytes) -> "Notice":
        return _NOTICE.validate_json(text)


_NOTICE = TypeAdapter(Notice)
NoticeUpdate = Callable[[Notice | None], Notice | None]
"""Maps a notice, or None if there is none, to its new value; None changes nothing."""


class Outbox(Protocol):
    """Storage of notices."""

    def notices(self) -> list[Notice]:
        """Return the notices that are open or not sent to all, oldest first."""

    def change_notice(self, notice_id: str, change: NoticeUpdate) -> Notice | None:
        """Change a notice atomically. Return its new value, or None if nothing was changed."""


def announced_topics(notices: Iterable[Notice]) -> set[str]:
    """Return the topics of open notices."""
    return {item for notice in notices if not notice.closed_at for item in notice.about}


def unless_known(known: Notice | None, new: Notice) -> Notice | None:
    """Return the new notice, or None if it exists already."""
    return None if known else new


def merged(known: Notice | None, other: Notice) -> Notice | None:
    """Merge two copies of a notice: of each delivery, the one that is more advanced."""
    if known is None:
        return other
    further = {
        name: max(known.deliveries.get(name, item), item, key=lambda d: (_ORDER.index(d.state), d.at))
        for name, item in other.deliveries.items()
    }
    return replace(known, deliveries={**known.deliveries, **further})


def claimed(notice: Notice | None, name: str, now: datetime) -> Notice | None:
    """Claim a delivery for this process, unless another process has it."""
    delivery = notice.deliveries.get(name) if notice else None
    if notice is None or delivery is None or name not in notice.unsent:
        return None
    if delivery.state == "sending" and abs(now - datetime.fromisoformat(delivery.at)) < LEASE:
        return None
    return _with(notice, name, replace(delivery, state="sending", at=now.isoformat(), tries=delivery.tries + 1))


def settled(notice: Notice | None, name: str, now: datetime, error: str, keep: timedelta) -> Notice | None:
    """Record the result of a delivery. One that has failed for ``keep`` is given up."""
    if notice is None or name not in notice.deliveries:
        return None
    old = datetime.fromisoformat(notice.raised_at) <= now - keep
    state: DeliveryState = "sent" if not error else "given up" if old else "pending"
    return _with(notice, name, replace(notice.deliveries[name], state=state, at=now.isoformat(), error=error))


def closed(notice: Notice | None, now: str) -> Notice | None:
    """Return the closed notice: its topics are over."""
    return replace(notice, closed_at=notice.closed_at or now) if notice else None


def _with(notice: Notice, name: str, delivery: NoticeDelivery) -> Notice:
    return replace(notice, deliveries={**notice.deliveries, name: delivery})
