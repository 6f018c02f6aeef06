"""Explain why a file cannot be read: what its first bytes are, the nearest right names, the setting to write."""

import codecs
import csv
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from marts.dialect import Dialect
from marts.names import plain_name
from marts.pack import Kind
from marts.rows.date_formats import EXCEL, iso_of
from marts.rows.source_block import DEFAULT, SourceBlock

_NOT_WINDOWS = frozenset({0, 0x81, 0x8D, 0x8F, 0x90, 0x9D, 0xFE, 0xFF})
"""Bytes that cp1252 does not define, or that hardly any of its texts has."""
DELIMITERS = (",", ";", "\t", "|", "^", ":")
_SHOWN = 12
"""Names of columns in a message."""
_LONGEST = 40
"""Characters of each."""
VALUE = re.compile(r"[+-]?[0-9][0-9.,:/ T-]*|NULL|\\N", re.IGNORECASE)
"""A field that is a value, not a name: a number, a date, a word for nothing."""
NULL_WORDS = ("NULL", "N/A", "NA", "NONE", "NIL", "NAN", "#N/A", "-", "--")
DATE_FORMATS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%y.%m.%d", "%y/%m/%d", "%m.%d.%y", "%d-%m-%y", "%y-%m-%d", "%m-%d-%y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d, %Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S"),
    *("%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p"),
    *("%m/%d/%Y %I:%M %p", "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S"),
    "%Y-%m-%d %H:%M:%S %z",
    EXCEL,
)
"""Formats to suggest; nothing is read with them unless a block says so."""
MONEY = re.compile(r"[$€£¥₹₽₩¢()]|-$")
_GROUP = 3
"""Digits between two marks of thousands: one comma before three digits may be either mark."""
PREFIXED = re.compile(r"([A-Za-z][A-Za-z_#/-]*)0*[0-9]+")
_CSV, _SAVE, _GZIP = "deliver it as CSV", "save it as CSV", "deliver it as .csv or .csv.gz"
_PAGE = "check how it is downloaded"
_MAGIC = (
    (b"PAR1", "a Parquet file", _CSV),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", _SAVE),
    (b"BZh", "a bzip2 archive", _GZIP),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", _GZIP),
    (b"\xfd7zXZ", "an xz archive", _GZIP),
    (b"7z\xbc\xaf", "a 7z archive", _GZIP),
    (b"\x04\x22\x4d\x18", "an lz4 archive", _GZIP),
    (b"\x1f\x8b", "gzip inside gzip", _GZIP),
    (b"ORC", "an ORC file", _SAVE),
    (b"Obj\x01", "an Avro file", _SAVE),
    (b"SQLite format 3", "an SQLite database", _SAVE),
    (b"\x89PNG", "a picture", _SAVE),
    (b"\xff\xd8\xff", "a picture", _SAVE),
    (b"%PDF", "a PDF document", _SAVE),
    (b"<?xml", "XML", _SAVE),
    (b"<!DOCTYPE", "an HTML page, perhaps of an error or a login", _PAGE),
    (b"<html", "an HTML page, perhaps of an error or a login", _PAGE),
)
_WORDS = (b"ORC", b"PAR1")
"""Those of files that are never text."""


@dataclass(frozen=True)
class Format:
    """What a file is, and what to do about it."""

    what: str
    hint: str


def looks_like(start: bytes) -> Format | None:
    """Return the format of a file by its first bytes; None if it may be CSV text in UTF-8."""
    for magic, what, hint in _MAGIC:
        # A header may begin with the letters of a format, too: ORC_ID,…
        if start.startswith(magic) and not (magic in _WORDS and _is_text(start)):
            return Format(what, hint)
    if start.startswith(b"PK\x03\x04"):
        return _zip(start)
    zeros = (start[0::2].count(0), start[1::2].count(0))
    if max(zeros) > len(start) // 4 > 10 * min(zeros) and len(start) > 3:
        return Format("UTF-16 text without a byte order mark", 'set encoding = "utf-16" in its block')
    if zeros[0] + zeros[1] > len(start) // 2:
        return Format("binary data", _SAVE)
    if re.match(rb"\s*[{\[]\s*[\"{]", start):
        return Format("JSON", _CSV)
    return None


def _is_text(start: bytes) -> bool:
    """Return whether the first bytes of a file are UTF-8 text without control characters."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(start)
    return "\ufffd" not in text and not re.search(r"[\x00-\x08\x0e-\x1f]", text)


def _zip(start: bytes) -> Format:
    if b"xl/" in start or b"[Content_Types].xml" in start:
        return Format("an Excel workbook (.xlsx)", _SAVE)
    return Format("a zip archive", _GZIP)


def block_hint(key: str, block: SourceBlock, setting: str) -> str:
    """Return which setting to write, and where."""
    if block != DEFAULT:
        return f'set {setting} in the [[source]] block with match = "{block.match}"'
    folder = key.rpartition("/")[0]
    match = f"{folder}/**" if folder else "**"
    return f'write a [[source]] block with match = "{match}" and {setting}'


def without_header(written: Sequence[str], kind: Kind, key: str, block: SourceBlock) -> tuple[str, str, str] | None:
    """Return what is wrong with a file whose first line is data, the key and the hint; None if it may be a header."""
    values = [name for name in written if VALUE.fullmatch(name)]
    if len(values) < 2 or len(values) * 3 < len([name for name in written if name]):
        return None
    fields = ", ".join(_shortened(name) for name in written[:_SHOWN])
    names = f'header = ["{kind.columns[0].name}", …], the names in the order of the file'
    return f"it has no header: the first line is {fields}", key, block_hint(key, block, names)


def explain_missing(
    missing: Sequence[str],
    written: Sequence[str],
    line: str,
    kind: Kind,
    dialect: Dialect,
    key: str,
    block: SourceBlock,
) -> tuple[str, str, str]:
    """Return what is wrong with a header, the key, and the setting that mends it.

    ``line`` is the header; empty if the block names the columns.
    """
    if other := _other_delimiter(line, kind, dialect):
        spelled = "\\t" if other == "\t" else other
        what = f"its delimiter is {_named(other)}, not {_named(dialect.delimiter)}"
        return what, key, block_hint(key, block, f'delimiter = "{spelled}"')
    words = f"missing column{'s' if len(missing) > 1 else ''}"
    near = _nearest(missing, written, kind)
    named = ", ".join(f"{name} (is it {near[name]!r}?)" if name in near else name for name in missing)
    others = ", ".join(_shortened(name) for name in written[:_SHOWN]) + (", …" if len(written) > _SHOWN else "")
    if reversed_ := _reversed(missing, written, block):
        renames = ", ".join(f'"{name}" = "{column}"' for name, column in reversed_.items())
        setting = f"columns = {{{renames}}}: the name in the file comes first,"
        return f"{words}: {', '.join(missing)}", key, block_hint(key, block, setting)
    renames = ", ".join(f'"{near[name]}" = "{name}"' for name in missing if name in near)
    renames = renames or f'"NAME IN THE FILE" = "{missing[0]}"'
    return f"{words}: {named}; the file has {others}", key, block_hint(key, block, f"columns = {{{renames}}}")


def _named(delimiter: str) -> str:
    return {"\t": "a tab", ",": "a comma", ";": "a semicolon"}.get(delimiter, repr(delimiter))


def _shortened(name: str) -> str:
    return repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…")


def _other_delimiter(line: str, kind: Kind, dialect: Dialect) -> str:
    """Return the delimiter that gives more known names than the current one; empty if none does."""
    names = {plain_name(column.name) for column in kind.columns}

    def matches(delimiter: str) -> int:
        try:
            return len(names & {plain_name(name) for name in next(csv.reader([line], delimiter=delimiter), [])})
        except csv.Error:
            return 0

    if not line:
        return ""
    others = [name for name in DELIMITERS if name != dialect.delimiter]
    best = max(others, key=matches)
    return best if matches(best) > max(matches(dialect.delimiter), 1) else _by_count(line, others, dialect)


def _by_count(line: str, others: Sequence[str], dialect: Dialect) -> str:
    """Return a delimiter that splits a line of one field into several."""
    if dialect.delimiter in line:
        return ""
    best = max(others, key=line.count)
    return best if line.count(best) > 1 else ""


def _reversed(missing: Sequence[str], written: Sequence[str], block: SourceBlock) -> dict[str, str]:
    """Return the renames of a block that name the column first, as they should be."""
    inside = {plain_name(name): name for name in written if name}
    return {
        inside[plain_name(name)]: column
        for column, name in block.columns.items()
        if column in missing and plain_name(name) in inside
    }


def _nearest(missing: Sequence[str], written: Sequence[str], kind: Kind) -> dict[str, str]:
    """Return, for each missing column, the most similar name of the file that is no column of the schema."""
    known = {plain_name(column.name) for column in kind.columns}
    others = {plain_name(name): name for name in written if name and plain_name(name) not in known}
    results: dict[str, str] = {}
    for name in missing:
        if match := difflib.get_close_matches(plain_name(name), others, 1, 0.5):
            results[name] = others.pop(match[0])
    return results


def is_windows_text(record: bytes) -> bool:
    """Return whether bytes that are no UTF-8 may be text in cp1252 or its relatives: letters with accents, quotes."""
    return not set(record) & _NOT_WINDOWS


def advice(rule: str, value: str) -> str:
    """Return the setting of a block with which a value that breaks a rule of types may be read; empty if none is known.

    A date that may be of several formats is not decided: all of them are named.
    """
    value = value.strip()
    if value.upper() in NULL_WORDS or value == "\\N":
        return f"null = [{_quoted(value)}]"
    if "is not an ISO date" in rule:
        formats = [text for text in DATE_FORMATS if iso_of(value, (text,))]
        return " or ".join(f'dates = ["{text}"]' for text in formats)
    if "is not a decimal number" in rule or "is not a whole number" in rule:
        return _number_advice(value, "whole" in rule)
    return ""


def _number_advice(value: str, whole: bool) -> str:
    bare = MONEY.sub("", value).strip()
    accounting = ["accounting = true"] if bare != value else []
    if whole and (prefix := PREFIXED.fullmatch(bare)):
        return f'id_prefix = {{COLUMN = "{prefix[1]}"}}, if all ids have it (ids as texts are not supported yet)'
    marks = [mark for mark in bare if mark in ".,' \u00a0\u202f"]
    match marks:
        case []:
            return " and ".join(accounting)
        case [*_, "."] if marks.count(".") == 1:
            settings = [f'thousands = "{_mark(marks[0])}"'] if len(marks) > 1 else []
        case [","] if bare.rpartition(",")[2].isdigit() and len(bare.rpartition(",")[2]) == _GROUP:
            return " or ".join([" and ".join([f'{name} = ","', *accounting]) for name in ("decimal", "thousands")])
        case [*_, ","] if marks.count(",") == 1:
            settings = ['decimal = ","', *([f'thousands = "{_mark(marks[0])}"'] if len(marks) > 1 else [])]
        case [first, *_]:
            settings = [f'thousands = "{_mark(first)}"', *(['decimal = ","'] if first == "." else [])]
    return " and ".join([*settings, *accounting])


def _mark(mark: str) -> str:
    return mark if mark in ".,'" else " "


def _quoted(text: str) -> str:
    return '"\\\\N"' if text == "\\N" else f'"{text}"'
