"""Figures of customers by their history and a model of purchases: alive, purchases to come, churn."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.special import hyp2f1

from marts.analytics.purchases import Histories, PurchaseModel

_STEP_DAYS = 30
"""Purchases to come are discounted by such steps."""
_NEAR_1 = 1e-2
"""Distance of a from 1 within which the closed form loses digits."""
_NODES = 160


def alive(model: PurchaseModel, of: Histories) -> np.ndarray:
    """Return P(alive) of customers."""
    chances = model.chances(of.repeat_days)
    waited = ((model.alpha + of.age_days) / (model.alpha + of.last_day)) ** (model.r + of.repeat_days)
    exits = np.where(chances > 0, model.a / np.where(chances > 0, model.b + chances - 1, 1), 0.0)
    return np.asarray(1 / (1 + exits * waited))


def no_purchase(model: PurchaseModel, of: Histories, days: int) -> np.ndarray:
    """Return P(no purchase in the next days) of customers: who dropped out does not buy, who is alive may not."""
    waited = model.alpha + of.age_days
    buys = 1 - (waited / (waited + days)) ** (model.r + of.repeat_days)
    return 1 - alive(model, of) * buys


def purchases_if_alive(model: PurchaseModel, of: Histories, days: int) -> np.ndarray:
    """Return the expected purchase days in the next days of customers who are alive.

    The closed form of Fader, Hardie, Lee 2005, equation 10, after Euler's transformation of 2F1: its parameters are
    small then, however often a customer bought. Where a is about 1, the same integral is computed by Gauss-Jacobi.
    """
    waited = model.alpha + of.age_days
    if model.a == 0:
        return (model.r + of.repeat_days) / waited * days
    if abs(model.a - 1) < _NEAR_1:
        return _by_quadrature(model, of, days)
    z = days / (waited + days)
    a, c = model.a, model.a + model.b + model.chances(of.repeat_days) - 1
    series = hyp2f1(c - model.r - of.repeat_days, a - 1, c, z)
    return np.asarray(c / (a - 1) * (1 - (1 - z) ** (a - 1) * series))


def _by_quadrature(model: PurchaseModel, of: Histories, days: int) -> np.ndarray:
    """Return the mean of (1 - (1 + p days / (alpha + T))^-(r + x)) / p, where p is Beta(a, b + m)."""
    result = np.empty(len(of.repeat_days))
    chances = model.chances(of.repeat_days)
    for m in np.unique(chances):
        rows = chances == m
        chance, weights = _beta_nodes(model.a, model.b + m)
        p = chance[:, None]
        days_share = days / (model.alpha + of.age_days[rows])
        values = -np.expm1(-(model.r + of.repeat_days[rows]) * np.log1p(p * days_share)) / p
        result[rows] = weights @ values
    return result


def _beta_nodes(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points and weights whose sums are means over Beta(a, b).

    Gauss-Jacobi by the eigenvalues of the recurrence (Golub, Welsch 1969); the weights add up to 1, so that no Beta
    function overflows where b is large.
    """
    first, second = b - 1, a - 1
    k = np.arange(1, _NODES)
    both = 2 * k + first + second
    middle = (second - first) / (first + second + 2)
    diagonal = np.concatenate([[middle], (second**2 - first**2) / (both * (both + 2))])
    squares = 4 * k * (k + first) * (k + second) * (k + first + second) / (both**2 * (both + 1) * (both - 1))
    squares[0] = 4 * (1 + first) * (1 + second) / ((2 + first + second) ** 2 * (3 + first + second))
    points, vectors = eigh_tridiagonal(diagonal, np.sqrt(squares))
    return (points + 1) / 2, vectors[0] ** 2


def ends(horizon_days: int) -> Sequence[int]:
    """Return the days after which purchases to come are discounted, the last is the horizon."""
    return [*range(_STEP_DAYS, horizon_days, _STEP_DAYS), horizon_days]


def discounted_if_alive(model: PurchaseModel, of: Histories, horizon_days: int, rate: float) -> np.ndarray:
    """Return the expected purchase days of the horizon, discounted to today, of customers who are alive."""
    total, before = np.zeros(len(of.repeat_days)), np.zeros(len(of.repeat_days))
    for end in ends(horizon_days):
        now = purchases_if_alive(model, of, end)
        total += (now - before) * (1 + rate) ** (-end / 365)
        before = now
    return total


def rounded(values: np.ndarray, digits: int) -> np.ndarray:
    """Return values as whole numbers of their last digit, half up."""
    return np.asarray(np.floor(values * 10.0**digits + 0.5), np.int64)
