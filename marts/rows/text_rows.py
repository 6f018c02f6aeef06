"""Read the records of a block as columns of text: one row per record that is data."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from marts.dialect import PLAIN, Dialect, LineFormat
from marts.errors import Defect
from marts.expressions import parsed
from marts.rows.buffers import letters, may_be_padded, stripped
from marts.rows.computed import compute
from marts.rows.header import BOM, Header
from marts.rows.records import MAX_RECORD, BadRow, Records
from marts.rows.source_block import DEFAULT, SourceBlock
from marts.rows.table_text import as_text, line_of

_BOM = BOM.encode()
_KEPT = 1000
"""Characters of a row that is too long."""
_NO_NAME = "a value in a column without a name"


@dataclass(frozen=True)
class RowFormat:
    """How the records of one drop become rows."""

    header: Header
    dialect: Dialect = PLAIN
    block: SourceBlock = DEFAULT

    @property
    def lines(self) -> LineFormat:
        """Return how a single raw row is read."""
        person = self.header.person
        given = self.header.given.get(person, "")
        return LineFormat(self.header.names, self.dialect, self.block.prefix(person), given)

    def read(self, records: Records) -> "RowBlock":
        """Read records as columns of text, with the columns that the file does not have."""
        rows = read_rows(records, self.header, self.dialect, self.block.footer, self.block.null)
        bad = [*self.without_footers(records.bad), *rows.bad]
        return RowBlock(
            self._with_given(rows.table),
            records.lines[rows.places],
            lambda row: records.raw(int(rows.places[row])),
            tuple(bad),
            records.line_count,
        )

    def read_table(self, table: pa.Table, lines: np.ndarray, line_count: int, bad: Sequence[BadRow] = ()) -> "RowBlock":
        """Read a table of texts, one column per field of the header; ``lines`` are those of its rows."""
        table = table.rename_columns(self.header.fields)
        table = _without_words(table, self.block.null)
        wrong = _wrong_texts(table)
        kept = ~_no_rows(table, self.header)
        if self.block.footer:
            matches = [_matches(line_of(table, row), self.block.footer) for row in range(table.num_rows)]
            kept &= ~np.array(matches, bool)
        bad = [
            *bad,
            *(BadRow(int(lines[row]), _short_line(table, row), ((wrong[row], ""),)) for row in wrong if kept[row]),
        ]
        kept[list(wrong)] = False
        if not kept.all():
            table, lines = table.filter(pa.array(kept)), lines[kept]
        whole = table
        table, places, unnamed = _without_unnamed(table, np.arange(table.num_rows), self.header)
        bad = [*bad, *(BadRow(int(lines[row]), line_of(whole, row), ((_NO_NAME, ""),)) for row in unnamed)]
        return RowBlock(
            self._with_given(table),
            lines[places],
            lambda row: line_of(whole, int(places[row])),
            tuple(bad),
            line_count,
        )

    def _with_given(self, table: pa.Table) -> pa.Table:
        for name, value in self.header.given.items():
            given = None if _is_empty(value, self.block.null) else value
            table = table.append_column(name, pa.chunked_array([pa.repeat(pa.scalar(given, pa.string()), len(table))]))
        return self._with_computed(table) if self.header.computed else table

    def _with_computed(self, table: pa.Table) -> pa.Table:
        """Add the columns that the block computes, or replace those of the file, as the file would write them."""
        expressions = {name: parsed(text) for name, text in self.header.computed.items()}
        digits = self.header.digits
        for name, values in compute(expressions, table, digits, self.block, digits.get).items():
            text = as_text(values, self.block.decimal)
            place = table.schema.get_field_index(name)
            table = table.append_column(name, text) if place < 0 else table.set_column(place, name, text)
        return table

    def without_footers(self, rows: Sequence[BadRow]) -> list[BadRow]:
        """Return the malformed rows that are no footers."""
        return [row for row in rows if not (self.block.footer and _matches(row.raw, self.block.footer))]


@dataclass(frozen=True)
class RowBlock:
    """Rows of a part of a drop, as columns of text."""

    table: pa.Table
    lines: np.ndarray
    """Line of each row, from the start of the part."""
    raw: Callable[[int], str]
    """Returns a row as in the file, or as a line of CSV if the file is no text."""
    bad: tuple[BadRow, ...]
    """Records that are no rows."""
    line_count: int


@dataclass(frozen=True)
class TextRows:
    """Rows of a block, as columns of text."""

    table: pa.Table
    """The named columns, in the header's order; an empty field is null."""
    places: np.ndarray
    """Index of the record of each row."""
    bad: list[BadRow]
    """Records that do not fit the header."""


def read_rows(
    records: Records,
    header: Header,
    dialect: Dialect = PLAIN,
    footer: str | None = None,
    null: Sequence[str] = (),
) -> TextRows:
    """Read records as columns of text. Records without any value, footers and repeated headers are no rows.

    ``null`` are words that mean an empty field. A record with more fields than the header has them empty.
    """
    table, places, wrong = _read(records, header, dialect)
    table = _without_words(table, null)
    bad: list[BadRow] = []
    repaired: list[tuple[int, list[str | None]]] = []
    for index, width in wrong:
        raw = records.raw(index)
        fields = _fields(raw, dialect)
        if not any(field.strip() for field in fields) or (footer and _matches(raw, footer)):
            continue
        if fields[len(header.names) :] and not any(field.strip() for field in fields[len(header.names) :]):
            repaired.append((index, [None if _is_empty(v, null) else v for v in fields[: len(header.names)]]))
        else:
            reason = f"the row does not have {len(header.names)} fields"
            bad.append(BadRow(int(records.lines[index]), raw, ((reason, str(width)),)))
    if repaired:
        table, places = _with(table, places, repaired)
    no_rows = _no_rows(table, header)
    if footer and len(places):
        no_rows |= _footers(records, places, footer)
    if no_rows.any():
        table, places = table.filter(pa.array(~no_rows)), places[~no_rows]
    table, places, unnamed = _without_unnamed(table, places, header)
    bad += [BadRow(int(records.lines[index]), records.raw(index), ((_NO_NAME, ""),)) for index in unnamed]
    return TextRows(table, places, bad)


def _is_empty(value: str, null: Sequence[str]) -> bool:
    return not value or value.strip() in null


def _without_words(table: pa.Table, null: Sequence[str]) -> pa.Table:
    """Empty the fields that are one of the words for nothing, with white space around it or not."""
    if not null or not table.num_rows:
        return table
    words, nothing = pa.array(null), pa.scalar(None, pa.string())
    columns = []
    for chunked in table.columns:
        column = chunked.combine_chunks()
        trimmed = stripped(column) if may_be_padded(column).any() else column
        columns.append(pc.if_else(pc.is_in(trimmed, words), nothing, column))
    return pa.Table.from_arrays(columns, names=table.column_names)


def _without_unnamed(table: pa.Table, places: np.ndarray, header: Header) -> tuple[pa.Table, np.ndarray, list[int]]:
    """Drop the columns without a name. Return the places of rows that have a value there, too: they are bad."""
    wrong: list[int] = []
    for name in header.unnamed:
        valued = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(table[name]), ""), False)
        mask = valued.combine_chunks().to_numpy(zero_copy_only=False).astype(bool)
        wrong += places[mask].tolist()
        table, places = table.filter(pa.array(~mask)).drop_columns([name]), places[~mask]
    return table, places, wrong


def _wrong_texts(table: pa.Table) -> dict[int, str]:
    """Return the rows with a text that no row of CSV may hold, and what is wrong with it."""
    wrong: dict[int, str] = {}
    for column in table.columns:
        text = column.combine_chunks()
        long = pc.greater(pc.binary_length(text), MAX_RECORD)
        zero = pc.match_substring(text, "\0")
        for mask, reason in ((long, f"longer than {MAX_RECORD:,} bytes"), (zero, "holds a NUL byte")):
            if pc.any(mask).as_py():
                wrong |= dict.fromkeys(
                    np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False)).tolist(), reason
                )
    return wrong


def _short_line(table: pa.Table, row: int) -> str:
    """Return a row as a line of CSV, cut where it is too long."""
    text = line_of(table, row)
    return text if len(text) <= MAX_RECORD else f"{text[:_KEPT]}… ({len(text):,} characters)"


def _read(records: Records, header: Header, dialect: Dialect) -> tuple[pa.Table, np.ndarray, list[tuple[int, int]]]:
    """Return the records that have as many fields as the header, their places, and place and width of the others."""
    names = header.fields
    if not len(records.starts):
        return pa.table({name: pa.array([], pa.string()) for name in names}), records.starts, []
    wrong: list[tuple[int, int]] = []

    def remember(row: pacsv.InvalidRow) -> str:
        wrong.append((row.number - 1, row.actual_columns))
        return "skip"

    # Arrow drops a byte order mark at the start of its input. This one belongs to the first field, so double it.
    data = _BOM + records.text if records.text.startswith(_BOM) else records.text
    quoted = bool(dialect.quote) and dialect.mark in records.text
    table = pacsv.read_csv(
        pa.BufferReader(data),
        pacsv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + 1),
        pacsv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            newlines_in_values=quoted,
            invalid_row_handler=remember,
        ),
        pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    if table.num_rows + len(wrong) != len(records.starts):
        result = table.num_rows + len(wrong)
        raise Defect(f"{len(records.starts)} records were found, but {result} were read")
    places = np.arange(len(records.starts))
    return table, np.delete(places, [index for index, _ in wrong]) if wrong else places, wrong


def _with(
    table: pa.Table, places: np.ndarray, rows: Sequence[tuple[int, list[str | None]]]
) -> tuple[pa.Table, np.ndarray]:
    """Insert rows at their places."""
    values = zip(*(fields for _, fields in rows), strict=True)
    others = pa.table({name: pa.array(v, pa.string()) for name, v in zip(table.column_names, values, strict=True)})
    merged = np.concatenate([places, [index for index, _ in rows]])
    order = np.argsort(merged, kind="stable")
    return pa.concat_tables([table, others]).take(pa.array(order)).combine_chunks(), merged[order]


def _no_rows(table: pa.Table, header: Header) -> np.ndarray:
    """Return which rows have no value in any column, or are the header again, as in files that were joined."""
    result = np.zeros(table.num_rows, bool)
    rows = np.arange(table.num_rows)
    for column in table.columns:  # nearly all rows have a value in one of the first columns
        rows = rows[_blank((column if len(rows) == len(result) else column.take(pa.array(rows))).combine_chunks())]
        if not len(rows):
            break
    result[rows] = True
    place = next((place for place, name in enumerate(header.written) if name), None)
    if place is None:
        return result
    name = header.written[place]
    first = {name[0].encode()[0], BOM.encode()[0]}
    column = table.column(place).combine_chunks()
    begins = _first_bytes(column)
    maybe = np.flatnonzero(np.logical_or.reduce([begins == byte for byte in first]))  # hardly a row
    if len(maybe):
        spelled = pa.array([name, BOM + name, f'"{name}"', f'{BOM}"{name}"'])
        equal = pc.is_in(pc.utf8_trim_whitespace(column.take(pa.array(maybe))), spelled)
        for row in maybe[equal.to_numpy(zero_copy_only=False)].tolist():
            values = [str(other[row].as_py() or "").strip().strip(BOM).strip('"').strip() for other in table.columns]
            result[row] |= values == list(header.written)
    return result


def _first_bytes(text: pa.Array) -> np.ndarray:
    """Return the first byte of each text; 0 if it is empty."""
    codes, edges = letters(text)
    if not len(codes):
        return np.zeros(len(text), np.uint8)
    return np.where(edges[:-1] < edges[1:], codes[np.minimum(edges[:-1], len(codes) - 1)], np.uint8(0))


def _blank(text: pa.Array) -> np.ndarray:
    """Return which texts are empty or only white space."""
    first, (_, edges) = _first_bytes(text), letters(text)
    blank = np.asarray(edges[:-1] == edges[1:])  # a text may begin with a NUL, too
    maybe = np.flatnonzero(~blank & ((first <= ord(" ")) | (first >= 0x80)))
    if len(maybe):
        trimmed = pc.utf8_trim_whitespace(text.take(pa.array(maybe)))
        blank[maybe] = pc.equal(trimmed, "").to_numpy(zero_copy_only=False)
    return blank


def _footers(records: Records, places: np.ndarray, footer: str) -> np.ndarray:
    """Return which rows are footers, by their text in the file."""
    edges = np.column_stack([records.starts[places], records.ends[places]]).ravel().astype(np.int32)
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(records.text)]
    texts = pa.Array.from_buffers(pa.string(), len(edges) - 1, buffers)  # with what is between two rows
    own = texts.take(pa.array(np.arange(0, len(edges), 2)))
    return np.asarray(pc.match_substring_regex(own, footer).to_numpy(zero_copy_only=False), bool)


def _matches(raw: str, footer: str) -> bool:
    return bool(pc.match_substring_regex(pa.array([raw]), footer)[0].as_py())


def _fields(raw: str, dialect: Dialect) -> list[str]:
    """Return the fields of a record; one field if it is no CSV."""
    try:
        return dialect.fields(raw)
    except csv.Error:
        return [raw]
