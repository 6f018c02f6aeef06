"""Figures of the marts: against a row-by-row calculation, whatever the parts; and months that are unusual."""

from collections import defaultdict
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.highlights import highlights, top
from support.retail import CUSTOMERS_MART, RETAIL, SALES_TEAM_MART

from jobs.report.highlights import ReportedTop
from marts.compute.engine import mart_schema
from marts.compute.highlights import Figures, Sums, exchanged, figures_of, together
from marts.compute.unusual import MonthTotal, judged_months, unusual_months
from marts.highlights import MonthsHighlight
from marts.pack import Mart

MONTHS = ["2024-01", "2024-02", "2024-12", "2025-01"]
BY_MONTH = MonthsHighlight(
    name="by_month", kind="months", table="customers", title="", by="sales_date_month", sum="total_sales"
)
HIGHLIGHTS = (*RETAIL.highlights, BY_MONTH)
BEST = 10


def rows_of(mart: Mart, rows: list[dict[str, Any]]) -> pa.Table:
    """Make rows of a mart; what is not given is 0, empty, or NULL."""
    empty = {"id": 0, "count": 0, "money": Decimal(0), "text": "", "month": "2024-01", "flag": False}
    blank = {c.name: None if c.nullable else empty[c.type] for c in mart.columns}
    return pa.Table.from_pylist([{**blank, **row} for row in rows], mart_schema(mart))


@st.composite
def customers(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for customer in range(draw(st.integers(0, 25))):
        person = {
            "customer_id": customer,
            "full_name": f"name {customer}",
            "customer_lifetime_value": Decimal(draw(st.integers(-500, 500))) / 100,
            "purchase_frequency": draw(st.integers(0, 3)),
            "customer_segment": draw(st.sampled_from(["Loyal", "Other"])),
            "inactive_status": draw(st.booleans()),
        }
        for month in sorted(draw(st.sets(st.sampled_from(MONTHS), min_size=1))):
            total = Decimal(draw(st.integers(-(10**15), 10**15))) / 100
            rows.append({**person, "sales_date_month": month, "total_sales": total})
    return rows


def figures(mart: Mart, rows: list[dict[str, Any]]) -> Figures:
    return figures_of(HIGHLIGHTS, mart, rows_of(mart, rows))


@settings(deadline=None)
@given(before=customers(), after=customers(), ids=st.sets(st.integers(0, 25)))
def test_figures_with_some_customers_exchanged_are_those_of_the_whole(
    before: list[dict[str, Any]], after: list[dict[str, Any]], ids: set[int]
) -> None:
    of = [
        figures(CUSTOMERS_MART, rows)
        for rows in (
            before,
            [row for row in before if row["customer_id"] in ids],
            [row for row in after if row["customer_id"] in ids],
        )
    ]
    left = [row for row in before if row["customer_id"] not in ids]
    whole = figures(CUSTOMERS_MART, sorted([*left, *(r for r in after if r["customer_id"] in ids)], key=by_key))
    result = exchanged(of[0], np.array(sorted(ids), np.int64), of[1], of[2])
    if result is None:
        best = {item.key[0] for item in of[0].tops["top_customers"].items}
        assert len(best) == BEST
        assert best & ids
    else:
        assert result == together([whole])


def by_key(row: dict[str, Any]) -> tuple[int, str]:
    return row["customer_id"], row["sales_date_month"]


@settings(deadline=None)
@given(rows=customers(), borders=st.lists(st.integers(0, 25), max_size=3))
def test_parts_of_the_customers_mart_give_the_figures_of_the_whole(
    rows: list[dict[str, Any]], borders: list[int]
) -> None:
    edges = [-1, *sorted(borders), 99]
    parts = [[r for r in rows if low < r["customer_id"] <= high] for low, high in pairwise(edges)]
    result = together(figures(CUSTOMERS_MART, part) for part in parts)

    months: dict[str, int] = defaultdict(int)
    for row in rows:
        months[row["sales_date_month"]] += int(row["total_sales"] * 100)
    people = {row["customer_id"]: row for row in rows}.values()
    groups: dict[tuple[str, bool], list[Decimal]] = defaultdict(list)
    for person in people:
        groups[person["customer_segment"], person["inactive_status"]].append(person["customer_lifetime_value"])
    best = sorted(people, key=lambda person: (-person["customer_lifetime_value"], person["customer_id"]))[:BEST]
    assert [(entry.of, entry.cents) for entry in result.sums["by_month"]] == [((m,), months[m]) for m in sorted(months)]
    assert {entry.of: (entry.rows, entry.cents) for entry in result.sums["customers"]} == {
        key: (len(values), int(sum(values) * 100)) for key, values in groups.items()
    }
    assert [item.key[0] for item in result.tops["top_customers"].items] == [row["customer_id"] for row in best]
    assert result.tops["top_customers"].rows == len(people)


def team(store: int, person: int, month: str, total: str, rank: int) -> dict[str, Any]:
    return {
        "store_id": store,
        "sales_person_id": person,
        "full_name": f"seller {person}",
        "sales_month": month,
        "total_sales": Decimal(total),
        "top_performance_rank": rank,
        "total_transactions": 2,
    }


def test_leaders_are_those_of_the_last_month_with_ties_by_store() -> None:
    rows = [
        team(1, 7, "2024-02", "10.00", 1),
        team(1, 8, "2024-02", "10.00", 1),
        team(1, 9, "2024-02", "5.00", 2),
        team(2, 7, "2024-01", "99.00", 1),
        team(3, 5, "2024-02", "20.00", 1),
    ]
    result = figures(SALES_TEAM_MART, rows)
    (leaders,) = (item for item in highlights(result) if isinstance(item, ReportedTop) and item.name == "leaders")
    assert [(row["store_id"], row["sales_person_id"]) for row in leaders.rows] == [(1, 7), (1, 8), (3, 5)]
    assert (leaders.month, leaders.left_out) == ("2024-02", 0)
    assert result.sums["revenue"] == (
        Sums(of=("2024-01",), rows=1, cents=9900, count=2),
        Sums(of=("2024-02",), rows=4, cents=4500, count=8),
    )


def test_of_many_stores_the_leaders_with_the_highest_sales_are_named() -> None:
    rows = [team(n, n, "2024-02", str(n), 1) for n in range(1, 204)]
    result = figures(SALES_TEAM_MART, rows)
    (leaders,) = (item for item in highlights(result) if isinstance(item, ReportedTop) and item.name == "leaders")
    assert (len(leaders.rows), leaders.left_out, leaders.rows[0]["store_id"]) == (200, 3, 4)


def test_a_mart_without_rows_has_figures_and_no_highlight_shows_them() -> None:
    nothing = figures(SALES_TEAM_MART, [])
    assert all(item.is_empty for item in highlights(nothing, figures(CUSTOMERS_MART, [])))
    assert together([]) == Figures()


def in_row(*totals: int) -> list[MonthTotal]:
    """Return months from 2024-01 on."""
    names = [f"{year}-{month:02d}" for year in (2024, 2025, 2026) for month in range(1, 13)]
    return [MonthTotal(month=name, total=Decimal(t)) for name, t in zip(names, totals, strict=False)]


YEAR = [100, 90, 110, 100, 120, 100, 95, 100, 105, 130, 160, 300]
"""A year with a season: the last months are its peak."""


@pytest.mark.parametrize(
    ("second", "wanted"),
    [
        (YEAR, []),  # the same season again
        ([value * 2 for value in YEAR], []),  # a business that grows, all year
        ([*YEAR[:10], 80, 300], ["2025-11"]),  # less than a year before, though it is as other months are
        ([*YEAR[:4], 240, *YEAR[5:]], ["2025-05"]),
        ([100, 90, 300, *YEAR[3:]], []),  # too few changes before it
        ([*YEAR[:11], 358], []),  # a fifth is no news
        ([*YEAR[:11], 362], ["2025-12"]),
        ([50, 135, 110, 160, 60, 160, 57, 150, 50, 190, 90, 480], []),  # its months always change so
        ([*YEAR[:11], 5], ["2025-12"]),
    ],
)
def test_a_month_far_from_the_same_month_a_year_before_is_unusual(second: list[int], wanted: list[str]) -> None:
    unusual = unusual_months(in_row(*YEAR, *second), date(2025, 12, 31))
    assert [figure.month for figure in unusual] == wanted


def test_a_month_without_a_year_before_is_not_judged() -> None:
    months = in_row(*YEAR[:11], 30_000)
    assert (unusual_months(months, date.max), judged_months(months, date.max)) == ((), [])
    gap = [month for month in in_row(*YEAR, *YEAR[:9], 9000) if month.month not in ("2024-10", "2025-03")]
    assert unusual_months(gap, date.max) == ()
    assert judged_months(gap, date.max) == [f"2025-0{n}" for n in (5, 6, 7, 8, 9)]
    assert judged_months(in_row(0, *YEAR[1:], *YEAR[:5]), date.max) == ["2025-05"]


def test_the_last_day_that_there_is_can_be_as_of() -> None:
    assert unusual_months(in_row(*YEAR, *YEAR[:6], 20), date.max)[0].month == "2025-07"


def test_a_month_that_goes_on_is_not_judged() -> None:
    months = in_row(*YEAR, *(2 * value for value in YEAR[:6]), 20)
    assert unusual_months(months, date(2025, 7, 30)) == ()
    (unusual,) = unusual_months(months, date(2025, 7, 31))
    assert (unusual.month, unusual.usual) == ("2025-07", Decimal("190.00"))


def test_people_are_named_on_pages_and_not_in_what_is_written_down() -> None:
    best = {"customer_id": 1, "full_name": "Ada Lovelace", "customer_lifetime_value": Decimal(1)}
    (item,) = (item for item in highlights(top("top_customers", [best])) if not item.is_empty)
    assert "xxx xxxxxxxx" in item.model_dump_json()
    assert "Ada" not in item.model_dump_json()
    assert "Ada Lovelace" in item.model_dump_json(context={"names": True})
