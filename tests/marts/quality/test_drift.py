"""A rule that is broken more often than usual is reported; chance, and a young feed, are not."""

import pytest

from marts.quality.drift import drifts, feed_of, is_short

CALM = [(1000, 2)] * 20


@pytest.mark.parametrize(
    ("history", "now", "reported"),
    [
        (CALM, (1000, 2), False),
        (CALM, (1000, 6), False),  # within 3 sigma of counting: 2 + 3 * sqrt(2)
        (CALM, (1000, 20), True),
        ([(1000, 0)] * 20, (1000, 1), False),  # one bad row after none is no alarm
        ([(1000, 0)] * 20, (1000, 10), True),
        (CALM[:4], (1000, 500), False),  # too young to report
        ([(1000, n % 2 * 40) for n in range(20)], (1000, 45), False),  # it varies that much
        ([*[(1000, 500)] * 5, *CALM], (1000, 20), True),  # only the last 20 count
        ([(0, 0)] * 20, (1000, 20), False),
        (CALM, (0, 0), False),
    ],
)
def test_a_share_beyond_3_sigma_drifts(history: list[tuple[int, int]], now: tuple[int, int], reported: bool) -> None:
    assert drifts(history, now) is reported


@pytest.mark.parametrize(
    ("history", "rows", "reported"),
    [([100] * 20, 49, True), ([100] * 20, 50, False), ([100] * 4, 1, False), ([*[10] * 3, *[100] * 20], 49, True)],
)
def test_a_drop_with_less_than_half_of_the_usual_rows_is_short(history: list[int], rows: int, reported: bool) -> None:
    assert is_short(history, rows) is reported


def test_drops_whose_names_differ_in_digits_are_one_feed() -> None:
    assert feed_of("sales/2024/01/sales-2024-01-05.csv.gz") == feed_of("sales/2025/12/sales-2025-12-31.csv.gz")
    assert feed_of("sales/2025-12-30.csv") == feed_of("sales/2025-12-31.csv.gz")
    assert feed_of("sales/A-1.CSV") == feed_of("sales/A-2.CSV.GZ")
    assert feed_of("sales/north-1.csv") != feed_of("sales/south-1.csv")
