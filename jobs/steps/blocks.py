"""Read one version of an object in blocks of whole records, with bounded memory, and hash its bytes."""

import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple, cast

from jobs.adapters.store.reader import VersionReader
from jobs.ports.store import ObjectVersion, Store
from jobs.steps.text_stream import TextStream
from marts.dialect import Dialect
from marts.errors import DropRejected
from marts.rows.records import MAX_RECORD, last_whole

LEAF = 8 << 20
"""Bytes per leaf. The hash of an object is the hash of its leaf hashes, so that splits can be hashed separately."""
_TAIL = 64 << 10
_DAMAGED = (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error)
"""What reading a damaged archive raises."""
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"


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


def blocks(text: TextStream, size: int, dialect: Dialect) -> Iterator[Block]:
    """Cut a stream into blocks of whole records, with bounded memory for any input."""
    rest = b""
    while data := text.read(size):
        rest += data
        cut = last_whole(rest, dialect)
        if cut:
            yield Block(rest[:cut])
            rest = rest[cut:]
        elif len(rest) > MAX_RECORD:
            start, total = rest[:MAX_RECORD], len(rest)
            while b"\n" not in (rest := text.read(size)) and rest:
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

    def update(self, data: bytes | memoryview) -> None:
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
    """Reader that hashes the bytes it returns. It raises DropRejected if an archive is damaged, or too large."""

    def __init__(self, inner: io.BufferedIOBase, hasher: LeafHasher, most: int) -> None:
        self._inner, self._hasher = inner, hasher
        self._left = self._most = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            count = self._inner.readinto(buffer)
        except _DAMAGED as error:
            raise DropRejected(f"the archive is truncated or damaged: {error}") from error
        self._hasher.update(memoryview(buffer)[:count])
        self._left -= count
        if self._left < 0:
            raise DropRejected(f"it inflates to more than {self._most:,} bytes")
        return count


def content_hash(leaves: Iterable[str]) -> str:
    """Compute the hash of an object from its leaf hashes."""
    return hashlib.sha256("".join(leaves).encode()).hexdigest()


def is_compressed(key: str) -> bool:
    """Return whether the name of an object is that of a gzip: for estimates, because names may be wrong."""
    return key.lower().endswith(".gz")


def rejection(key: str, error: DropRejected, inflated: bool = False) -> str:
    """Return why an object is rejected, with the hint; plain text may have the name of a gzip."""
    wrong = "" if inflated or not is_compressed(key) else "its name is that of a gzip, but it is none; "
    return f"{wrong}{error.what}{'; ' if error.hint else ''}{error.hint}"


def is_gzip(start: bytes) -> bool:
    """Return whether the first bytes of an object are those of a gzip."""
    return start.startswith(_GZIP)


def is_zip(start: bytes) -> bool:
    """Return whether the first bytes of an object are those of a zip archive, or of an Excel workbook."""
    return start.startswith(_ZIP)


class Opened(NamedTuple):
    """An open object."""

    raw: io.BufferedIOBase
    """Its bytes."""
    inflated: io.BufferedIOBase
    """Its bytes without gzip or zip, which are hashed while they are read."""
    is_packed: bool


def open_object(source: Store, version: ObjectVersion, hasher: LeafHasher, most: int, unzip: bool = True) -> Opened:
    """Open an object for reading from start to end. A delivery has the same hash with or without gzip or zip.

    A small object is read in one request. Raise DropRejected for a zip archive that is not of one file; reading does
    so for an archive that inflates to more than ``most`` bytes.
    """
    raw: io.BufferedIOBase
    if version.size > LEAF:
        raw = io.BufferedReader(VersionReader(source, version), LEAF)
        start = raw.peek(len(_ZIP))
    else:
        start = source.read(version, 0, version.size)
        raw = io.BytesIO(start)
        if not is_gzip(start) and not (unzip and is_zip(start)):
            hasher.update(start)
            return Opened(raw, raw, False)
    inner: io.BufferedIOBase = raw
    if is_gzip(start):
        inner = gzip.GzipFile(fileobj=raw)
    elif unzip and is_zip(start):
        inner = _only_member(raw, version.key)
    is_packed = inner is not raw
    reader = HashingReader(inner, hasher, max(most, version.size) if is_packed else version.size)
    return Opened(raw, io.BufferedReader(reader, 1 << 20), is_packed)


def _only_member(raw: io.BufferedIOBase, key: str) -> io.BufferedIOBase:
    """Open the only file of a zip archive, apart from those that are no data by their names."""
    try:
        archive = zipfile.ZipFile(cast(IO[bytes], raw))
        names = [name for name in archive.namelist() if not name.endswith("/")]
        names = [name for name in names if not any(part.startswith((".", "_")) for part in name.split("/"))]
        if "[Content_Types].xml" in names:
            raise DropRejected("it is an Excel workbook", key, 'set format = "xlsx" in its [[source]] block')
        if len(names) != 1:
            listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            raise DropRejected(f"it is a zip archive of {len(names)} files: {listed}", key, "deliver each file")
        return cast(io.BufferedIOBase, archive.open(names[0]))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DropRejected(f"the zip archive is damaged or encrypted: {error}", key) from error


def hash_object(source: Store, version: ObjectVersion, most: int, unzip: bool = True) -> str:
    """Read an object and return the hash of its content; a gzip is inflated.

    Return an empty string for a damaged gzip or one that inflates to more than ``most`` bytes: a scan rejects it.
    """
    hasher = LeafHasher()
    try:
        text = open_object(source, version, hasher, most, unzip).inflated
        while text.read(LEAF):
            pass
    except DropRejected:
        return ""
    return content_hash(hasher.leaves())
