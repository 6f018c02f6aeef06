"""Anomalies of days: simulated stores with planted faults, small places, events, and any order of lines."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marts.analytics.anomalies import (
    ABOVE,
    BELOW,
    CLOSED_DAY,
    MORE_RETURNS,
    NO_LINES,
    Anomaly,
    Expected,
    Limits,
    Purchases,
    SellerDay,
    SellerReturns,
    compared,
    median,
    score_of,
    unusual_days,
    unusual_returns,
    usual_purchases,
)
from marts.analytics.ranks import MILLION, half_up

DAYS = 460
SUNDAY = 6


@dataclass
class Shops:
    """Cents of each day of some stores, and what was done to them."""

    cents: dict[tuple[int, int], int] = field(default_factory=dict)
    """By store and day."""
    faults: set[tuple[int, int]] = field(default_factory=set)
    feasts: set[int] = field(default_factory=set)

    @property
    def lines(self) -> list[SellerDay]:
        return [SellerDay(store, 1, day, cents) for (store, day), cents in sorted(self.cents.items())]


def simulated(seed: int, stores: int = 20, feasts: int = 6, faults: int = 68) -> Shops:
    """Simulate weekdays, seasons, trends, feasts of all stores, and faults: no line, a fall to 0.4, a rise to 2.5."""
    chance, shops = random.Random(seed), Shops()
    shops.feasts = set(chance.sample(range(1 - DAYS + 120, 1), feasts))
    strength = {day: chance.choice((0.3, 0.5, 1.7, 2.2)) for day in shops.feasts}
    for store in range(1, stores + 1):
        size, trend = chance.lognormvariate(12.5, 0.6), chance.uniform(-0.2, 0.5)
        weekdays = [chance.uniform(0.6, 1.6) for _ in range(7)]
        for day in range(1 - DAYS, 1):
            season = 1 + 0.25 * math.sin(2 * math.pi * day / 365)
            level = size * (1 + trend * (day + DAYS) / DAYS) * season * weekdays[(SUNDAY + day) % 7]
            shops.cents[store, day] = int(level * strength.get(day, 1) * chance.lognormvariate(0, 0.16))
    for number in range(faults):
        place = (chance.randint(1, stores), chance.randint(-340, 0))
        shops.faults.add(place)
        if number % 3 == 0:
            shops.cents.pop(place, None)
        elif place in shops.cents:
            shops.cents[place] = int(shops.cents[place] * (0.4 if number % 3 == 1 else 2.5))
    return shops


def judged(lines: list[SellerDay], limits: Limits, events: frozenset[int] = frozenset()) -> list[Anomaly]:
    first: dict[int | str, int] = {}
    for line in lines:
        first[line.place] = min(first.get(line.place, 0), line.day)
    return list(unusual_days(lines, first, SUNDAY, limits, events).anomalies)


def test_planted_faults_are_listed_and_little_else(figure: Callable[[str], None]) -> None:
    shops = simulated(11)
    days = 340
    rows = [row for row in judged(shops.lines, Limits(days=days)) if row.place is not None and row.seller is None]
    listed = {(int(row.place or 0), row.day) for row in rows}
    true, false = listed & shops.faults, listed - shops.faults
    on_feasts = [place for place in false if place[1] in shops.feasts]
    alarms = len(false) / (20 * days) * 1000
    figure(
        f"anomalies of 20 simulated stores, {days} days: {alarms:.1f} false alarms per 1,000 store-days, "
        f"{len(true)} of {len(shops.faults)} faults listed, {len(true) / len(listed):.2f} of the rows are faults"
    )
    assert len(true) > 0.7 * len(shops.faults)
    assert alarms < 3
    assert len(on_feasts) < 0.02 * len(shops.feasts) * 20
    without_lines = {place for place in shops.faults if place not in shops.cents}
    assert without_lines <= listed


def test_a_feast_is_one_row_of_the_company() -> None:
    shops = simulated(12, feasts=0, faults=0)
    for store in range(1, 21):
        shops.cents[store, -3] = int(shops.cents[store, -3] * 2.6)
    rows = [row for row in judged(shops.lines, Limits()) if row.day == -3]
    assert [(row.place, row.reason) for row in rows if row.seller is None] == [(None, ABOVE)]


def test_a_day_that_the_policy_names_is_neither_judged_nor_history() -> None:
    shops = simulated(13, stores=3, feasts=0, faults=0)
    shops.cents[1, -7] *= 4
    shops.cents[1, 0] *= 4
    assert {row.day for row in judged(shops.lines, Limits()) if row.place == 1} == {-7, 0}
    assert judged(shops.lines, Limits(), frozenset({-7, 0})) == []


def test_a_closed_store_is_reported_for_a_week() -> None:
    shops = simulated(14, stores=6, feasts=0, faults=0)
    for day in range(-20, 1):
        del shops.cents[2, day]
    rows = [row for row in judged(shops.lines, Limits()) if row.place == 2]
    assert [(row.day, row.reason, row.value, row.score) for row in rows] == [
        (day, NO_LINES, 0, -9999) for day in range(-20, -13)
    ]


def test_a_small_place_is_not_reported_for_each_day_without_a_line() -> None:
    shops = simulated(15, stores=2, feasts=0, faults=0)
    chance = random.Random(1)
    for day in range(1 - DAYS, 1):
        if chance.random() < 0.2:
            shops.cents.pop((1, day), None)
    rows = judged(shops.lines, Limits())
    assert not [row for row in rows if row.place == 1 and row.reason == NO_LINES]


def test_sales_on_a_weekday_that_never_has_any_are_listed() -> None:
    shops = simulated(16, stores=2, feasts=0, faults=0)
    for day in range(1 - DAYS, 1):
        if day % 7 == 0:
            shops.cents.pop((1, day), None)
    shops.cents[1, -7] = 12_345
    (row,) = (row for row in judged(shops.lines, Limits()) if row.place == 1 and row.reason == CLOSED_DAY)
    assert row == Anomaly(1, None, -7, 12_345, 0, 0, 0, None, CLOSED_DAY)


def test_a_difference_below_the_least_of_the_policy_is_left_out() -> None:
    shops = simulated(17, stores=1, feasts=0, faults=0)
    shops.cents[1, 0] *= 3
    (row,) = (row for row in judged(shops.lines, Limits()) if row.place == 1 and row.seller is None)
    off = row.value - row.expected
    assert row in judged(shops.lines, Limits(least_cents=off))
    assert row not in judged(shops.lines, Limits(least_cents=off + 1))


def test_the_order_of_lines_changes_nothing() -> None:
    lines = simulated(18, stores=8).lines
    shuffled = random.Random(3).sample(lines, len(lines))
    assert judged(lines, Limits()) == judged(shuffled, Limits())


def test_who_takes_back_more_than_others_is_listed() -> None:
    usual = [SellerReturns(seller, 1_000_000, 10_000 + 100 * seller, 6) for seller in range(1, 12)]
    (row,) = unusual_returns([*usual, SellerReturns(99, 1_000_000, 120_000, 7)], Limits())
    assert (row.seller, row.value, row.expected, row.reason) == (99, 1200, 107, MORE_RETURNS)
    assert unusual_returns([*usual, SellerReturns(99, 1_000_000, 120_000, 4)], Limits()) == [], "too few lines"
    assert unusual_returns([*usual[:6], SellerReturns(99, 1_000_000, 120_000, 7)], Limits()) == [], "too few people"


@pytest.mark.parametrize(
    ("values", "middle"), [([3], 3), ([1, 2], 2), ([4, 1, 2], 2), ([1, 4, 2, 8], 3), ([-1, -2], -2)]
)
def test_the_median_of_two_is_rounded_half_away_from_zero(values: list[int], middle: int) -> None:
    assert median(values) == middle


def test_a_value_is_compared_with_both_limits_and_scored_by_the_spread() -> None:
    expected = Expected(10_000, 1_100_000)  # 1.1 ** 6 = 1.771561
    assert compared(17_716, expected, Limits(), with_lower=True) is None
    lower, upper, score = compared(17_717, expected, Limits(), with_lower=True) or (None, 0, 0)
    assert (lower, upper, score) == (5645, 17_716, 600)
    assert compared(5644, expected, Limits(), with_lower=False) is None
    assert (compared(5644, expected, Limits(), with_lower=True) or (0, 0, 0))[2] == -600
    assert score_of(0, expected) == score_of(-5, expected) == -9999
    assert score_of(10**12, Expected(1, 1_050_000)) == 9999
    assert BELOW != ABOVE


def of_a_place(values: list[int]) -> tuple[int, int]:
    """Return median and spread of purchases, by plain Python."""
    middle = median(values)
    above = [half_up(value * MILLION, middle) for value in values]
    factors = [
        ratio if ratio >= MILLION else half_up(middle * MILLION, value)
        for ratio, value in zip(above, values, strict=True)
    ]
    return middle, max(median(factors), 1_250_000)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(1, 10**14)), max_size=60),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), unique=True, max_size=6),
    st.integers(1, 4),
)
def test_purchases_at_a_place_are_compared_with_the_28_days_before(
    bought: list[tuple[int, int, int]], judged: list[tuple[int, int]], least: int
) -> None:
    judged = [pair for pair in judged if pair in {(place, day) for place, day, _ in bought}]
    purchases = Purchases(*np.array(bought, np.int64).reshape(-1, 3).T)
    wanted = {}
    for place, day in judged:
        before = [cents for other, when, cents in bought if other == place and day - 28 <= when < day]
        if len(before) >= least:
            wanted[place, day] = of_a_place(before)
    columns = list(np.array(judged, np.int64).reshape(-1, 2).T)
    results = usual_purchases(purchases, columns, least)
    assert {(place, day): tuple(expected) for place, day, expected in results} == wanted
