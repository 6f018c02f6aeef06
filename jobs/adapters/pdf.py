"""Set PDF documents by Typst: of a template and its inputs, without a clock, the network or fonts of the machine.

A document is PDF/A-3a (it can be kept: fonts are in it, and files may be) and PDF/UA-1 (tagged, for screen readers) at
once. Equal inputs give equal bytes.
"""

import logging
import re
import struct
import tempfile
import zlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from itertools import accumulate, pairwise
from pathlib import Path

from jobs.runtime import scratch
from marts.errors import DataError, Defect, UsageError

FONT = "Source Sans Pro"
_FACES = ("SourceSansPro-Regular.otf", "SourceSansPro-Semibold.otf")
_STANDARDS = ("a-3a", "ua-1")
_TABLE = re.compile(rb"xref\s0 \d+\n((?:\d{10} \d{5} [fn]\r\n)+)trailer\s<</Size \d+(.*)>>\sstartxref\s.*", re.DOTALL)
_ENTRY = 20
"""Bytes of an entry of the table of places."""
_GROUP = 1000
"""Objects that are compressed together."""
_NAMED = 20
"""Characters that an error names."""
_MISSING = re.compile(r'the text `"(.+?)"` could not be displayed', re.DOTALL)
_CODE = re.compile(r"\\u\{([0-9a-f]+)\}")
_log = logging.getLogger("marts.pdf")


class GlyphsMissing(DataError):
    """No font has glyphs for some characters."""

    characters: str = ""
    """All of them, sorted."""

    @classmethod
    def of(cls, characters: str) -> "GlyphsMissing":
        """Return the error for some characters."""
        error = cls(f"no font has {named(characters)}", "PDF", "name a folder of fonts that have them")
        error.characters = characters
        return error


def named(characters: str) -> str:
    """Name characters by their codes, which every font has."""
    codes = [f"U+{ord(character):04X}" for character in characters[:_NAMED]]
    more = len(characters) - _NAMED
    return ", ".join(codes) + (f" and {more} more" if more > 0 else "")


def typeset(
    template: bytes, inputs: Mapping[str, str], day: date, fonts: Path | None = None, is_strict: bool = True
) -> bytes:
    """Return the PDF of a template, which reads ``inputs`` as ``sys.inputs``; ``day`` is the date of the document.

    ``fonts`` is a folder of fonts for characters that Source Sans Pro has not. Raises GlyphsMissing if these have not
    all either; if not ``is_strict``, such characters are boxes, and the document follows neither standard. Raises
    UsageError if there is no such folder.
    """
    import typst

    if fonts and not fonts.is_dir():
        raise UsageError("no such folder of fonts", str(fonts), "name a folder with .ttf or .otf files")
    with tempfile.TemporaryDirectory(dir=scratch.folder()) as folder:
        _link_faces(Path(folder))
        known = typst.Fonts(
            include_system_fonts=False,
            include_embedded_fonts=False,
            font_paths=[folder, *([str(fonts)] if fonts else [])],
        )
        try:
            written, warnings = typst.compile_with_warnings(  # type: ignore[call-overload]  # its stub wants one type twice
                template,
                root=folder,
                font_paths=known,
                sys_inputs=dict(inputs),
                format="pdf",
                pdf_standards=list(_STANDARDS) if is_strict else [],
                timestamp=datetime.combine(day, time(), UTC),
            )
        except typst.TypstError as error:
            if missing := _missing(error.diagnostic):
                raise GlyphsMissing.of(missing) from error
            raise Defect(f"Typst refuses the template: {error.diagnostic}", "PDF", "please report it") from error
    for warning in warnings:
        _log.warning("Typst: %s", warning.message)
    return _packed(bytes(written))


def _missing(diagnostic: str) -> str:
    """Return the characters that Typst could not set. It names letters that bear a mark, too, which fonts have."""
    texts = "".join(_MISSING.findall(diagnostic))
    return "".join(sorted({letter for letter in _CODE.sub(_character, texts) if not letter.isascii()}))


def _character(code: re.Match[str]) -> str:
    return chr(int(code[1], 16))


def _link_faces(folder: Path) -> None:
    """Link the faces that documents use: the package has each as two formats, and a folder has no fixed order."""
    import font_source_sans_pro

    for name in _FACES:
        (folder / name).symlink_to(Path(font_source_sans_pro.font_directory) / name)


def _packed(document: bytes) -> bytes:
    """Return a PDF of Typst with its objects compressed, as PDF 1.5 allows: the tags of tables are most of a report.

    Objects without a stream go into streams of objects, and the table of places becomes a stream, too.
    """
    start = int(document[document.rindex(b"startxref") :].split()[1])
    table = _TABLE.fullmatch(document, start)
    assert table
    entries, trailer = table.groups()
    places = [int(entries[at : at + 10]) for at in range(_ENTRY, len(entries), _ENTRY)]
    following = dict(pairwise([*sorted(places), start]))
    bodies = {
        number: document[place : following[place]].split(b" obj\n", 1)[1].rstrip().removesuffix(b"endobj").rstrip()
        for number, place in enumerate(places, 1)
    }
    plain = [number for number, body in bodies.items() if not body.endswith(b"endstream")]
    written = bytearray(document[: min(places)])
    placed: dict[int, tuple[int, int, int]] = {0: (0, 0, 65535)}

    def add(number: int, body: bytes) -> None:
        placed[number] = (1, len(written), 0)
        written.extend(b"%d 0 obj\n%b\nendobj\n" % (number, body))

    for number, body in bodies.items():
        if body.endswith(b"endstream"):
            add(number, body)
    for at in range(0, len(plain), _GROUP):
        group, own = plain[at : at + _GROUP], len(places) + 1 + at // _GROUP
        ends = [0, *accumulate(len(bodies[number]) + 1 for number in group)]
        index = b" ".join(b"%d %d" % pair for pair in zip(group, ends, strict=False)) + b"\n"
        sizes = b"/Type/ObjStm/N %d/First %d" % (len(group), len(index))
        add(own, _stream(sizes, index + b"\n".join(bodies[number] for number in group)))
        placed |= {number: (2, own, place) for place, number in enumerate(group)}
    last = len(placed)
    placed[last] = (1, len(written), 0)
    rows = b"".join(struct.pack(">BIH", *placed[number]) for number in range(last + 1))
    place = len(written)
    add(last, _stream(b"/Type/XRef/W[1 4 2]/Size %d%b" % (last + 1, trailer), rows))
    return bytes(written) + b"startxref\n%d\n%%%%EOF\n" % place


def _stream(entries: bytes, content: bytes) -> bytes:
    """Return a compressed stream with entries of its dictionary."""
    packed = zlib.compress(content, 9)
    return b"<<%b/Filter/FlateDecode/Length %d>>\nstream\n%b\nendstream" % (entries, len(packed), packed)
