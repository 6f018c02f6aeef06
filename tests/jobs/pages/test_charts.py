"""Charts of pages have a line for each series."""

import re
from datetime import date, timedelta

import pytest

from jobs.adapters.charts import dashboard as charts
from jobs.adapters.charts.dashboard import DayLine
from jobs.adapters.charts.drawing import NARROW, WIDE

DAYS = [date(2024, 2, 20) + timedelta(number) for number in range(30)]


def points(svg: str) -> list[int]:
    """Return the number of points of each line in a drawing."""
    return [path.count("L") + 1 for path in re.findall(r'd="(M[^"]*L[^"]*)"', svg)]


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_series_is_a_line_with_all_its_days(count: int, width: int) -> None:
    drawn = [DayLine(f"Place {n}", [float(n + day) for day in range(30)]) for n in range(count)]
    svg = charts.lines(DAYS, drawn, width, "Sales").svg()
    assert points(svg) == [30] * count
    assert all(f"Place {n}" in svg for n in range(count))


@pytest.mark.parametrize("is_compared", [False, True])
def test_a_trend_has_the_days_their_mean_and_what_they_are_compared_with(is_compared: bool) -> None:
    line = DayLine("Sales", [float(day) for day in range(30)])
    assert points(charts.trend(DAYS, line, line, line if is_compared else None, WIDE, "Sales").svg()) == [30] * (
        3 if is_compared else 2
    )


def test_unusual_days_have_a_circle_and_what_is_usual() -> None:
    line = DayLine("Sales", [float(n) for n in range(30)])
    usual = DayLine("Usual", [7.0 if n in (3, 20) else None for n in range(30)])
    svg = charts.trend(DAYS, line, line, None, WIDE, "Sales", usual).svg()
    plain = charts.trend(DAYS, line, line, None, WIDE, "Sales").svg()
    assert svg.count("A") - plain.count("A") == 4  # two arcs of each circle
