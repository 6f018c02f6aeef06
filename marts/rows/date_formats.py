"""Rewrite dates of other formats as ISO dates and timestamps, strictly: a format is never guessed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache

EXCEL = "excel"
"""Serial numbers of spreadsheets: days since 1899-12-30; the fraction is the time."""
_EXCEL_EPOCH = date(1899, 12, 30)
_EXCEL_FROM, _EXCEL_TO = 61, 2_958_465
"""1900-03-01, before which spreadsheets disagree, and 9999-12-31."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_SECONDS = 86_400
_SPACE = r"[\s\u00a0\u2009\u202f]+"
"""White space of a format: in a file it may be a space that does not break, too."""
_PARTS = {
    "d": r"(?P<d>0[1-9]|[12][0-9]|3[01]|[1-9])",
    "m": r"(?P<m>0[1-9]|1[0-2]|[1-9])",
    "Y": r"(?P<Y>[0-9]{4})",
    "y": r"(?P<y>[0-9]{2})",
    "b": rf"(?P<b>{'|'.join(_MONTHS)})[a-z]*\.?",
    "H": r"(?P<H>[01][0-9]|2[0-3]|[0-9])",
    "I": r"(?P<I>0[1-9]|1[0-2]|[1-9])",
    "M": r"(?P<M>[0-5][0-9])",
    "S": r"(?P<S>[0-5][0-9])",
    "f": r"(?P<f>[0-9]{1,9})",
    "p": r"(?P<p>[AaPp])\.?[Mm]\.?",
    "z": r"(?P<z>Z|[+-][0-9]{2}:?[0-9]{2})",
    "%": "%",
}
"""Patterns of the directives of strftime that are supported."""
_FIXED = {
    "d": r"(?P<d>0[1-9]|[12][0-9]|3[01])",
    "m": r"(?P<m>0[1-9]|1[0-2])",
    "H": r"(?P<H>[01][0-9]|2[0-3])",
    "I": r"(?P<I>0[1-9]|1[0-2])",
}
"""The same with two digits."""


@dataclass(frozen=True)
class DateFormat:
    """One format, such as ``%d.%m.%Y``."""

    pattern: re.Pattern[str]

    @classmethod
    def of(cls, text: str) -> "DateFormat":
        """Read a format. Raise ValueError if it has no full date or an unknown directive."""
        return _compiled(text)

    def iso(self, text: str) -> str | None:
        """Return the ISO form of a text; None if the format does not fit."""
        match = self.pattern.fullmatch(text)
        return _iso(match) if match else None

    def find_in(self, text: str) -> str | None:
        """Return the ISO form of the first date within a text, not within a longer number; None if there is none."""
        pattern = self.pattern.pattern
        before, after = "(?<![0-9])" * pattern.startswith("("), "(?![0-9])" * pattern.endswith(")")
        match = re.search(f"{before}{pattern}{after}", text, self.pattern.flags)
        return _iso(match) if match else None


def _iso(match: re.Match[str]) -> str:
    """Return the ISO form of a match of a format."""
    part = match.groupdict()
    month = part.get("m") or str(_MONTHS.index(part["b"].lower()) + 1)
    # As POSIX does: 69 to 99 are of the 20th century.
    year = part.get("Y") or ("19" if part["y"] >= "69" else "20") + part["y"]
    day = f"{year}-{month:0>2}-{part['d']:0>2}"
    hour = part.get("H")
    if twelve := part.get("I"):
        hour = str(int(twelve) % 12 + (12 if part["p"].lower() == "p" else 0))
    if hour is None:
        return day
    time = f"{hour:0>2}:{part.get('M') or '00'}:{part.get('S') or '00'}"
    fraction = f".{part['f']}" if part.get("f") else ""
    return f"{day}T{time}{fraction}{(part.get('z') or '').upper()}"


@lru_cache(maxsize=64)
def _compiled(text: str) -> DateFormat:
    named: list[str] = []
    pieces: list[str] = []
    parts = re.findall(r"%.?|[^%\s]+|\s+", text)
    for place, piece in enumerate(parts):
        if piece.startswith("%"):
            name = "b" if piece[1:] in ("B", "h") else piece[1:]
            if name not in _PARTS:
                known = " ".join(f"%{part}" for part in _PARTS)
                raise ValueError(f"{piece!r} in {text!r} is not supported; known: {known}")
            if name in named:
                raise ValueError(f"{piece!r} is twice in {text!r}")
            named.append(name)
            beside = (*parts[max(place - 1, 0) : place], *parts[place + 1 : place + 2])
            # Beside other digits a part has all of its own: 2024111 is neither 11 January nor 1 November.
            pieces.append(_FIXED.get(name, _PARTS[name]) if any(b.startswith("%") for b in beside) else _PARTS[name])
        else:
            pieces.append(_SPACE if piece.isspace() else re.escape(piece))
    if not ({"d"} <= set(named) and len({"m", "b"} & set(named)) == 1 and len({"Y", "y"} & set(named)) == 1):
        raise ValueError(f'{text!r} must name day, month and year, such as "%d.%m.%Y"')
    if ("I" in named) != ("p" in named):
        raise ValueError(f"%I and %p need each other in {text!r}")
    if {"M", "S", "f", "z"} & set(named) and not {"H", "I"} & set(named):
        raise ValueError(f"{text!r} has a time without an hour")
    return DateFormat(re.compile("".join(pieces), re.IGNORECASE | re.ASCII))


def _excel(text: str) -> str | None:
    """Return the ISO form of a serial number, to the second; None if it is no date."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or not _EXCEL_FROM <= number < _EXCEL_TO + 1:
        return None
    days, seconds = divmod(round(number * _DAY_SECONDS), _DAY_SECONDS)
    if days > _EXCEL_TO:
        return None
    day = _EXCEL_EPOCH + timedelta(days=days)
    if not seconds:
        return day.isoformat()
    return f"{day}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def iso_of(text: str, formats: Sequence[str], decimal: str = ".") -> str | None:
    """Return the ISO form of a text by the first format that fits; None if none does.

    ``decimal`` is the mark before the fraction of a serial number.
    """

    def read(name: str) -> str | None:
        return DateFormat.of(name).iso(text) if name != EXCEL else _excel(text.replace(decimal, "."))

    return next((iso for name in formats if (iso := read(name)) is not None), None)
