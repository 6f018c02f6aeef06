"""The last day that counts: a date, or a word that counts from today."""

from datetime import date, timedelta
from typing import Literal, get_args

DayWord = Literal["today", "yesterday", "monday", "month-end"]
DAY_WORDS: tuple[DayWord, ...] = get_args(DayWord)


def read_day(text: str) -> date | DayWord:
    """Return a date, or one of the words. Raise ValueError for another text."""
    for word in DAY_WORDS:
        if text == word:
            return word
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        *words, last = DAY_WORDS
        what = f"{text[:60]!r} is not a date, such as 2025-12-31, nor {', '.join(words)} or {last}"
        raise ValueError(what) from error


def resolved(day: date | DayWord | None, today: date) -> date:
    """Return the date that is meant: today by default, the last Monday up to today, the end of the month before."""
    match day:
        case date():
            return day
        case "yesterday":
            return today - timedelta(days=1)
        case "monday":
            return today - timedelta(days=today.weekday())
        case "month-end":
            return today.replace(day=1) - timedelta(days=1)
        case _:
            return today
