"""Compare what a model of purchases expected of customers with what they did. Whole numbers only: ratios are exact."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from marts.analytics.purchases import Histories
from marts.analytics.ranks import MILLION, half_up, half_ups, scores

_TEN_THOUSAND = 10_000
BINS = 10
WARNING = "warning"
"""First word of the name of a figure that is a warning; a rule of the suite looks for it."""
FIGURES = (
    "customers",
    "days",
    "expected purchase days",
    "purchase days that came",
    "error percent",
    "mean absolute error",
    "mean absolute error at the same rate",
    "AUC",
    "AUC of recency alone",
    "Brier",
    "mean churn probability",
    "share that did not buy",
    "expected money",
    "money that came",
    "error percent of money",
)
"""Names of the figures, in their order."""
_MOST_WRONG = 50_00
"""Hundredths of a percent by which a sum may be wrong either way, without a warning."""
_LESS_AREA = 500
"""Ten thousandths by which the AUC may be below that of recency, without a warning."""


@dataclass(frozen=True)
class Outcomes:
    """Customers with what was expected of them and what they did in the days held back; arrays of one length."""

    histories: Histories
    churn: np.ndarray
    """P(no purchase in these days), in ten thousandths."""
    expected: np.ndarray
    """Purchase days in these days, in millionths."""
    bought_days: np.ndarray
    """Purchase days that were observed."""


@dataclass(frozen=True)
class Money:
    """Money of the same customers, in cents."""

    of_a_day: np.ndarray
    """Expected money of a purchase day."""
    bought: np.ndarray
    """Money that was observed."""


@dataclass(frozen=True)
class Figure:
    """A figure of a backtest, exact: value / 10 ** digits."""

    name: str
    value: int | None
    digits: int = 0


@dataclass(frozen=True)
class Bin:
    """A tenth of the customers, by their churn probability; ratios are in ten thousandths."""

    number: int
    customers: int
    churn: int
    did_not_buy: int


def figures(outcomes: Outcomes, days: int, money: Money | None = None) -> Iterator[Figure]:
    """Yield the figures of a backtest of so many days; a ratio without anything to divide by is None."""
    customers = len(outcomes.churn)
    absent = (outcomes.bought_days == 0).astype(np.int64)
    expected, bought = int(outcomes.expected.sum()), int(outcomes.bought_days.sum())
    yield Figure("customers", customers)
    yield Figure("days", days)
    yield Figure("expected purchase days", half_up(expected, _TEN_THOUSAND), 2)
    yield Figure("purchase days that came", bought)
    yield Figure("error percent", _ratio((expected - bought * MILLION) * 100, bought * _TEN_THOUSAND), 2)
    observed = outcomes.bought_days * MILLION
    yield Figure("mean absolute error", _ratio(int(abs(outcomes.expected - observed).sum()), customers * 100), 4)
    repeat_days, last_day, age_days = outcomes.histories
    rate = half_ups(repeat_days * (days * MILLION), np.maximum(age_days, 1)) * (age_days > 0)
    yield Figure("mean absolute error at the same rate", _ratio(int(abs(rate - observed).sum()), customers * 100), 4)
    yield Figure("AUC", area(outcomes.churn, absent), 4)
    yield Figure("AUC of recency alone", area(age_days - last_day, absent), 4)
    squares = int(((outcomes.churn - _TEN_THOUSAND * absent) ** 2).sum())
    yield Figure("Brier", _ratio(squares, customers * _TEN_THOUSAND), 4)
    yield Figure("mean churn probability", _ratio(int(outcomes.churn.sum()), customers), 4)
    yield Figure("share that did not buy", _ratio(_TEN_THOUSAND * int(absent.sum()), customers), 4)
    if money:
        foreseen, received = expected_money(outcomes.expected, money.of_a_day), int(money.bought.sum())
        yield Figure("expected money", foreseen, 2)
        yield Figure("money that came", received, 2)
        yield Figure("error percent of money", _ratio((foreseen - received) * _TEN_THOUSAND, received), 2)


def warnings(known: Mapping[str, Figure]) -> Iterator[Figure]:
    """Yield a figure for each reason not to believe the model: it is named after the reason."""
    for name, expected, what in (
        ("error percent", "expected purchase days", "purchase days"),
        ("error percent of money", "expected money", "money"),
    ):
        if name not in known:
            continue
        error = known[name].value  # None if nothing came
        if abs(error) > _MOST_WRONG if error is not None else known[expected].value:
            yield Figure(f"{WARNING}: {what} wrong by more than {_MOST_WRONG // 100} percent", error, 2)
    area_of_model, of_recency = known["AUC"].value, known["AUC of recency alone"].value
    if area_of_model is not None and of_recency is not None and of_recency - area_of_model > _LESS_AREA:
        yield Figure(f"{WARNING}: recency alone ranks churn better", of_recency - area_of_model, 4)


def bins(outcomes: Outcomes) -> Iterator[Bin]:
    """Yield the tenths of the customers by churn probability; equal ones share a tenth, so some may be missing."""
    absent = outcomes.bought_days == 0
    tenths = scores(outcomes.churn, BINS)
    for number in np.unique(tenths):
        rows = tenths == number
        count = int(rows.sum())
        churn, did_not_buy = int(outcomes.churn[rows].sum()), _TEN_THOUSAND * int(absent[rows].sum())
        yield Bin(int(number), count, half_up(churn, count), half_up(did_not_buy, count))


def area(score: np.ndarray, happened: np.ndarray) -> int | None:
    """Return the area under the ROC curve of a score, in ten thousandths; None if all or none of it happened.

    It is the share of pairs in which that which happened has the higher score; equal scores count half
    (Hanley, McNeil 1982).
    """
    _, places = np.unique(score, return_inverse=True)
    ones = np.bincount(places, happened).astype(np.int64)
    zeros = np.bincount(places).astype(np.int64) - ones
    below = np.cumsum(zeros) - zeros
    won = int((ones * (2 * below + zeros)).sum())
    return _ratio(_TEN_THOUSAND * won, 2 * int(ones.sum()) * int(zeros.sum()))


def expected_money(expected: np.ndarray, cents: np.ndarray) -> int:
    """Return the sum of expected purchase days, in millionths, times the cents of each, half up."""
    whole, rest = expected // MILLION, expected % MILLION
    return (
        int((whole * cents).sum())
        + int(half_ups(rest * (cents % MILLION), MILLION).sum())
        + int((rest * (cents // MILLION)).sum())
    )


def _ratio(numerator: int, denominator: int) -> int | None:
    return half_up(numerator, denominator) if denominator else None
