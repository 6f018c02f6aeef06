"""Object store: drops are only read, the state is read and written."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pyarrow as pa

Item = TypeVar("Item")
Result = TypeVar("Result")
REQUESTS_AT_ONCE = 16
"""Requests that one process sends to a store at the same time."""
READS_AT_ONCE = 4
"""Files of many rows that one task reads at the same time: each takes memory until its own rows are chosen."""
_of_thread = threading.local()


def at_once(function: Callable[[Item], Result], items: Iterable[Item], most: int = REQUESTS_AT_ONCE) -> list[Result]:
    """Call a function that sends a request for each item, up to ``most`` at the same time. Return the results in order.

    Raise the first exception, in the order of the items, when the calls that run have ended.
    """
    items = list(items)
    if len(items) < 2:
        return list(map(function, items))
    calls = [_pool(most).submit(function, item) for item in items]
    try:
        return [call.result() for call in calls]
    finally:
        for call in calls:
            call.cancel()
        wait(calls)


def _pool(most: int) -> ThreadPoolExecutor:
    """Return the pool of the calling thread: to start threads for each call takes as long as to read a small file.

    A call within a call has another pool, and never waits for one that waits for it.
    """
    pools: dict[int, ThreadPoolExecutor] = vars(_of_thread).setdefault("pools", {})
    if most not in pools:
        pools[most] = ThreadPoolExecutor(most)
    return pools[most]


@dataclass(frozen=True)
class ObjectVersion:
    """One version of one object."""

    key: str
    """Path below the store's root, with forward slashes."""
    size: int
    etag: str
    modified: str
    """UTC, ISO 8601 with microseconds: sorts by time as text."""


Span = tuple[int, int]
"""Bytes of an object, from the first (included) to the last (excluded)."""


class Store(Protocol):
    """Interface of an object store."""

    uri: str
    whole: bool
    """Whether objects appear as a whole; a file may be visible while it is being written."""

    def versions(self, prefix: str) -> list[ObjectVersion]:
        """List all objects under a prefix, by key."""

    def folders(self) -> list[str]:
        """List the names of the folders directly under the root."""

    def read(self, version: ObjectVersion, start: int, stop: int) -> bytes:
        """Read bytes of exactly this version. Raise ObjectChanged if it no longer exists."""

    def get(self, key: str) -> bytes:
        """Read a whole object written by Martwright."""

    def put(self, key: str, data: bytes | pa.Buffer) -> None:
        """Write a whole object: readers see all of it or nothing."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Write a whole object, unless there is one with this key. Return whether it was written.

        Of several writers at the same time, one writes: a bucket must know conditional writes (`If-None-Match`).
        """

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""

    def using(self, key: str, work: Callable[[pa.NativeFile], Result], spans: Sequence[Span] = ()) -> Result:
        """Open an object written by Martwright and read it in parts; ``work`` may be called again.

        With ``spans``, in order, ``work`` reads nothing but these.

        Raise StateDamaged if it is missing or unreadable.
        """

    def require(self) -> None:
        """Raise UsageError if the store itself does not exist."""
