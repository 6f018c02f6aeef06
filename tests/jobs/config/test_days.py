"""The words for the last day that counts."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobs.cli.build import _as_of
from jobs.config.days import DAY_WORDS, read_day, resolved
from jobs.config.settings import Settings
from marts.policy import Policy


@pytest.mark.parametrize(
    ("today", "yesterday", "monday", "month_end"),
    [
        ("2024-03-04", "2024-03-03", "2024-03-04", "2024-02-29"),  # a Monday
        ("2024-03-10", "2024-03-09", "2024-03-04", "2024-02-29"),  # a Sunday
        ("2024-03-01", "2024-02-29", "2024-02-26", "2024-02-29"),  # the first of a month, after a leap day
        ("2025-03-01", "2025-02-28", "2025-02-24", "2025-02-28"),
        ("2024-03-31", "2024-03-30", "2024-03-25", "2024-02-29"),  # the last of a month
        ("2025-01-01", "2024-12-31", "2024-12-30", "2024-12-31"),
        ("2025-01-31", "2025-01-30", "2025-01-27", "2024-12-31"),
    ],
)
def test_a_word_counts_from_today(today: str, yesterday: str, monday: str, month_end: str) -> None:
    now = date.fromisoformat(today)
    wanted = {"today": today, "yesterday": yesterday, "monday": monday, "month-end": month_end}
    assert {word: resolved(word, now).isoformat() for word in DAY_WORDS} == wanted
    assert resolved(None, now) == now
    assert resolved(date(2020, 1, 2), now) == date(2020, 1, 2)


def test_a_day_is_a_date_or_a_word() -> None:
    assert read_day("2024-02-29") == date(2024, 2, 29)
    assert [read_day(word) for word in DAY_WORDS] == [*DAY_WORDS]
    for wrong in ("2025-02-29", "Monday", "month_end", "", "x" * 99):
        with pytest.raises(
            ValueError, match="is not a date, such as 2025-12-31, nor today, yesterday, monday or month-e"
        ):
            read_day(wrong)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])  # 25 hours apart: never the same day
def test_a_build_counts_from_today_in_the_time_zone_of_the_business(zone: str) -> None:
    settings, policy = Settings(as_of="yesterday"), Policy(business_timezone=zone)
    before = datetime.now(ZoneInfo(zone)).date()
    day = _as_of(settings, policy)
    after = datetime.now(ZoneInfo(zone)).date()
    assert before - timedelta(days=1) <= day <= after - timedelta(days=1)
