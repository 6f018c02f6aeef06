"""Mask personal data wherever values are shown to people: reports, notices, pages, the terminal.

A masked value keeps its shape, so that a broken value can still be recognised: ``+49 170 12`` becomes
``+99 999 99``. Card numbers are masked in every column, except for the first six and last four digits.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc

from marts.dialect import LineFormat
from marts.pack import EXTRA, Kind

_LETTER = re.compile(r"[^\W\d_]")
_DIGIT = re.compile(r"\d")
_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,}(?!\d)")
_MANY_DIGITS = r"\pN(?:[ -]?\pN){12}"
"""What each text with a card number matches, as RE2 writes it."""
_CARD_DIGITS = range(13, 20)
_LONGEST_CARD = 19 + 18
"""Maximum characters of a card number, with a separator between any two digits."""
_MAIL = re.compile(r"[^\s@,;\"'<>]{1,64}@[^\s@,;\"'<>]{1,255}")


def mask_shape(text: str) -> str:
    """Replace letters with x and digits with 9."""
    return _DIGIT.sub("9", _LETTER.sub("x", text))


def mask_always(text: str) -> str:
    """Mask what is personal in any column: card numbers (by their Luhn digit) and mail addresses."""
    return _MAIL.sub(lambda result: mask_shape(result[0]), mask_cards(text))


def mask_cards(text: str) -> str:
    """Mask the card numbers in a text."""
    return _DIGITS.sub(lambda result: _mask_cards(result[0]), text)


def free_texts(kind: Kind) -> tuple[str, ...]:
    """Return the columns, as they are named in clean rows, that may have card numbers."""
    names = tuple(column.clean_name for column in kind.columns if column.free_text)
    return (*names, EXTRA) if names and kind.is_fact else names


def without_cards(texts: pa.Array) -> pa.Array:
    """Return texts in which card numbers are masked."""
    many = pc.fill_null(pc.match_substring_regex(texts, _MANY_DIGITS), False)
    if not pc.any(many).as_py():
        return texts
    masked = [mask_cards(text) for text in texts.filter(many).to_pylist()]
    return pc.replace_with_mask(texts, many, pa.array(masked, texts.type))


def mask_value(text: str, personal: bool) -> str:
    """Mask one value of a column."""
    return mask_shape(text) if personal else mask_always(text)


def mask_line(kind: Kind, form: LineFormat, raw: str) -> str:
    """Mask a raw row of a drop. Of a kind with personal columns, show only the shape if it does not fit the header."""
    personal = {column.name for column in kind.columns if column.personal}
    if not personal:
        return mask_always(raw)
    values = form.values(raw)
    if not values:
        return mask_shape(raw)
    masked = (mask_value(value, name in personal) for name, value in zip(form.names, values, strict=True))
    return form.dialect.delimiter.join(masked)


def _mask_cards(text: str) -> str:
    """Mask card numbers in groups of digits; other digits may precede or follow them."""
    groups = [(result.start(), result.end()) for result in re.finditer(r"\d+", text)]
    displayed, done, first = [], 0, 0
    while first < len(groups):
        start, after = groups[first][0], first
        last = 0
        while after < len(groups) and groups[after][1] - start <= _LONGEST_CARD:
            after += 1
        for place in range(after - 1, first - 1, -1):
            part = text[start : groups[place][1]]
            if sum(map(str.isdigit, part)) in _CARD_DIGITS and _is_card(part):
                last = place + 1
                break
        if last:
            displayed += [text[done:start], mask_card(text[start : groups[last - 1][1]])]
            done = groups[last - 1][1]
        first = last or first + 1
    return "".join([*displayed, text[done:]])


def mask_card(number: str) -> str:
    """Mask a card number except for the first six and last four digits, as PCI DSS 3.4.1 allows."""
    places = [place for place, character in enumerate(number) if character.isdigit()]
    hidden = set(places[6:-4])
    return "".join("*" if place in hidden else character for place, character in enumerate(number))


def _is_card(text: str) -> bool:
    """Return whether the digits pass the Luhn check of card numbers (ISO/IEC 7812-1, annex B)."""
    digits = [int(digit) for digit in reversed(text) if digit.isdigit()]
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[1::2]]
    return (sum(digits[0::2]) + sum(doubled)) % 10 == 0 and any(digits)
