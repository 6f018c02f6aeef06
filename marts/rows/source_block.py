"""How files are read: the `[[source]]` blocks of the settings. The first block whose pattern fits a key holds."""

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from marts.expressions import parsed
from marts.names import plain_name
from marts.policy import known_zone
from marts.rows.date_formats import EXCEL, DateFormat

_LINE_ENDS = "\r\n\0"
_ORDERS = ("time", "name")
_NO_ENCODINGS = ("idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape")
"""Codecs of Python that are for other things than the text of files."""


class SourceBlock(BaseModel):
    """How the objects that a pattern matches are read. Without settings: comma, UTF-8, ISO dates, decimal points."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: str = Field("**", min_length=1, description="which objects: a glob over the key; `**` spans folders")
    kind: str | None = Field(None, description="kind of drop; by default that of the folder")
    ignore: bool = Field(False, description="leave these objects out")
    format: Literal["csv", "jsonl", "parquet", "xlsx"] = Field("csv", description="format of the files")
    sheet: str | None = Field(None, description="sheet of a workbook; by default the first")
    delimiter: str = Field(",", min_length=1, max_length=1, description="one character between fields")
    quote: str = Field('"', max_length=1, description="character around fields; empty: none")
    encoding: str = Field("utf-8", description="of the text; a byte order mark overrides it")
    decimal: Literal[".", ","] = Field(".", description="decimal mark")
    thousands: Literal["", ".", ",", "'", " ", "_"] = Field("", description="mark between groups of three digits")
    accounting: bool = Field(False, description="read $12.50, (12.50) and 12.50- in amounts")
    dates: tuple[str, ...] = Field((), description='date formats in order, such as "%d.%m.%Y"; "excel": serial numbers')
    timezone: str | None = Field(None, description="time zone of times without an offset; by default the business's")
    null: tuple[str, ...] = Field((), description="words that mean an empty field")
    skip_lines: int = Field(0, ge=0, le=1000, description="lines before the header")
    footer: str | None = Field(None, description="regular expression (RE2) of lines that are no data")
    header: tuple[str, ...] = Field((), description="names of the columns, if the files have no header")
    columns: dict[str, str] = Field({}, description="names in the file, and the columns that they are")
    constants: dict[str, str] = Field({}, description="values of columns that the files do not have")
    compute: dict[str, str] = Field({}, description="columns, and the SQL expressions over the file's columns they are")
    id_prefix: dict[str, str] = Field({}, description="letters before the number of an id, by column: taken off")
    from_path: str | None = Field(None, description="regular expression with groups named as columns, for the key")
    delivers: Literal["days", "month-to-date", "everything", "changes"] = Field(
        "days",
        description="what a drop holds: lines to add, the month so far, all lines, or changed rows of a dimension",
    )
    duplicates: Literal["stop", "last"] = Field(
        "stop", description="what a run does if a key is twice in a dimension: stop, or take the last row"
    )
    order: str = Field(
        "time", description='order of deliveries: by "time", by "name", or by the date in the key, such as "_%Y%m%d"'
    )

    @field_validator("constants", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """Write numbers, dates and truth values of TOML as text."""
        if not isinstance(value, Mapping):
            return value
        return {name: str(item) if isinstance(item, int | float | date) else item for name, item in value.items()}

    @field_validator("delimiter", "quote")
    @classmethod
    def _plain(cls, value: str) -> str:
        if value and (value in _LINE_ENDS or not value.isascii()):
            raise ValueError("must be one ASCII character, not a line end")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str) -> str:
        try:
            codec = codecs.lookup(name)
            b"".decode(codec.name)  # not a codec from bytes to bytes
        except LookupError as error:
            raise ValueError(f"{name!r} is not an encoding; use a name such as cp1252 or utf-16") from error
        if codec.name in _NO_ENCODINGS:
            raise ValueError(f"{name!r} is no encoding of files")
        return codec.name

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        return None if name is None else known_zone(name)

    @field_validator("dates")
    @classmethod
    def _valid_formats(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        for text in formats:
            if text != EXCEL:
                DateFormat.of(text)
        return formats

    @field_validator("order")
    @classmethod
    def _valid_order(cls, text: str) -> str:
        if text not in _ORDERS:
            DateFormat.of(text)
        return text

    @field_validator("footer")
    @classmethod
    def _valid_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            import pyarrow as pa  # imported here: reading the settings of most commands needs no Arrow
            import pyarrow.compute as pc

            try:
                pc.match_substring_regex(pa.array([""]), pattern)
            except pa.ArrowInvalid as error:
                raise ValueError(f"is not a regular expression of RE2: {error}") from error
        return pattern

    @field_validator("compute")
    @classmethod
    def _valid_expressions(cls, expressions: dict[str, str]) -> dict[str, str]:
        for text in expressions.values():
            parsed(text)
        return expressions

    @field_validator("from_path")
    @classmethod
    def _names_groups(cls, pattern: str | None) -> str | None:
        try:
            named = re.compile(pattern).groupindex if pattern is not None else {"": 0}
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        if not named:
            raise ValueError(r'names no column; write a group such as "dt=(?P<COLUMN>[0-9-]+)/"')
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.quote == self.delimiter:
            raise ValueError("delimiter and quote are the same character")
        if self.thousands == self.decimal:
            raise ValueError("thousands and decimal are the same character")
        groups = re.compile(self.from_path).groupindex if self.from_path else ()
        if repeated := _repeated([*self.constants, *groups, *self.compute]):
            raise ValueError(f"constants, from_path and compute give a column twice: {repeated}")
        for setting, names in (("columns", self.columns), ("id_prefix", self.id_prefix)):
            if repeated := _repeated(names):
                raise ValueError(f"{setting} names a column twice: {repeated}")
        return self

    def prefix(self, column: str) -> str:
        """Return the letters before the ids of a column; empty if there are none."""
        if not self.id_prefix:
            return ""
        plain = plain_name(column)
        return next((text for name, text in self.id_prefix.items() if plain_name(name) == plain), "")

    def given(self, key: str) -> dict[str, str] | None:
        """Return the values of columns that are not in the file, by name; None if the key does not fit from_path."""
        if self.from_path is None:
            return dict(self.constants)
        match = re.search(self.from_path, key)
        return None if match is None else {**self.constants, **{n: v or "" for n, v in match.groupdict().items()}}

    @property
    def reading(self) -> str:
        """Return what decides how rows are read: blocks that read alike return the same."""
        others = {"match", "kind", "ignore", "order", "duplicates"}
        if self.delivers != "changes":  # its rows may have an operation
            others.add("delivers")
        return self.model_dump_json(exclude_defaults=True, exclude=others)

    def rank(self, place: tuple[str, str]) -> tuple[str, str]:
        """Return the sort key of a delivery by its place: the time when it was first seen, and its name then."""
        if self.order == "time":
            return place
        name = place[1]
        return "" if self.order == "name" else DateFormat.of(self.order).find_in(name) or "", name

    def misfit(self, is_dimension: bool, key: str) -> str:
        """Return why the block cannot be that of a drop of a dimension, or of others; empty if it can."""
        if self.order not in _ORDERS and DateFormat.of(self.order).find_in(key) is None:
            return f"its key has no date as order {self.order!r} says"
        if (self.duplicates == "last" or self.delivers == "changes") and not is_dimension:
            return 'delivers = "changes" and duplicates = "last" are for dimensions'
        if self.delivers == "month-to-date" and is_dimension:
            return 'delivers = "month-to-date" is not for dimensions'
        return ""


def _repeated(names: Iterable[str]) -> str:
    """Return the names that are spelled in several ways, or given several times; empty if none is."""
    spelled = sorted(names)
    plain = [plain_name(name) for name in spelled]
    return ", ".join(name for name in spelled if plain.count(plain_name(name)) > 1)


DEFAULT = SourceBlock()
"""The way objects that no block matches are read."""


@lru_cache(maxsize=1024)
def pattern_of(glob: str) -> re.Pattern[str]:
    """Return the regular expression of a glob over keys, in any case of letters; only `**` spans folders."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|[^*?\[]+|\[", glob)
    text = "".join(
        parts.get(piece) or (piece.replace("[!", "[^") if len(piece) > 1 and piece[0] == "[" else re.escape(piece))
        for piece in pieces
    )
    return re.compile(text, re.IGNORECASE | re.DOTALL)


def block_of(key: str, blocks: Sequence[SourceBlock]) -> SourceBlock:
    """Return the first block that matches a key, or the default."""
    number = number_of(key, blocks)
    return blocks[number - 1] if number else DEFAULT


def number_of(key: str, blocks: Sequence[SourceBlock]) -> int:
    """Return the number of the block that holds for an object, from 1; 0 if none does."""
    return next((number for number, block in enumerate(blocks, 1) if pattern_of(block.match).fullmatch(key)), 0)


def literal_folder(glob: str) -> str:
    """Return the folder of a glob up to its first wildcard: all matching keys are below it."""
    return re.split(r"[*?\[]", glob, maxsplit=1)[0].rpartition("/")[0]
