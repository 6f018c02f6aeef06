"""Text that others wrote, made harmless for where it is shown: one function per kind of output."""

import html
import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_CALL = re.compile(r"@(everyone|here|channel|all)\b", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def visible(text: str, keep: str = "") -> str:
    r"""Show what has no glyph of its own, as ``\x1b``: terminal escapes, NULs, marks that turn the direction of text.

    Characters of ``keep`` stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _code(c) for c in text)


def for_html(text: str) -> str:
    """Write text into a page, between tags or in a quoted attribute."""
    return html.escape(visible(text))


def for_chat(text: str) -> str:
    """Write text into a notice, which may become a mail, a chat message or an SMS: it calls nobody, and is no link.

    Markup of chats (``<!channel>``, ``[text](address)``) loses its brackets' meaning; a call of everybody loses its @.
    """
    displayed = visible(text).replace("<", "‹").replace(">", "›").replace("](", "] (")
    return _CALL.sub(r"(at) \1", displayed)


def for_spreadsheet(text: str) -> str:
    """Write a cell of a CSV or Excel file: Excel, LibreOffice and Sheets would run what looks like a formula.

    A quote before it makes it text, and is not shown by them; `from_spreadsheet` takes it away again.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_spreadsheet(text: str) -> str:
    """Read a cell that was written by `for_spreadsheet`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
