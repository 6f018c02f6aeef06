"""Hide personal data wherever values are shown to people: reports, notices, pages, the terminal.

What is hidden keeps its shape, so that a broken value can still be recognised: ``+49 170 12`` becomes
``+99 999 99``. Card numbers are hidden everywhere, whatever the column, but for the first six and last four digits.
"""

import csv
import re
from collections.abc import Sequence

from marts.schema import Kind

_LETTER = re.compile(r"[^\W\d_]")
_DIGIT = re.compile(r"\d")
_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,}(?!\d)")
_GROUPS = re.compile(r"[ -]")
_CARD_DIGITS = range(13, 20)
_MAIL = re.compile(r"[^\s@,;\"'<>]+@[^\s@,;\"'<>]+")


def mask_shape(text: str) -> str:
    """Show letters as x and digits as 9."""
    return _DIGIT.sub("9", _LETTER.sub("x", text))


def mask_always(text: str) -> str:
    """Hide what is personal in any column: card numbers (by their Luhn digit) and mail addresses."""
    text = _DIGITS.sub(lambda found: _mask_cards(found[0]), text)
    return _MAIL.sub(lambda found: mask_shape(found[0]), text)


def mask_value(text: str, personal: bool) -> str:
    """Show one value of a column."""
    return mask_shape(text) if personal else mask_always(text)


def mask_line(kind: Kind, names: Sequence[str], raw: str, delimiter: str) -> str:
    """Show a line of a drop as it stood. Of one that does not fit its header, of a kind with people, only the shape."""
    personal = {column.name for column in kind.columns if column.personal}
    if not personal:
        return mask_always(raw)
    try:
        values = next(csv.reader([raw], delimiter=delimiter, strict=True), [])
    except csv.Error:
        values = []
    if len(values) != len(names):
        return mask_shape(raw)
    return delimiter.join(mask_value(value, name in personal) for name, value in zip(names, values, strict=True))


def _mask_cards(text: str) -> str:
    """Hide card numbers among groups of digits: other digits may stand before or behind."""
    ends = [0, *(found.end() for found in _GROUPS.finditer(text)), len(text) + 1]
    for first, start in enumerate(ends[:-1]):
        for stop in reversed(ends[first + 1 :]):
            part = text[start : stop - 1]
            if sum(character.isdigit() for character in part) in _CARD_DIGITS and _is_card(part):
                return text[:start] + mask_card(part) + _mask_cards_after(text[stop - 1 :])
    return text


def mask_card(number: str) -> str:
    """Show the first six and the last four digits, as PCI DSS 3.4.1 allows."""
    places = [place for place, character in enumerate(number) if character.isdigit()]
    hidden = set(places[6:-4])
    return "".join("*" if place in hidden else character for place, character in enumerate(number))


def _mask_cards_after(text: str) -> str:
    return text[:1] + _mask_cards(text[1:]) if text else text


def _is_card(text: str) -> bool:
    """Tell whether digits are a card number: the Luhn check (ISO/IEC 7812-1, annex B)."""
    digits = [int(digit) for digit in reversed(text) if digit.isdigit()]
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[1::2]]
    return (sum(digits[0::2]) + sum(doubled)) % 10 == 0 and any(digits)
