"""Look at the start of a text file: its encoding, delimiter, header and footer, each with the reason."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from marts.dialect import PLAIN, Dialect
from marts.rows.diagnosis import DELIMITERS, VALUE, is_windows_text, looks_like
from marts.rows.layout import find_layout
from marts.rows.source_block import DEFAULT

_LINES = 200
"""Lines at the start from which the delimiter is taken."""
_SAME = 0.6
"""Share of these lines that have the same number of fields, from which a delimiter is taken."""
_LAST = 3
"""Lines at the end that may be a footer."""
_TOTALS = re.compile(r"\W*((?:grand |sub)?total|sums?|summe|gesamt|endsumme|rows?|records?|end of)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Proposal:
    """One setting of a block."""

    name: str
    value: Any
    reason: str
    choice: bool = False
    """Whether a person must decide: it is written as a comment."""


@dataclass(frozen=True)
class Look:
    """The start of a file as rows of text."""

    names: tuple[str, ...]
    """Header; empty if the first line is data."""
    rows: tuple[tuple[str, ...], ...]
    proposals: tuple[Proposal, ...] = ()


def look_at_text(start: bytes, end: bytes, whole: bool) -> Look:
    """Look at the first bytes of a file, and the last ones. ``whole`` says whether the first are all.

    Return no rows for a file that is no text of fields.
    """
    encoding, proposals = _encoding(start)
    layout = find_layout(start, DEFAULT.model_copy(update={"encoding": encoding}))
    lines = _lines(start[layout.mark :], layout.encoding)
    if not whole:
        lines = lines[:-1]
    marked = bool(layout.skip)  # a line sep=; is read without asking
    lines = lines[layout.skip :]
    dialect, width, share = _dialect(lines[:_LINES], layout.dialect if marked else None)
    if width < 2:
        return Look((), ())
    if dialect.delimiter != PLAIN.delimiter and not marked:
        reason = f"{share:.0%} of the first {min(len(lines), _LINES)} lines have {width} fields with it"
        proposals.append(Proposal("delimiter", dialect.delimiter, reason))
    rows = [_fields(line, dialect) for line in lines]
    first = next((place for place, row in enumerate(rows) if len(row) == width and any(map(str.strip, row))), -1)
    if first < 0:
        return Look((), ())
    if first:
        reason = f"before the header, such as {lines[0][:40]!r}"
        proposals.append(Proposal("skip_lines", first + (1 if marked else 0), reason))
    names = tuple(name.strip() for name in rows[first])
    if sum(bool(VALUE.fullmatch(name)) for name in names) >= 2:
        names, first = (), first - 1
    body = [tuple(row) for row in rows[first + 1 :] if len(row) == width]
    if footer := _footer(_lines(end, layout.encoding), dialect, width):
        proposals.append(footer)
        body = [row for row in body if not re.search(footer.value, dialect.delimiter.join(row))]
    return Look(names, tuple(body), tuple(proposals))


def _encoding(start: bytes) -> tuple[str, list[Proposal]]:
    """Return the encoding of a text, and its setting if it is needed."""
    if start.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-8", []
    other = looks_like(start)
    if other and "UTF-16" in other.what:
        return "utf-16", [Proposal("encoding", "utf-16", "every second byte is zero")]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        lines = [line for line in start.split(b"\n") if not line.isascii() and is_windows_text(line)]
        reason = (
            f"{len(lines)} of the first lines are not UTF-8, but are letters in cp1252; other encodings are similar"
        )
        return "cp1252", [Proposal("encoding", "cp1252", reason)]
    return "utf-8", []


def _lines(data: bytes, encoding: str) -> list[str]:
    text = data.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")
    return text.rstrip("\n").split("\n")


def _fields(line: str, dialect: Dialect) -> list[str]:
    try:
        return dialect.fields(line)
    except csv.Error:
        return [line]


def _dialect(lines: Sequence[str], known: Dialect | None) -> tuple[Dialect, int, float]:
    """Return the delimiter that splits most lines into the same number of fields, that number, and the share."""
    best, width, share = PLAIN, 1, 0.0
    for dialect in [known] if known else [Dialect(delimiter) for delimiter in DELIMITERS]:
        # A record that spans lines has lines with an odd number of quotes.
        counts = Counter(len(_fields(line, dialect)) for line in lines if line.strip() and line.count('"') % 2 == 0)
        several = Counter({fields: number for fields, number in counts.items() if fields > 1})
        if not several:
            continue
        fields, number = max(several.items(), key=lambda item: (item[1], item[0]))
        own = number / counts.total()
        if own >= _SAME and (own, fields) > (share, width):
            best, width, share = dialect, fields, own
    return best, width, share


def _footer(end: Sequence[str], dialect: Dialect, width: int) -> Proposal | None:
    """Return the pattern of the lines at the end that are no data; None if there are none."""
    words: dict[str, str] = {}
    for line in end[-_LAST:]:
        named = _TOTALS.match(line)
        fields = _fields(line, dialect)
        if named and (len(fields) != width or not all(map(str.strip, fields))):
            words[named[1].lower()] = line
    if not words:
        return None
    line = next(iter(words.values()))
    pattern = "(?i)^\\W*(" + "|".join(map(re.escape, words)) + ")\\b"
    return Proposal("footer", pattern, f"the last lines, such as {line[:40]!r}")
