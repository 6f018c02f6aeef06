"""Read drops that are tables, not CSV: Parquet, Excel workbooks, JSON lines."""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.adapters.store.reader import VersionReader
from jobs.ports.store import ObjectVersion, Store
from jobs.steps.text_stream import TextStream
from marts.errors import DropRejected
from marts.rows.diagnosis import block_hint
from marts.rows.header import MAX_COLUMNS
from marts.rows.records import NOT_TEXT, BadRow
from marts.rows.source_block import SourceBlock
from marts.rows.table_text import as_text, line_of, readable, table_of

_BATCH = 100_000
"""Rows of Parquet per part."""
_LINES = 8 << 20
"""Bytes of JSON lines per part."""
_AS_CSV = "save it as CSV"
_LARGEST = 1 << 30
"""Bytes of the largest workbook, inflated."""
_LONGEST = 16 << 20
"""Bytes of the longest line of JSON."""
_MOST_CELLS = 64_000_000
"""Cells of the largest sheet, empty ones too: a million rows of 64 columns."""
_CELL = re.compile(rb'<(?:\w+:)?c\s[^>]*?r="([A-Z]{1,3})([0-9]{1,7})"[^>]*(?<!/)>')
"""A cell with a value, in the XML of a sheet."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What reading a damaged or encrypted zip archive raises."""


@dataclass(frozen=True)
class TablePart:
    """A part of a table: its columns as text, and where its rows are in the file."""

    table: pa.Table
    lines: np.ndarray
    """Line, or number of the row, from the start of the part, from 0."""
    line_count: int
    bad: Sequence[BadRow] = ()


def parquet_parts(
    source: Store, version: ObjectVersion, block: SourceBlock, start: int, stop: int | None
) -> Iterator[TablePart]:
    """Yield the row groups that begin between two bytes of a Parquet file, in parts. Raise DropRejected if damaged."""
    reader = io.BufferedReader(VersionReader(source, version), 1 << 20)
    try:
        file = pq.ParquetFile(pa.PythonFile(reader, mode="r"))
        numbers = range(file.num_row_groups if file.metadata.num_columns else 0)
        groups = [n for n in numbers if start <= _begin(file, n) < (stop or version.size)]
        empty = file.schema_arrow.empty_table()
        yield _part_of(empty, block)  # a file without rows has columns, too
        for batch in file.iter_batches(_BATCH, row_groups=groups, use_threads=False) if groups else ():
            yield _part_of(pa.Table.from_batches([batch]), block)
    except (pa.ArrowException, OSError, ValueError) as error:
        hint = block_hint(version.key, block, 'format = "csv", if it is text')
        raise DropRejected(f"it is not a readable Parquet file: {error}", version.key, hint) from error


def _begin(file: pq.ParquetFile, group: int) -> int:
    """Return the first byte of a row group."""
    column = file.metadata.row_group(group).column(0)
    places = (column.dictionary_page_offset, column.data_page_offset)
    return int(min(place for place in places if place is not None))


def _part_of(table: pa.Table, block: SourceBlock) -> TablePart:
    columns, wrong = [], np.zeros(table.num_rows, bool)
    for column in table.columns:
        texts, unfit = readable(column)
        columns.append(as_text(texts, block.decimal))
        wrong |= unfit
    text = pa.Table.from_arrays(columns, table.column_names)
    lines = np.arange(table.num_rows)
    bad = [BadRow(int(row), line_of(text, int(row)), ((NOT_TEXT, ""),)) for row in np.flatnonzero(wrong)]
    return TablePart(text.filter(pa.array(~wrong)) if bad else text, lines[~wrong], len(lines), bad)


def workbook_parts(data: bytes, key: str, block: SourceBlock) -> Iterator[TablePart]:
    """Yield the rows of a sheet of an Excel workbook, by default the first. Raise DropRejected if it has none."""
    from python_calamine import CalamineError, CalamineWorkbook

    _check_size(data, key)
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        if block.sheet is not None and block.sheet not in book.sheet_names:
            hint = f"its sheets are {', '.join(map(repr, book.sheet_names))}"
            raise DropRejected(f"it has no sheet {block.sheet!r}", key, hint)
        rows = book.get_sheet_by_name(block.sheet or book.sheet_names[0]).to_python(skip_empty_area=False)
    except CalamineError as error:
        raise DropRejected(f"it is not a readable Excel workbook: {error}", key, "save it as .xlsx") from error
    rows = rows[block.skip_lines :]
    names = list(block.header) or [str(value).strip() for value in (rows[0] if rows else [])]
    body = rows if block.header else rows[1:]
    names += [""] * (max(map(len, body), default=0) - len(names))  # values beyond the names are not lost
    yield TablePart(table_of(body, names, block.decimal), np.arange(len(body)), len(body))


def _check_size(data: bytes, key: str) -> None:
    """Raise DropRejected for a workbook that does not fit in memory: it is a zip archive, which may be a bomb.

    A sheet is read as a rectangle: one cell at its far corner is enough to fill the memory.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST:
            raise DropRejected(
                f"the workbook inflates to {size:,} bytes, more than {_LARGEST:,}", key, "save it as CSV"
            )
        for name in archive.namelist():
            if name.startswith("xl/worksheets/") and name.endswith(".xml"):
                _check_extent(archive.read(name), key)
    except _DAMAGED:
        return  # another format, or damaged: the reader says so


def _check_extent(sheet: bytes, key: str) -> None:
    """Raise DropRejected for a sheet whose cells with values span too large a rectangle."""
    columns, rows = set[bytes](), set[bytes]()
    for cell in _CELL.finditer(sheet):
        columns.add(cell[1])
        rows.add(cell[2])
    if not rows:
        return
    last = max(columns, key=_column_number)
    width, height = _column_number(last), max(map(int, rows))
    if width * height > _MOST_CELLS:
        what = (
            f"a sheet has values as far as row {height:,} and column {last.decode()}: more than {_MOST_CELLS:,} cells"
        )
        raise DropRejected(what, key, "empty the cells beyond the table")


def _column_number(letters: bytes) -> int:
    """Return the number of a column, from 1: A is 1, AA is 27."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number


def json_names(text: TextStream) -> list[str]:
    """Return the keys of all objects of JSON lines, in the order in which they appear first."""
    names: dict[str, None] = {}
    for lines in _json_lines(text):
        for value in map(_object, lines):
            names |= dict.fromkeys(value or ())
        if len(names) > MAX_COLUMNS:
            raise DropRejected(f"its objects have more than {MAX_COLUMNS:,} different keys")
    return list(names)


def json_parts(text: TextStream, names: Sequence[str], block: SourceBlock) -> Iterator[TablePart]:
    """Yield the objects of JSON lines, in parts, with the same columns; nested values as JSON."""
    yield TablePart(table_of([], names), np.arange(0), 0)
    for texts in _json_lines(text):
        rows: list[list[Any]] = []
        lines: list[int] = []
        bad: list[BadRow] = []
        for number, line in enumerate(texts):
            value = _object(line)
            if value is not None:
                rows.append([value.get(name) for name in names])
                lines.append(number)
            elif line.strip():
                displayed = line.decode("utf-8", "backslashreplace")
                bad.append(BadRow(number, displayed, (("is not a JSON object with valid text", ""),)))
        yield TablePart(table_of(rows, names, block.decimal), np.array(lines, np.int64), len(texts), bad)


def _json_lines(text: TextStream) -> Iterator[list[bytes]]:
    """Yield the lines of a text, many at a time. Raise DropRejected for a line that is too long."""
    rest = b""
    while piece := text.read(_LINES):
        rest += piece
        cut = rest.rfind(b"\n") + 1
        if cut:
            yield rest[: cut - 1].split(b"\n")
        rest = rest[cut:]
        if len(rest) > _LONGEST:
            raise DropRejected(f"a line is longer than {_LONGEST:,} bytes: is it one JSON document?")
    if rest:
        yield [rest]


def _object(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line, with exact numbers; None if it is none, or holds half of a character."""
    try:
        value = json.loads(line.decode("utf-8"), parse_float=Decimal)
        if b"\\u" in line:
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
