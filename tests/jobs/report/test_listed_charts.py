"""Charts of listed rows: values beside what was expected, and multiples of it between limits."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from jobs.adapters.charts import reports as charts
from jobs.adapters.charts.drawing import NARROW, WIDE
from jobs.report.highlights import ReportedTop, highlights_of
from jobs.report.run_pages import report_page
from jobs.report.run_report import RunReport
from marts.compute.engine import mart_schema
from marts.compute.highlights import figures_of
from marts.highlights import ListedChart
from marts.packs import shipped

PACK = shipped("retail")
BESIDE = ListedChart(along="bin", value="did_not_buy", expected="churn_probability")
LIMITS = ListedChart(along="day", value="value", expected="expected", lower="lower", upper="upper")
SHARES = (("0.0215", "0.0332"), ("0.5860", "0.6891"), ("0.9995", "1.0000"))
TENTHS: list[dict[str, Any]] = [
    {
        "model": "mbg_nbd",
        "bin": number,
        "customers": 70 - number,
        "churn_probability": Decimal(expected),
        "did_not_buy": Decimal(value),
    }
    for number, (expected, value) in enumerate(SHARES, 1)
]


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN: dict[str, Any] = {
    "run_id": "r",
    "outcome": "published",
    "exit_code": 0,
    "as_of": "2025-12-31",
    "source": "drops",
    "target": "duckdb://marts.duckdb",
    "state": "state",
}


def unusual(day: str, value: str, expected: str, lower: str | None, upper: str | None) -> dict[str, Any]:
    return {"day": day, "value": value, "expected": expected, "lower": lower, "upper": upper}


DAYS = [
    unusual("2025-12-11", "400.00", "100.00", "50.00", "200.00"),
    unusual("2025-12-11", "900.00", "100.00", None, "300.00"),
    unusual("2025-12-24", "0.00", "100.00", "50.00", "200.00"),
    unusual("2025-12-25", "70.00", "0.00", None, None),  # nothing was expected: no multiple of it
]


def reported(name: str, rows: list[dict[str, Any]]) -> ReportedTop:
    (item,) = (item for item in PACK.highlights if item.name == name)
    mart = PACK.marts[item.table]
    table = pa.Table.from_pylist(rows, mart_schema(mart))
    own = {mart.name: figures_of([item], mart, table)}
    (result,) = highlights_of(replace(PACK, highlights=(item,)), own, date.max)
    assert isinstance(result, ReportedTop)
    return result


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize(
    ("chart", "rows"),
    [(BESIDE, TENTHS), (BESIDE, []), (LIMITS, DAYS), (LIMITS, DAYS[3:]), (LIMITS, [])],
    ids=["beside", "no numbers", "limits", "nothing expected", "no days"],
)
def test_a_chart_has_the_page_s_colours_leads_nowhere_and_is_the_same_each_time(
    chart: ListedChart, rows: list[dict[str, Any]], width: int
) -> None:
    svg = charts.listed(chart, rows, width, 'a "title" <b>')
    assert bool(svg) == bool(rows and rows != DAYS[3:])
    assert svg == charts.listed(chart, rows, width, 'a "title" <b>')
    assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', svg)) <= {
        "none",
        *map("var(--{})".format, ("ink", "dim", "line", "bar")),
    }
    assert not re.search(r"https?:|href|url\(|<script|<style|<image|NaN|Infinity|undefined|null|<b>", svg)


def boxes(svg: str) -> list[tuple[float, float]]:
    """Return top and height of each bar."""
    drawn = re.findall(r'd="M[\d.]+,([\d.]+)h[\d.]+v([\d.]+)h[^"]*" fill="var\(--bar\)"', svg)
    return [(float(top), float(height)) for top, height in drawn]


def test_bars_are_as_high_as_their_values() -> None:
    heights = [height for _, height in boxes(charts.listed(BESIDE, TENTHS, WIDE, "shares"))]
    assert [round(height / heights[-1], 4) for height in heights] == [0.0332, 0.6891, 1.0]


def test_limits_and_values_stand_where_they_are() -> None:
    """The axis is logarithmic: 4 is twice as far from 1 as the limits 0.5 and 2."""
    svg = charts.listed(LIMITS, DAYS, WIDE, "days")
    usual = float(re.findall(r'translate\(\d+,([\d.]+)\)" x2="-\d+" y2="0" stroke="var\(--ink\)"', svg)[0])
    (top, height), (no_lower, to_the_edge), _ = boxes(svg)
    first, _, zero = (float(y) for y in re.findall(r'translate\([\d.]+,([\d.]+)\)" d="M0,', svg))
    assert top + height - usual == pytest.approx(usual - top)
    assert usual - first == pytest.approx(2 * (usual - top))
    assert no_lower + to_the_edge == pytest.approx(zero) == 220


def test_each_row_has_its_number_and_each_day_its_name() -> None:
    seen = texts(charts.listed(LIMITS, DAYS, WIDE, "days"))
    assert {"1", "2", "3", "11 Dec", "24 Dec", "1 ×", "3 ×"} <= set(seen)
    assert not {"4", "25 Dec"} & set(seen)


def test_days_whose_names_would_overlap_are_not_all_named() -> None:
    rows = [unusual(f"2025-12-{day:02}", "9.00", "1.00", None, "3.00") for day in range(1, 32)]
    named = [text for text in texts(charts.listed(LIMITS, rows, NARROW, "days")) if text.endswith(" Dec")]
    assert 4 <= len(named) <= 7
    assert named[0] == "1 Dec"


def test_values_keep_the_digits_of_their_type_and_the_chart_is_on_the_page() -> None:
    item = reported("calibration", TENTHS)
    assert [(row["churn_probability"], row["did_not_buy"]) for row in item.rows] == list(SHARES)
    again = RunReport.model_validate_json(
        RunReport(**RUN, started_at=NOON, ended_at=NOON, highlights=(item,)).model_dump_json()
    )
    page = report_page(again)
    assert page.count('aria-label="3 of 3 rows: churn, expected and observed, did not buy beside expected.') == 2
    assert "0.5860" in page


def test_limits_belong_together() -> None:
    with pytest.raises(ValueError, match="name both or none"):
        ListedChart(along="day", value="value", expected="expected", upper="upper")
