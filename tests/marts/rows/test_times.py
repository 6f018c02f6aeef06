# ruff: noqa: DTZ001 - times of the business time zone
"""Times on the clock of the business time zone, against Python's own time zones."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marts.rows.dates import exact_dates, local_times
from marts.rows.source_block import SourceBlock

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"]
TIMES = st.datetimes(datetime(1950, 1, 1), datetime(2037, 12, 31))
OFFSETS = st.one_of(st.none(), st.integers(-14 * 60, 14 * 60))
FORMS = st.sampled_from(["T", " "])


def written(time: datetime, offset: int | None, between: str) -> str:
    aware = time if offset is None else time.replace(tzinfo=timezone(timedelta(minutes=offset)))
    return aware.isoformat(between)


def wall_clock(time: datetime, offset: int | None, zone: str, own: str) -> datetime | None:
    """Return the time in a zone; None for a time that the clocks of its own zone skip."""
    if offset is not None:
        time = time.replace(tzinfo=timezone(timedelta(minutes=offset)))
    elif own:
        time = time.replace(tzinfo=ZoneInfo(own))
        if time.astimezone(UTC).astimezone(ZoneInfo(own)).replace(tzinfo=None) != time.replace(tzinfo=None):
            return None
    return time.astimezone(ZoneInfo(zone)).replace(tzinfo=None) if time.tzinfo else time


@given(
    st.lists(st.tuples(TIMES, OFFSETS, FORMS), min_size=1, max_size=5),
    st.sampled_from(ZONES),
    st.sampled_from(["", *ZONES]),
)
def test_a_time_is_that_of_the_zone(times: list[tuple[datetime, int | None, str]], zone: str, own: str) -> None:
    text = pa.array([written(*item) for item in times] + ["2024-02-30", "2024-02-29", None, "2024-01-01T25:00:00"])
    block = SourceBlock(timezone=own) if own else SourceBlock()
    days, _ = exact_dates(text, ZoneInfo(zone), block)
    results = local_times(text, days, zone, block).to_pylist()
    assert results[-4:] == [None] * 4
    for (time, offset, _), result, day in zip(times, results, days.to_pylist(), strict=False):
        wanted = wall_clock(time, offset, zone, own)
        if wanted is not None:
            assert result == wanted
            assert day == wanted.date()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2024-01-02T03:04", datetime(2024, 1, 2, 3, 4)),
        ("20240102 3:04:05", datetime(2024, 1, 2, 3, 4, 5)),
        (" 2024-01-02 03:04:05.123456789Z ", datetime(2024, 1, 2, 4, 4, 5, 123456)),
        ("2024-01-02 03:04:05 UTC", datetime(2024, 1, 2, 4, 4, 5)),
        ("2024-01-02T03:04:05+0530", datetime(2024, 1, 1, 22, 34, 5)),
        ("0001-01-01T00:00:00", datetime(1, 1, 1)),
        ("9999-12-31T23:59:59", datetime(9999, 12, 31, 23, 59, 59)),
        ("2024-01-02", None),
    ],
)
def test_spellings_of_times(text: str, wanted: datetime | None) -> None:
    values = pa.array([text])
    days, _ = exact_dates(values, ZoneInfo("Europe/Berlin"), SourceBlock())
    assert local_times(values, days, "Europe/Berlin", SourceBlock()).to_pylist() == [wanted]
    assert days.to_pylist() == [wanted.date() if wanted else date(2024, 1, 2)]


def test_times_in_a_format_of_a_block() -> None:
    block = SourceBlock(dates=("%d/%m/%Y %H:%M", "%d/%m/%Y"))
    text = pa.array(["02/01/2024 03:04", "02/01/2024"])
    days, _ = exact_dates(text, ZoneInfo("UTC"), block)
    assert local_times(text, days, "UTC", block).to_pylist() == [datetime(2024, 1, 2, 3, 4), None]
