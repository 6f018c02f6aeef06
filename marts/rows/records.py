"""Find the records of a block of CSV text.

RFC 4180 with LF or CRLF. Clean blocks are parsed by vectorised passes only. A block with a stray quote, an
unclosed quote, a NUL, bytes that are not UTF-8 or an oversized record is parsed line by line, so that a
broken row does not affect its neighbours.
"""

import codecs
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from marts.dialect import PLAIN, Dialect
from marts.rows.diagnosis import is_windows_text

MAX_RECORD = 1 << 20
"""Maximum bytes of one record; a longer one is quarantined."""
_RAW_KEPT = 1000
_NEWLINE, _RETURN = b"\n"[0], b"\r"[0]
NOT_TEXT = "is not UTF-8 text"


@dataclass(frozen=True)
class BadRow:
    """A row that is not part of the clean data, with its reasons."""

    line: int
    """Physical line where the record starts, counted from the start of the block, from 0."""
    raw: str
    """The record as in the file."""
    reasons: tuple[tuple[str, str], ...]
    """Each broken rule in words, and the value that breaks it."""
    key: str = ""
    """Its key, if it can be read; only rows of a dimension with versions have one."""


@dataclass(frozen=True)
class Records:
    """The complete, well formed records of one block."""

    text: bytes
    starts: np.ndarray
    """Byte offset of each record in ``text``."""
    ends: np.ndarray
    lines: np.ndarray
    """Physical line of each record, from the start of the block."""
    bad: tuple[BadRow, ...]
    """Records that are not well formed."""
    line_count: int
    """Physical lines in the block."""
    foreign: int = 0
    """Records that are not UTF-8 but may be text in a common encoding with one byte per character."""

    @property
    def is_wide(self) -> bool:
        """Return whether the records have characters of several bytes, in valid UTF-8."""
        return not self.text.isascii()

    def raw(self, index: int) -> str:
        """Return record ``index`` as in the file, without its line end."""
        data = self.text[self.starts[index] : self.ends[index]]
        return _shorten(data.removesuffix(b"\r"))


def find_records(data: bytes, dialect: Dialect = PLAIN, max_record: int = MAX_RECORD) -> Records:
    """Find the records of a block that starts at a record and contains only complete records."""
    return _find_vectorised(data, dialect, max_record) or _find_carefully(data, dialect, max_record)


def last_whole(text: bytes, dialect: Dialect = PLAIN, max_record: int = MAX_RECORD) -> int:
    """Return the end of the last record of a block that is certainly complete; 0 if none is.

    The rest may continue in the next block: a last line without its line end, or a line with an open quote that a
    later line may close, as long as the record is not longer than ``max_record``.
    """
    stop = text.rfind(b"\n") + 1
    if not stop or not dialect.quote or dialect.mark not in text:
        return stop
    lines = _Lines.of(text[:stop], dialect)
    whole = _whole_record(dialect)
    after = 0
    for at in lines.odd.tolist():
        if at < after:
            continue
        taken, reason = _take_record(lines, at, whole, max_record)
        start = int(lines.starts[at])
        if reason and at == lines.odd[-1] and len(text) - start <= max_record:
            return start
        after = at + taken
    return stop


def has_odd_line(data: bytes, dialect: Dialect = PLAIN) -> bool:
    """Return whether any physical line contains an odd number of quotes.

    A record that spans lines always starts with an odd line, so a file without one may be split at any
    line end.
    """
    return bool(dialect.quote) and dialect.mark in data and bool(len(_Lines.of(data, dialect).odd))


def _find_vectorised(data: bytes, dialect: Dialect, max_record: int) -> Records | None:
    """Find records by array operations; return None if the block must be parsed line by line."""
    returns = data.count(b"\r")
    if b"\0" in data or (returns and returns != data.count(b"\r\n")) or not _is_utf8(data):
        return None
    codes = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(codes == _NEWLINE)
    if len(data) and not data.endswith(b"\n"):
        newlines = np.append(newlines, len(data))
    ends = newlines
    if dialect.quote and dialect.mark in data:
        quotes = np.flatnonzero(codes == dialect.mark[0])
        if len(quotes) % 2 or not _quotes_well_placed(codes, quotes, dialect):
            return None
        ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    if len(ends) and int((ends - starts).max()) > max_record:
        return None
    lines = np.arange(len(newlines)) if len(ends) == len(newlines) else np.searchsorted(newlines, starts)
    blank = _blank(codes, starts, ends)
    if blank.any():
        starts, ends, lines = starts[~blank], ends[~blank], lines[~blank]
    return Records(data, starts, ends, lines, (), len(newlines))


def _quotes_well_placed(codes: np.ndarray, quotes: np.ndarray, dialect: Dialect) -> bool:
    """Return whether each opening quote starts a field and each closing quote ends it (or is doubled)."""
    quote, delimiter = dialect.mark[0], dialect.delimiter.encode()[0]
    padded = np.concatenate([[_NEWLINE], codes, [_NEWLINE]])
    before, after = padded[quotes[0::2]], padded[quotes[1::2] + 2]
    opens = (before == delimiter) | (before == _NEWLINE) | (before == quote)
    closes = (after == delimiter) | (after == _NEWLINE) | (after == _RETURN) | (after == quote)
    return bool(opens.all() and closes.all())


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        pa.array([data], pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def _find_carefully(data: bytes, dialect: Dialect, max_record: int) -> Records:
    """Parse the suspect lines one by one; remove the broken ones and record the reasons."""
    codes = np.frombuffer(data, np.uint8)
    lines = _Lines.of(data, dialect)
    ends = lines.ends
    whole = _whole_record(dialect)
    first = np.ones(len(ends), bool)  # the line starts a record
    removed = np.zeros(len(ends), bool)
    last = ends.copy()
    bad: list[BadRow] = []
    after = foreign = 0
    for at in _suspects(codes, lines, max_record):
        if at < after:
            continue
        taken, reason = _take_record(lines, at, whole, max_record)
        after = at + taken
        first[at + 1 : after] = False
        last[at] = ends[after - 1]
        if reason:
            removed[at:after] = True
            bad.append(BadRow(at, _shorten(lines.join(at, taken)), ((reason, ""),)))
            foreign += reason == NOT_TEXT and is_windows_text(lines.join(at, taken))
    text, moved = _cut(data, lines, removed)
    kept = first & ~removed & ~_blank(codes, lines.starts, ends)
    return Records(
        text, (lines.starts - moved)[kept], (last - moved)[kept], np.flatnonzero(kept), tuple(bad), len(ends), foreign
    )


def _whole_record(dialect: Dialect) -> re.Pattern[bytes]:
    """Return the pattern of a well formed record."""
    end, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
    bare = rf"[^{end}\n]*"
    if quote:
        bare = rf"(?:{quote}[^{quote}]*(?:{quote}{quote}[^{quote}]*)*{quote}|[^{quote}{end}\n][^{end}\n]*|)"
    return re.compile(rf"{bare}(?:{end}{bare})*\r?".encode())


@dataclass(frozen=True)
class _Lines:
    """The physical lines of a block."""

    data: bytes
    dialect: Dialect
    starts: np.ndarray
    ends: np.ndarray
    odd: np.ndarray
    """Lines with an odd number of quotes."""

    @classmethod
    def of(cls, data: bytes, dialect: Dialect) -> "_Lines":
        codes = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(codes == _NEWLINE)
        if len(data) and not data.endswith(b"\n"):
            ends = np.append(ends, len(data))
        quotes = np.flatnonzero(codes == dialect.mark[0]) if dialect.quote else codes[:0]
        odd = np.flatnonzero(np.diff(np.searchsorted(quotes, ends), prepend=0) % 2)
        return cls(data, dialect, np.concatenate([[0], ends[:-1] + 1]), ends, odd)

    def join(self, at: int, count: int = 1) -> bytes:
        """Return ``count`` lines from line ``at``, without the last line end."""
        return self.data[self.starts[at] : self.ends[at + count - 1]]


def _blank(codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return which lines are blank."""
    sizes = ends - starts
    blank = sizes == 0
    single = np.flatnonzero(sizes == 1)
    blank[single] = codes[starts[single]] == _RETURN
    return np.asarray(blank)


def _suspects(codes: np.ndarray, lines: _Lines, max_record: int) -> list[int]:
    """Find the lines to parse one by one: all others are complete records of valid text."""
    places = [np.flatnonzero(codes == 0)]
    if lines.dialect.quote:
        places.append(np.flatnonzero(codes == lines.dialect.mark[0]))
    returns = np.flatnonzero(codes == _RETURN)
    places.append(returns[codes[np.minimum(returns + 1, len(codes) - 1)] != _NEWLINE])
    places.append(np.array(_not_utf8(lines.data, lines), np.int64))
    suspects = np.searchsorted(lines.ends, np.concatenate(places))
    long = np.flatnonzero(lines.ends - lines.starts > max_record)
    return [int(line) for line in np.union1d(suspects, long) if line < len(lines.ends)]


def _not_utf8(data: bytes, lines: _Lines) -> list[int]:
    """Find, in each line that is not UTF-8, the first invalid byte."""
    results: list[int] = []
    start = 0
    while start < len(data):
        try:
            codecs.utf_8_decode(data[start:] if start else data, "strict", True)
        except UnicodeDecodeError as error:
            results.append(start + error.start)
            start = int(lines.ends[np.searchsorted(lines.ends, results[-1])]) + 1
        else:
            break
    return results


def _cut(data: bytes, lines: _Lines, removed: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Remove lines from a block. Return the rest, and the number of bytes by which each line moved."""
    stops = np.minimum(lines.ends + 1, len(data))
    moved = np.concatenate([[0], np.cumsum(np.where(removed, stops - lines.starts, 0))[:-1]])
    edges = np.flatnonzero(np.diff(removed.astype(np.int8), prepend=1, append=1))
    pieces = [data[lines.starts[a] : stops[b - 1]] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return b"".join(pieces), moved


def _take_record(lines: _Lines, at: int, whole: re.Pattern[bytes], max_record: int) -> tuple[int, str]:
    """Return how many lines the record at a line spans, and why it is invalid; empty if it is valid."""
    line = lines.join(at)
    if len(line) > max_record:
        return 1, f"longer than {max_record:,} bytes"
    if not lines.dialect.quote or lines.dialect.mark not in line or whole.fullmatch(line):
        return 1, _unreadable(line)
    taken = _lines_of(lines, at, max_record) if line.count(lines.dialect.mark) % 2 else 1
    record = lines.join(at, taken)
    if not whole.fullmatch(record):
        return 1, "a quote is not closed, or stands in the wrong place"
    return taken, _unreadable(record)


def _lines_of(lines: _Lines, at: int, max_record: int) -> int:
    """Count the lines until the number of quotes is even; 1 if it never is."""
    place = np.searchsorted(lines.odd, at, side="right")
    if place == len(lines.odd):
        return 1
    after = int(lines.odd[place])
    return 1 if lines.ends[after] - lines.starts[at] > max_record else after + 1 - at


def _unreadable(record: bytes) -> str:
    if b"\0" in record:
        return "holds a NUL byte"
    if b"\r" in record.removesuffix(b"\r").replace(b"\r\n", b""):
        return "holds a carriage return inside the row"
    return "" if _is_utf8(record) else NOT_TEXT


def _shorten(raw: bytes) -> str:
    text = raw[:MAX_RECORD] if len(raw) <= MAX_RECORD else raw[:_RAW_KEPT]
    displayed = text.decode("utf-8", "backslashreplace")
    return displayed if len(raw) <= MAX_RECORD else f"{displayed}… ({len(raw):,} bytes)"
