"""The task of step 2: read splits of drops, write clean rows as Parquet, put bad rows into quarantine.

A task reads one split of a large drop, or several small drops. It returns counts; rows are written to the state.
"""

import io
import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from jobs.adapters.store.reader import VersionReader
from jobs.ports.store import Store
from jobs.runtime.logs import within
from jobs.state.manifest import TABLES, Delivery, name_of
from jobs.steps.blocks import (
    LEAF,
    Block,
    LeafHasher,
    blocks,
    is_gzip,
    is_zip,
    open_object,
    rejection,
    rest_of_line,
)
from jobs.steps.quarantine_files import BadRows
from jobs.steps.row_writer import RowWriter
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.split import Split, SplitResult, scan_name
from jobs.steps.table_reader import TablePart, json_names, json_parts, parquet_parts, workbook_parts
from jobs.steps.text_stream import TextStream, read_format
from marts.dialect import PLAIN
from marts.errors import DropRejected, ObjectChanged, ObjectUnreadable
from marts.pack import Kind
from marts.rows.header import read_header
from marts.rows.layout import START, Layout
from marts.rows.records import find_records, has_odd_line
from marts.rows.source_block import SourceBlock
from marts.rows.text_rows import RowBlock, RowFormat

_log = logging.getLogger("marts.scan")
_NO_LAYOUT = Layout()


class ReadRows(NamedTuple):
    """Rows of a part of a drop."""

    form: RowFormat
    rows: RowBlock
    before: int
    """Lines before the part."""
    layout: Layout = _NO_LAYOUT


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
        level = logging.WARNING if result.rejected else logging.INFO
        _log.log(level, "%s", refused or f"{result.rows_read:,} rows read, {result.quarantined:,} in quarantine")
        return result


def _scan_split(settings: ScanSettings, split: Split, bad: "BadRows") -> SplitResult:
    """Scan one split: parse, check, write. Writing again produces the same files."""
    state = settings.state.open()
    source = state if split.delivery.key.startswith(TABLES) else settings.source.open()
    try:
        if split.delivery.size == 0:
            return SplitResult(split, rejected="the object is empty")
        if settings.block(split.delivery.key).format != "csv":
            return _scan_table(settings, split, source, state, bad)
        if split.stop is None:
            return _scan_whole(settings, split, source, state, bad)
        return _scan_range(settings, split, source, state, bad)
    except DropRejected as error:
        return SplitResult(split, rejected=rejection("", error))
    except ObjectUnreadable as error:
        return SplitResult(split, rejected=error.what, unreadable=True)
    except ObjectChanged as error:
        return SplitResult(split, changed=error.what)


def _scan_whole(settings: ScanSettings, split: Split, source: Store, state: Store, bad: BadRows) -> SplitResult:
    hasher, version = LeafHasher(), split.delivery.version
    opened = open_object(source, version, hasher, settings.max_inflated_bytes)
    try:
        text = TextStream(opened.inflated, settings.block(version.key), START if opened.is_packed else LEAF)
        form, before = read_format(settings, split.delivery, text)
        sink = RowWriter(settings, split, form, state, bad)
        sink.skip_lines(before)
        for block in blocks(text, settings.split_bytes, form.dialect):
            sink.take(block)
        while opened.raw.read(LEAF):
            pass
    except DropRejected as error:
        raise DropRejected(rejection(version.key, error, opened.is_packed)) from error
    return sink.result(hasher.leaves())


def _scan_range(settings: ScanSettings, split: Split, source: Store, state: Store, bad: BadRows) -> SplitResult:
    assert split.stop is not None
    version = split.delivery.version
    start = io.BufferedReader(VersionReader(source, version, START), START)
    if is_gzip(start.peek(4)) or is_zip(start.peek(4)):
        return SplitResult(split, unsplittable=True)
    text = TextStream(start, settings.block(version.key))
    if not text.layout.by_byte:
        return SplitResult(split, unsplittable=True)
    form, lines = read_format(settings, split.delivery, text)
    before = 1 if split.start else 0
    data = source.read(version, split.start - before, split.stop)
    hasher = LeafHasher()
    hasher.update(data[before:])
    begin = data.find(b"\n") + 1 if before else _after(lines, data, text.layout.mark)
    if begin is None or (before and not begin):
        return SplitResult(split, unsplittable=True)
    tail = b"" if data.endswith(b"\n") else rest_of_line(source, version, split.stop)
    if tail is None:
        return SplitResult(split, unsplittable=True)
    block = text.layout.decode(memoryview(data)[begin:].tobytes() + tail)
    if has_odd_line(block, form.dialect):
        return SplitResult(split, unsplittable=True)
    sink = RowWriter(settings, split, form, state, bad)
    sink.skip_lines(0 if before else lines)
    sink.take(Block(block))
    return sink.result(hasher.leaves())


def _scan_table(settings: ScanSettings, split: Split, source: Store, state: Store, bad: BadRows) -> SplitResult:
    """Scan a drop that is no CSV, or the row groups of a Parquet file that begin in the split's range of bytes."""
    hasher, block = LeafHasher(), settings.block(split.delivery.key)
    sink = None
    for part in table_parts(split, source, settings, hasher):
        if sink is None:  # all parts have the same columns
            form = _format_of_table(settings.pack.kinds[split.delivery.kind], split, part, block)
            sink = RowWriter(settings, split, form, state, bad)
            sink.skip_lines(_lines_before(block))
        sink.take_rows(form.read_table(part.table, part.lines, part.line_count, part.bad))
    assert sink is not None
    return sink.result(hasher.leaves())


def first_rows_of(settings: ScanSettings, delivery: Delivery, source: Store) -> ReadRows:
    """Read the first part of a drop that has rows; the first one if none has: that of a table has columns only."""
    parts = read_rows_of(settings, delivery, source)
    first = next(parts)
    return first if first.rows.line_count else next((part for part in parts if part.rows.line_count), first)


def read_rows_of(settings: ScanSettings, delivery: Delivery, source: Store) -> Iterator[ReadRows]:
    """Read a whole drop, part by part, without writing anything."""
    block = settings.block(delivery.key)
    if block.format == "csv":
        text = TextStream(
            open_object(source, delivery.version, LeafHasher(), settings.max_inflated_bytes).inflated, block
        )
        form, before = read_format(settings, delivery, text)
        for piece in chain(blocks(text, settings.split_bytes, form.dialect), [Block(b"")]):
            rows = form.read(find_records(piece.text, form.dialect))
            yield ReadRows(form, rows, before, text.layout)
            before += 1 if piece.oversized else rows.line_count
        return
    split, before = Split(delivery, 0), _lines_before(block)
    for part in table_parts(split, source, settings, LeafHasher()):
        form = _format_of_table(settings.pack.kinds[split.delivery.kind], split, part, block)
        yield ReadRows(form, form.read_table(part.table, part.lines, part.line_count, part.bad), before)
        before += part.line_count


def _format_of_table(kind: Kind, split: Split, part: TablePart, block: SourceBlock) -> RowFormat:
    named = block.model_copy(update={"header": tuple(part.table.column_names)})
    header = read_header(b"", kind, PLAIN, named, split.delivery.key)
    return RowFormat(header, PLAIN, block)


def _lines_before(block: SourceBlock) -> int:
    return block.skip_lines + (1 if block.format == "xlsx" and not block.header else 0)


def table_parts(split: Split, source: Store, settings: ScanSettings, hasher: LeafHasher) -> Iterator[TablePart]:
    """Yield the parts of a table, and hash the bytes of the split."""
    version, block, most = split.delivery.version, settings.block(split.delivery.key), settings.max_inflated_bytes
    if block.format == "jsonl":
        first = open_object(source, version, LeafHasher(), most)
        names = json_names(TextStream(first.inflated, block))
        opened = open_object(source, version, hasher, most)
        yield from json_parts(TextStream(opened.inflated, block), names, block)
        return
    stop = version.size if split.stop is None else split.stop
    if block.format == "xlsx":
        data = source.read(version, 0, version.size)
        hasher.update(data)
        yield from workbook_parts(data, version.key, block)
        return
    for begin in range(split.start, stop, LEAF):
        hasher.update(source.read(version, begin, min(begin + LEAF, stop)))
    yield from parquet_parts(source, version, block, split.start, stop)


def _after(lines: int, data: bytes, start: int) -> int | None:
    """Return the place after some lines; None if they do not end in ``data``."""
    for _ in range(lines):
        if not (start := data.find(b"\n", start) + 1):
            return None
    return start
