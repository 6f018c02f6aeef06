"""How pages write numbers: money in full, changes with a sign and a word, never by colour alone."""

from decimal import Decimal

from jobs.pages.answer import Change
from jobs.report.templates import MINUS, number
from marts.dashboard import Figure

UNITS = ("money", "count", "percent", "decimal")
"""Units of numbers."""
_DIGITS = {"money": 2, "percent": 2, "decimal": 2, "count": 0}


def written(figure: Figure, value: int | None, is_mean: bool = False) -> str:
    """Write a value of a figure; a mean of a count has two digits more."""
    if value is None:
        return ""
    unit = " %" if figure.unit == "percent" else ""
    return f"{number(_decimal(figure, value, is_mean))}{unit}"


def readable(value: str | None, unit: str) -> str:
    """Write an exact text as people read it: with separators, and its unit; other texts stay as they are."""
    if value is None or unit not in UNITS:
        return value or ""
    return f"{number(Decimal(value))}{' %' if unit == 'percent' else ''}"


def plain(figure: Figure, value: int | None, is_mean: bool = False) -> str:
    """Write a value for CSV and JSON: digits only."""
    return "" if value is None else str(_decimal(figure, value, is_mean))


def _decimal(figure: Figure, value: int, is_mean: bool) -> Decimal:
    return Decimal(value).scaleb(-digits_of(figure, is_mean))


def digits_of(figure: Figure, is_mean: bool = False) -> int:
    """Return the digits after the point of a figure's values."""
    return 2 if is_mean else _DIGITS[figure.unit]


def scaled(figure: Figure, value: int | None, is_mean: bool = False) -> float | None:
    """Return a value as a chart draws it."""
    return None if value is None else value / 10 ** digits_of(figure, is_mean)


def change_text(change: Change) -> str:
    """Write a change in percent, with its sign; empty if there is nothing to compare with."""
    tenths = change.tenths
    if tenths is None:
        return ""
    sign = "+" if tenths > 0 else MINUS if tenths < 0 else ""
    return f"{sign}{abs(tenths) // 10:,}.{abs(tenths) % 10} %"


def direction(figure: Figure, change: Change) -> str:
    """Return up, down or same, and whether that is better or worse."""
    tenths = change.tenths
    if not tenths:
        return "same"
    way = "up" if tenths > 0 else "down"
    if figure.more_is == "neither":
        return way
    return f"{way} {'better' if (tenths > 0) == (figure.more_is == 'better') else 'worse'}"
