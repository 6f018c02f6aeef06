"""A place with objects: drops that are only read, state that is read and written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pyarrow as pa

Result = TypeVar("Result")


@dataclass(frozen=True)
class ObjectVersion:
    """One version of one object."""

    key: str
    """Path below the store's root, with forward slashes."""
    size: int
    etag: str
    modified: str
    """UTC, ISO 8601 with microseconds: sorts as it reads."""


class Store(Protocol):
    """A place with objects."""

    uri: str
    whole: bool
    """An object is there as a whole or not at all; a file may be seen while it is being written."""

    def versions(self, prefix: str) -> list[ObjectVersion]:
        """List all objects under a prefix, by key."""

    def read(self, version: ObjectVersion, start: int, stop: int) -> bytes:
        """Read bytes of exactly this version. Raises ObjectChanged if it is no longer there."""

    def get(self, key: str) -> bytes:
        """Read a whole object of our own."""

    def put(self, key: str, data: bytes | pa.Buffer) -> None:
        """Write a whole object: readers see all of it or nothing."""

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""

    def using(self, key: str, work: Callable[[pa.NativeFile], Result]) -> Result:
        """Open an object of our own and read it by parts; ``work`` may be called again.

        Raises StateDamaged if it is gone or cannot be understood.
        """

    def require(self) -> None:
        """Raise UsageError if the place itself is not there."""
