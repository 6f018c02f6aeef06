"""Charts of pages have a line for each series."""

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from jobs.adapters.charts import dashboard as charts
from jobs.adapters.charts.dashboard import DayLine
from jobs.adapters.charts.drawing import NARROW, WIDE
from jobs.runtime.escaping import visible

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


def test_events_have_a_triangle_and_are_no_value_under_the_pointer() -> None:
    line = DayLine("Sales", [float(n) for n in range(30)])
    events = DayLine("Event", [0.0 if n in (3, 20) else None for n in range(30)])
    with_events, plain = (charts.trend(DAYS, line, line, None, WIDE, "Sales", None, own) for own in (events, None))
    assert with_events.svg().count("Z") - plain.svg().count("Z") == 2
    assert "event_text" not in json.dumps(with_events.spec["marks"])


HOSTILE = (
    *("Day", "Day", 'a"b', "it's", "back\\slash", "\\u0041", "§l0§", "l0"),
    *('"}), alert(1), ({"', "</script>", "王\n2"),
)


def test_names_of_lines_are_texts_in_the_small_window_whatever_they_are() -> None:
    """The spec is an expression that Vega reads: each name is one key of it, and nothing else."""
    drawn = [DayLine(name, [float(n)] * 30) for n, name in enumerate(HOSTILE)]
    spec = charts.lines(DAYS, drawn, WIDE, "Sales").spec
    (tip,) = re.findall(r"\(\{.*\}\)|\{.*\}", next(_texts(spec["marks"], 'isValid(datum["name"])')))
    keys = re.findall(r'("(?:[^"\\]|\\.)*"): isValid\(datum', tip)
    names = [json.loads(key) for key in keys]
    assert names[:3] == ["Day", "Day (2)", "Day (3)"]
    assert names[3:] == [visible(name) for name in HOSTILE[2:]]
    assert points(charts.lines(DAYS, drawn, WIDE, "Sales").svg()) == [30] * len(HOSTILE)
    compiled = charts._lines.cache_info().misses
    charts.lines(DAYS, [DayLine(f"n{n}", [float(n)] * 30) for n in range(len(HOSTILE))], WIDE, "Sales")
    assert charts._lines.cache_info().misses == compiled  # other names need no other shape


def _texts(value: Any, part: str) -> Iterator[str]:
    """Yield the texts in a spec that contain another one."""
    if isinstance(value, str) and part in value:
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(item, part)
