"""Read a stream of bytes as UTF-8 lines, by the layout that its first bytes show."""

from typing import Protocol

from jobs.state.manifest import Delivery
from jobs.steps.scan_settings import ScanSettings
from marts.errors import DropRejected
from marts.rows.diagnosis import looks_like
from marts.rows.header import read_header
from marts.rows.layout import START, Decoder, find_layout
from marts.rows.source_block import SourceBlock
from marts.rows.text_rows import RowFormat

MAX_HEADER = 1 << 20
"""Maximum bytes of the header line."""


class Bytes(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""


class TextStream:
    """The text of a file, decoded piece by piece."""

    def __init__(self, raw: Bytes, block: SourceBlock, ahead: int = START) -> None:
        """Read ``ahead`` bytes at once, at least START: a small file in one piece."""
        start = _filled(raw, ahead)
        self.start = start[:START]
        """The first bytes."""
        self.layout = find_layout(self.start, block)
        self._raw, self._ended = raw, len(start) < ahead
        self._decoder = None if self.layout.as_is else Decoder(self.layout)
        self._pending = self._decoded(start[self.layout.mark :])

    def read(self, size: int) -> bytes:
        """Return the next piece of at least ``size`` bytes, fewer only at the end; an empty one if nothing is left."""
        data, self._pending = self._pending, b""
        while len(data) < size and not self._ended:
            piece = self._raw.read(size - len(data))
            self._ended = not piece
            piece = self._decoded(piece)
            data = data + piece if data else piece
        return data

    def readline(self, most: int) -> bytes:
        """Return the next line. Raise DropRejected if there is none, or if it is longer than ``most`` bytes."""
        text = self.read(START)
        while not (end := text.find(b"\n") + 1) and len(text) <= most and (piece := self.read(START)):
            text += piece
        if not text:
            raise DropRejected("the text ends before the header")
        end = end or len(text)
        if end > most:
            raise DropRejected(f"the header is longer than {most:,} bytes")
        self._pending = text[end:]
        return text[:end]

    def _decoded(self, data: bytes) -> bytes:
        return self._decoder.decode(data, self._ended) if self._decoder else data


def read_format(settings: ScanSettings, delivery: Delivery, text: TextStream) -> tuple[RowFormat, int]:
    """Read the lines before the first row. Return how rows are read, and the number of these lines.

    Raise DropRejected if the drop cannot be read.
    """
    block, layout = settings.block(delivery.key), text.layout
    if layout.by_byte and (other := looks_like(text.start)):
        raise DropRejected(f"it is not CSV text but {other.what}", delivery.key, other.hint)
    for _ in range(layout.skip):
        text.readline(MAX_HEADER)
    first = b"" if block.header else text.readline(MAX_HEADER)
    header = read_header(first, settings.pack.kinds[delivery.kind], layout.dialect, block, delivery.key)
    return RowFormat(header, layout.dialect, block), layout.skip + (0 if block.header else 1)


def _filled(raw: Bytes, size: int) -> bytes:
    """Read ``size`` bytes, fewer only at the end of the stream."""
    data = b""
    while len(data) < size and (piece := raw.read(size - len(data))):
        data += piece
    return data
