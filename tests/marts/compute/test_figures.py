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
from support.retail import CUSTOMERS_MART, SALES_TEAM_MART

from marts.compute.engine import mart_schema
from marts.compute.highlights import (
    BEST,
    MOST_LEADERS,
    Figures,
    MonthFigures,
    exchanged,
    figures_of,
    judged_months,
    of_both,
    together,
    unusual_months,
)
from marts.pack import Mart

MONTHS = ["2024-01", "2024-02", "2024-12", "2025-01"]


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


@settings(deadline=None)
@given(before=customers(), after=customers(), ids=st.sets(st.integers(0, 25)))
def test_figures_with_some_customers_exchanged_are_those_of_the_whole(
    before: list[dict[str, Any]], after: list[dict[str, Any]], ids: set[int]
) -> None:
    def figures(rows: list[dict[str, Any]]) -> Figures:
        return figures_of(CUSTOMERS_MART, rows_of(CUSTOMERS_MART, rows), None)

    were = [row for row in before if row["customer_id"] in ids]
    are = [row for row in after if row["customer_id"] in ids]
    whole = figures([*(row for row in before if row["customer_id"] not in ids), *are])
    months = [(date.fromisoformat(f"{m.month}-01"), int(m.total_sales * 100)) for m in whole.months]
    result = exchanged(figures(before), np.array(sorted(ids)), figures(were), figures(are), months, None)
    if result is None:
        best = {customer.customer_id for customer in figures(before).best}
        assert len(best) == BEST
        assert best & ids
    else:
        assert together([result]) == together([whole])


@settings(deadline=None)
@given(rows=customers(), borders=st.lists(st.integers(0, 25), max_size=3))
def test_parts_of_the_customers_mart_give_the_figures_of_the_whole(
    rows: list[dict[str, Any]], borders: list[int]
) -> None:
    edges = [-1, *sorted(borders), 99]
    parts = [[r for r in rows if low < r["customer_id"] <= high] for low, high in pairwise(edges)]
    result = together(figures_of(CUSTOMERS_MART, rows_of(CUSTOMERS_MART, part), None) for part in parts)

    months: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        months[row["sales_date_month"]] += row["total_sales"]
    people = {row["customer_id"]: row for row in rows}.values()
    groups: dict[tuple[str, bool], list[Decimal]] = defaultdict(list)
    for person in people:
        groups[person["customer_segment"], person["inactive_status"]].append(person["customer_lifetime_value"])
    best = sorted(people, key=lambda person: (-person["customer_lifetime_value"], person["customer_id"]))[:BEST]
    assert [(m.month, m.total_sales) for m in result.months] == sorted(months.items())
    assert {(g.segment, g.inactive): (g.customers, g.lifetime_value) for g in result.groups} == {
        key: (len(values), sum(values)) for key, values in groups.items()
    }
    assert [customer.customer_id for customer in result.best] == [person["customer_id"] for person in best]


def test_the_newest_purchase_is_that_of_all_parts() -> None:
    none = rows_of(CUSTOMERS_MART, [])
    parts = [figures_of(CUSTOMERS_MART, none, day) for day in (date(2024, 1, 5), None, date(2024, 2, 1))]
    assert together(parts).newest_purchase == date(2024, 2, 1)
    assert together([]) == Figures()


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
    result = figures_of(SALES_TEAM_MART, rows_of(SALES_TEAM_MART, rows), None)
    assert [(leader.store_id, leader.sales_person_id) for leader in result.leaders] == [(1, 7), (1, 8), (3, 5)]
    assert result.months == (
        MonthFigures(month="2024-01", total_sales=Decimal("99.00"), purchases=2),
        MonthFigures(month="2024-02", total_sales=Decimal("45.00"), purchases=8),
    )
    assert result.last_month == "2024-02"


def test_of_many_stores_the_leaders_with_the_highest_sales_are_named() -> None:
    rows = [team(n, n, "2024-02", str(n), 1) for n in range(1, MOST_LEADERS + 4)]
    result = figures_of(SALES_TEAM_MART, rows_of(SALES_TEAM_MART, rows), None)
    assert len(result.leaders) == MOST_LEADERS
    assert result.leaders_left_out == 3
    assert result.leaders[0].store_id == 4


def test_both_marts_give_one_set_of_figures() -> None:
    months = (MonthFigures(month="2024-02", total_sales=Decimal(1), purchases=3),)
    customers = Figures(
        months=(MonthFigures(month="2024-02", total_sales=Decimal(1)),), newest_purchase=date(2024, 2, 3)
    )
    both = of_both(customers, Figures(months=months))
    assert (both.months, both.newest_purchase) == (months, date(2024, 2, 3))
    assert of_both(customers, Figures()) == customers


def in_row(*totals: int) -> list[MonthFigures]:
    """Return months from 2024-01 on."""
    names = [f"{year}-{month:02d}" for year in (2024, 2025, 2026) for month in range(1, 13)]
    return [MonthFigures(month=name, total_sales=Decimal(t)) for name, t in zip(names, totals, strict=False)]


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
    best = {"customer_id": 1, "full_name": "Ada Lovelace", "lifetime_value": "1.00", "purchases": 1, "segment": "x"}
    figures = Figures.model_validate({"best": [best | {"last_purchase_month": None}]})
    assert figures.best[0].full_name == "Ada Lovelace"
    assert "xxx xxxxxxxx" in figures.model_dump_json()
    assert "Ada" not in figures.model_dump_json()
    assert "Ada Lovelace" in figures.model_dump_json(context={"names": True})
