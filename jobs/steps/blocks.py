"""Read one version of an object in blocks of whole records, with bounded memory, and hash its bytes."""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.adapters.store.reader import VersionReader
from jobs.ports.store import ObjectVersion, Store
from marts.errors import DropRejected
from marts.rows.records import MAX_RECORD, last_whole

LEAF = 8 << 20
"""Bytes per leaf. The hash of an object is the hash of its leaf hashes, so that splits can be hashed separately."""
MAX_HEADER = 1 << 20
_TAIL = 64 << 10


def first_line(source: Store, version: ObjectVersion) -> bytes:
    """Read the header line. Raise DropRejected if it does not end within MAX_HEADER bytes."""
    for size in (_TAIL, MAX_HEADER):
        data = source.read(version, 0, min(size, version.size))
        if b"\n" in data:
            return data[: data.index(b"\n") + 1]
    raise DropRejected(f"the header is longer than {MAX_HEADER:,} bytes")


def rest_of_line(source: Store, version: ObjectVersion, start: int) -> bytes | None:
    """Read from ``start`` to the end of the line; return None if it is longer than a record may be."""
    rest = b""
    while start < version.size and len(rest) <= MAX_RECORD:
        data = source.read(version, start, min(start + _TAIL, version.size))
        if b"\n" in data:
            return rest + data[: data.index(b"\n") + 1]
        rest, start = rest + data, start + len(data)
    return rest if start >= version.size else None


@dataclass(frozen=True)
class Block:
    """Whole records, or the start of an oversized record."""

    text: bytes
    oversized: int = 0
    """Bytes of the oversized record; 0 for whole records."""


def blocks(text: io.BufferedIOBase, size: int, most: int, delimiter: str) -> Iterator[Block]:
    """Cut a stream into blocks of whole records, with bounded memory for any input."""
    rest, taken = b"", 0

    def read() -> bytes:
        nonlocal taken
        data = text.read(size)
        taken += len(data)
        if taken > most:
            raise DropRejected(f"it inflates to more than {most:,} bytes")
        return data

    while True:
        data = read()
        rest += data
        if not data:
            break
        cut = last_whole(rest, delimiter)
        if cut:
            yield Block(rest[:cut])
            rest = rest[cut:]
        elif len(rest) > MAX_RECORD:
            start, total = rest[:MAX_RECORD], len(rest)
            while b"\n" not in (rest := read()) and rest:
                total += len(rest)
            end = rest.find(b"\n") + 1
            yield Block(start, total + end)
            rest = rest[end:]
    if rest:
        yield Block(rest)


class LeafHasher:
    """Hash a stream in leaves of LEAF bytes."""

    def __init__(self) -> None:
        self._leaf, self._filled = hashlib.sha256(), 0
        self._leaves: list[str] = []

    def update(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            part = view[: LEAF - self._filled]
            self._leaf.update(part)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == LEAF:
                self._end_leaf()

    def _end_leaf(self) -> None:
        self._leaves.append(self._leaf.hexdigest())
        self._leaf, self._filled = hashlib.sha256(), 0

    def leaves(self) -> list[str]:
        """End the stream; return the hash of each leaf."""
        if self._filled:
            self._end_leaf()
        return self._leaves


class HashingReader(io.RawIOBase):
    """Reader that hashes the bytes it returns."""

    def __init__(self, inner: VersionReader | gzip.GzipFile, hasher: LeafHasher) -> None:
        self._inner, self._hasher = inner, hasher

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._inner.readinto(buffer)
        self._hasher.update(bytes(memoryview(buffer)[:count]))
        return count


def content_hash(leaves: Iterable[str]) -> str:
    """Compute the hash of an object from its leaf hashes."""
    return hashlib.sha256("".join(leaves).encode()).hexdigest()


def is_compressed(key: str) -> bool:
    """Return whether the name of an object is that of a gzip."""
    return key.lower().endswith(".gz")


def inflated(raw: io.BufferedIOBase, hasher: LeafHasher) -> io.BufferedIOBase:
    """Open a gzip for reading and hash the inflated bytes: a delivery has the same hash with or without gzip."""
    return io.BufferedReader(HashingReader(gzip.GzipFile(fileobj=raw), hasher), 1 << 20)


def hash_object(source: Store, version: ObjectVersion, most: int) -> str:
    """Read an object and return the hash of its content; a gzip is inflated.

    Return an empty string for a damaged gzip or one that inflates to more than ``most`` bytes: a scan rejects it.
    """
    hasher = LeafHasher()
    if is_compressed(version.key):
        text = inflated(io.BufferedReader(VersionReader(source, version), LEAF), hasher)
        taken = 0
        try:
            while data := text.read(LEAF):
                taken += len(data)
                if taken > most:
                    return ""
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return ""
    else:
        for start in range(0, version.size, LEAF):
            hasher.update(source.read(version, start, min(start + LEAF, version.size)))
    return content_hash(hasher.leaves())
