"""The task of step 2: read splits of drops, write clean rows as Parquet, put bad rows into quarantine.

A task reads one split of a large drop, or several small drops. It returns counts; rows are written to the state.
"""

import gzip
import io
import logging
import zlib
from collections.abc import Sequence

from jobs.adapters.store.reader import VersionReader
from jobs.ports.store import ObjectVersion, Store
from jobs.runtime.logs import within
from jobs.state.manifest import TABLES, name_of
from jobs.steps.blocks import (
    LEAF,
    MAX_HEADER,
    Block,
    HashingReader,
    LeafHasher,
    blocks,
    first_line,
    inflated,
    is_compressed,
    rest_of_line,
)
from jobs.steps.quarantine_files import BadRows
from jobs.steps.row_writer import RowWriter
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.split import Split, SplitResult, scan_name
from marts.errors import DropRejected, ObjectChanged, ObjectUnreadable
from marts.rows.records import has_odd_line, read_header
from marts.schema import KINDS

_log = logging.getLogger("marts.scan")


def scan_pack(work: tuple[ScanSettings, tuple[Split, ...]]) -> list[SplitResult]:
    """Scan the splits of one task. Wrong data is a result, not an error."""
    settings, splits = work
    bad = BadRows(settings.state.open(), _pack_name(settings, splits))
    results = [_logged_scan(settings, split, bad) for split in splits]
    bad.write()
    return results


def _pack_name(settings: ScanSettings, splits: Sequence[Split]) -> str:
    """Return a name for the splits of one task."""
    read = [(scan_name(settings, split.delivery), split.start, split.stop) for split in splits]
    return name_of(read, settings.split_bytes)


def _logged_scan(settings: ScanSettings, split: Split, bad: "BadRows") -> SplitResult:
    with within(drop=split.delivery.key):
        result = _scan_split(settings, split, bad)
        refused = result.rejected or result.changed
        _log.info("%s", refused or f"{result.rows_read:,} rows read, {result.quarantined:,} in quarantine")
        return result


def _scan_split(settings: ScanSettings, split: Split, bad: "BadRows") -> SplitResult:
    """Scan one split: parse, check, write. Writing again produces the same files."""
    state = settings.state.open()
    source = state if split.delivery.key.startswith(TABLES) else settings.source.open()
    try:
        if split.delivery.size == 0:
            return SplitResult(split, rejected="the object is empty")
        if split.stop is None:
            return _scan_whole(settings, split, source, state, bad)
        return _scan_range(settings, split, source, state, bad)
    except DropRejected as error:
        return SplitResult(split, rejected=error.what)
    except ObjectUnreadable as error:
        return SplitResult(split, rejected=error.what, unreadable=True)
    except ObjectChanged as error:
        return SplitResult(split, changed=error.what)


def _scan_whole(settings: ScanSettings, split: Split, source: Store, state: Store, bad: "BadRows") -> SplitResult:
    hasher = LeafHasher()
    compressed = is_compressed(split.delivery.key)
    raw = _opened(source, split.delivery.version, None if compressed else hasher)
    text = inflated(raw, hasher) if compressed else raw
    try:
        first = text.readline(MAX_HEADER)
        sink = RowWriter(
            settings, split, read_header(first, KINDS[split.delivery.kind], settings.delimiter), state, bad
        )
        sink.skip_lines(1)
        limit = settings.max_inflated_bytes if compressed else split.delivery.size
        for block in blocks(text, settings.split_bytes, limit, settings.delimiter):
            sink.take(block)
        while raw.read(LEAF):
            pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DropRejected(f"the gzip is truncated or damaged: {error}") from error
    return sink.result(hasher.leaves())


def _opened(source: Store, version: ObjectVersion, hasher: LeafHasher | None) -> io.BufferedIOBase:
    """Open an object for reading and hashing from start to end; a small one is read in one request."""
    if version.size > LEAF:
        reader = VersionReader(source, version)
        return io.BufferedReader(HashingReader(reader, hasher) if hasher else reader, LEAF)
    data = source.read(version, 0, version.size)
    if hasher:
        hasher.update(data)
    return io.BytesIO(data)


def _scan_range(settings: ScanSettings, split: Split, source: Store, state: Store, bad: "BadRows") -> SplitResult:
    assert split.stop is not None
    version, kind = split.delivery.version, KINDS[split.delivery.kind]
    first = first_line(source, version)
    before = 1 if split.start else 0
    data = source.read(version, split.start - before, split.stop)
    hasher = LeafHasher()
    hasher.update(data[before:])
    begin = data.find(b"\n") + 1 if before else len(first)
    if not begin or begin > len(data):
        return SplitResult(split, unsplittable=True)
    tail = b"" if data.endswith(b"\n") else rest_of_line(source, version, split.stop)
    if tail is None:
        return SplitResult(split, unsplittable=True)
    block = memoryview(data)[begin:].tobytes() + tail
    if has_odd_line(block):
        return SplitResult(split, unsplittable=True)
    sink = RowWriter(settings, split, read_header(first, kind, settings.delimiter), state, bad)
    sink.skip_lines(0 if before else 1)
    sink.take(Block(block))
    return sink.result(hasher.leaves())
