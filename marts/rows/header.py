"""Read the header of a drop: which column of the schema each field is."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from marts.dialect import PLAIN, Dialect
from marts.errors import DropRejected
from marts.expressions import missing_column, parsed
from marts.names import plain_name
from marts.pack import DIGITS, Kind
from marts.policy import nearest
from marts.rows.diagnosis import block_hint, explain_missing, without_header
from marts.rows.source_block import DEFAULT, SourceBlock

MAX_COLUMNS = 2000
BOM = "\ufeff"
_NUMBERS = ("id", "integer", *DIGITS)
"""Types of columns that are numbers."""
_UNNAMED = "\0"
"""Prefix of the names, in tables of text, of columns without a name."""


@dataclass(frozen=True)
class Header:
    """The columns of a drop, in the file's order."""

    names: tuple[str, ...]
    """Name of each field: of a column of the schema, or as in the file; empty for a column without a name."""
    known: tuple[str, ...]
    """Columns of the schema that are present, or given."""
    extra: tuple[str, ...]
    written: tuple[str, ...] = ()
    """Names as in the file; empty if the file has no header."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Values of columns that are not in the file."""
    computed: Mapping[str, str] = field(default_factory=dict)
    """Expressions by the column that they give."""
    person: str = ""
    """Column of the person that a row is of."""
    digits: Mapping[str, int] = field(default_factory=dict)
    """Digits after the point of the columns that are numbers."""

    @property
    def fields(self) -> list[str]:
        """Return a different name for each field of a row."""
        return [name or f"{_UNNAMED}{place}" for place, name in enumerate(self.names)]

    @property
    def unnamed(self) -> list[str]:
        """Return the fields without a name."""
        return [name for name in self.fields if name.startswith(_UNNAMED)]

    @property
    def all(self) -> tuple[str, ...]:
        """Return the names of all columns, those that are given too."""
        names = dict.fromkeys((*filter(None, self.names), *self.given, *self.computed))
        return tuple(names)


def split_names(line: str, dialect: Dialect) -> list[str]:
    """Return the names in a header line. Raise DropRejected if it is not valid CSV."""
    if line.count(dialect.delimiter) >= MAX_COLUMNS:
        raise DropRejected(f"the header has more than {MAX_COLUMNS:,} columns")
    try:
        fields = dialect.fields(line)
    except csv.Error as error:
        raise DropRejected(f"the header is not valid CSV: {error}") from error
    return [name.strip().strip(BOM).strip() for name in fields]


def read_header(
    first_line: bytes,
    kind: Kind,
    dialect: Dialect = PLAIN,
    block: SourceBlock = DEFAULT,
    key: str = "",
) -> Header:
    """Read the header in any order and spelling of names. Raise DropRejected if the drop cannot be read with it.

    ``first_line`` is the header, or the first row of a file without one.
    """
    given = block.given(key)
    if given is None:
        raise DropRejected(f"its key does not fit from_path {block.from_path!r}", key, "correct from_path in the block")
    if wrong := block.misfit(kind.key is not None, key):
        raise DropRejected(wrong, key, "correct the [[source]] block")
    written = list(block.header) or split_names(_as_text(first_line, key, block), dialect)
    names = [_name(name, kind, block) for name in written]
    given = {_name(name, kind, block): value for name, value in given.items()}
    computed = {_name(name, kind, block): text for name, text in block.compute.items()}
    present = {*names, *given, *computed}
    missing = [column.name for column in kind.columns if column.mandatory and column.name not in present]
    if missing and not block.header and (headless := without_header(written, kind, key, block)):
        raise DropRejected(*headless)
    _reject_repeats(names, written, given)
    for text in computed.values():
        if absent := missing_column(parsed(text), [*names, *given]):
            others = nearest(absent, [name for name in (*names, *given) if name])
            raise DropRejected(f"compute names a column {absent!r} that the file does not have{others}", key, "")
    if missing:
        line = "" if block.header else first_line.decode("utf-8", "replace").strip()
        raise DropRejected(*explain_missing(missing, written, line, kind, dialect, key, block))
    known = {column.name for column in kind.columns}
    return Header(
        tuple(names),
        tuple(column.name for column in kind.columns if column.name in present),
        tuple(sorted(name for name in present if name and name not in known)),
        () if block.header else tuple(written),
        given,
        computed,
        kind.person,
        {column.name: DIGITS.get(column.type, 0) for column in kind.columns if column.type in _NUMBERS},
    )


def _as_text(line: bytes, key: str, block: SourceBlock) -> str:
    try:
        text = line.decode("utf-8").removeprefix(BOM).rstrip("\r\n")
    except UnicodeDecodeError as error:
        hint = block_hint(key, block, 'its encoding, such as encoding = "cp1252"')
        raise DropRejected("the header is not UTF-8 text", key, hint) from error
    if "\0" in text:
        raise DropRejected("the file is not text: NUL in the header", key)
    return text


def _name(written: str, kind: Kind, block: SourceBlock) -> str:
    """Return the name of a column: as the block says, that of the schema in any spelling, or as written."""
    renamed = next(
        (column for name, column in block.columns.items() if plain_name(name) == plain_name(written)), written
    )
    return _columns(kind).get(plain_name(renamed), renamed.strip().lower())


@lru_cache(maxsize=64)
def _columns(kind: Kind) -> dict[str, str]:
    """Return the columns of a kind by their plain names."""
    return {plain_name(column.name): column.name for column in kind.columns}


def _reject_repeats(names: Sequence[str], written: Sequence[str], given: Mapping[str, str]) -> None:
    """Raise DropRejected if two fields are one column, or if a given column is in the file too."""
    fields = [name for name in names if name]
    repeats = sorted({name for name in fields if fields.count(name) > 1}) if len(set(fields)) < len(fields) else []
    if repeats:
        spelled = sorted({old for old, new in zip(written, names, strict=True) if new in repeats})
        also = f" (as {', '.join(map(repr, spelled))})" if spelled != repeats else ""
        raise DropRejected(f"the header names a column twice: {', '.join(map(repr, repeats))}{also}")
    both = sorted(set(given) & set(fields))
    if both:
        where = ", ".join(map(repr, both))
        raise DropRejected(f"{where} is in the file and in constants or from_path", "", "remove it from the block")
