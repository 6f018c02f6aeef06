"""Escape untrusted text: one function per output format."""

import csv
import html
import io
import re
from collections.abc import Iterable

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_CALL = re.compile(r"@(everyone|here|channel|all)\b", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def visible(text: str, keep: str = "") -> str:
    r"""Replace unprintable characters with codes such as ``\x1b``: terminal escapes, NULs, text direction marks.

    Characters in ``keep`` are not replaced.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _code(c) for c in text)


def for_html(text: str) -> str:
    """Escape text for a page, between tags or in a quoted attribute."""
    return html.escape(visible(text))


def for_chat(text: str) -> str:
    """Escape text for a notice, which may become a mail, a chat message or an SMS: no mentions, no links.

    Replace the brackets of chat markup (``<!channel>``, ``[text](address)``) and the @ of group mentions.
    """
    displayed = visible(text).replace("<", "‹").replace(">", "›").replace("](", "] (")
    return _CALL.sub(r"(at) \1", displayed)


def for_spreadsheet(text: str) -> str:
    """Escape a cell of a CSV or Excel file: Excel, LibreOffice and Sheets run text that looks like a formula.

    A leading quote makes it text. Spreadsheets do not show the quote; `from_spreadsheet` removes it.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def csv_for_spreadsheet(rows: Iterable[Iterable[object]]) -> str:
    """Write rows as CSV that a spreadsheet opens without running a formula; no value is an empty cell."""
    text = io.StringIO()
    cells = [["" if value is None else for_spreadsheet(str(value)) for value in row] for row in rows]
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()


def from_spreadsheet(text: str) -> str:
    """Read a cell that was written by `for_spreadsheet`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
