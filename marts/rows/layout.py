"""What the first bytes of a text file say about it: encoding, line ends, delimiter, lines before the header."""

import codecs
from dataclasses import dataclass

from marts.dialect import PLAIN, Dialect
from marts.errors import DropRejected
from marts.rows.source_block import SourceBlock

START = 64 << 10
"""Bytes at the start of a file from which its layout is found."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks; those of UTF-32 begin with those of UTF-16."""
_WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_ASCII_LIKE = bytes(range(128))


@dataclass(frozen=True)
class Layout:
    """How the text of one file is stored."""

    encoding: str = "utf-8"
    mark: int = 0
    """Bytes of the byte order mark."""
    returns: bool = False
    """Whether lines end with a carriage return alone."""
    dialect: Dialect = PLAIN
    skip: int = 0
    """Lines before the header, or before the first row if there is no header."""

    @property
    def as_is(self) -> bool:
        """Return whether the bytes are UTF-8 lines already, of which any range can be read."""
        return self.encoding in ("utf-8", "ascii") and not self.returns

    @property
    def by_byte(self) -> bool:
        """Return whether a range of bytes that ends at a line end can be decoded by itself."""
        return not self.returns and self.encoding not in _WIDE and _is_ascii_like(self.encoding)

    def decode(self, data: bytes) -> bytes:
        """Return a whole range of the file as UTF-8. Bytes that are no text stay: they break the rows they are in."""
        if self.as_is:
            return data
        text = data.decode(self.encoding, "surrogateescape")
        return _encoded(text.replace("\r", "\n") if self.returns else text)


def find_layout(start: bytes, block: SourceBlock) -> Layout:
    """Return the layout of a file by its first bytes and its block."""
    mark, encoding = next(
        ((len(mark), name) for mark, name in _MARKS if start.startswith(mark)), (0, _exact(block.encoding, start))
    )
    text = start[mark:].decode(encoding, "replace")
    returns = "\n" not in text and "\r" in text
    lines = text.split("\r" if returns else "\n")
    delimiter = block.delimiter
    skip = block.skip_lines
    first = lines[0].rstrip("\r").strip('"')
    # Written by spreadsheets for spreadsheets; with skip_lines the line may be counted there already.
    if first[:4].lower() == "sep=" and len(first) == 5 and first[4].isascii():
        delimiter, skip = first[4], max(skip, 1)
    return Layout(encoding, mark, returns, Dialect(delimiter, block.quote), skip)


def _exact(encoding: str, start: bytes) -> str:
    """Return an encoding with its byte order: without a mark, UTF-16 is little-endian unless zeros come first."""
    if encoding not in ("utf-16", "utf-32"):
        return encoding
    return f"{encoding}-{'be' if start[:1] == bytes(1) else 'le'}"


def _is_ascii_like(encoding: str) -> bool:
    """Return whether each byte below 128 is that character, alone, as line ends and delimiters must be."""
    try:
        ascii_same = _ASCII_LIKE.decode(encoding) == _ASCII_LIKE.decode("ascii")
        # In Shift JIS, GBK and the like, a second byte may be the code of an ASCII character.
        return ascii_same and len(bytes(range(128, 256)).decode(encoding, "replace")) == 128
    except (UnicodeDecodeError, LookupError):
        return False


class Decoder:
    """Decode a stream of bytes, in pieces, into UTF-8 lines."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        # UTF-16 has no way to keep a byte that is no text; in the other encodings such a byte breaks its row only.
        wide = layout.encoding in _WIDE
        self._decoder = codecs.getincrementaldecoder(layout.encoding)("strict" if wide else "surrogateescape")

    def decode(self, data: bytes, final: bool = False) -> bytes:
        """Return the next piece as UTF-8. Raise DropRejected if it is not text in this encoding."""
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            raise DropRejected(f"is not {self._layout.encoding} text: {error.reason}") from error
        return _encoded(text.replace("\r", "\n") if self._layout.returns else text)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
