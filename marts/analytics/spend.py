"""The model of money per purchase day: Gamma-Gamma, fitted to repeat buyers (Fader, Hardie 2013, note 25).

The money of a purchase day varies about a mean of the customer's own, Gamma(p, v), and v over customers, Gamma(q, g).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from marts.analytics.newton import Likelihood, Maximum, maximum
from marts.analytics.ranks import MILLION, distinct

NO_MEAN = "no finite mean"


@dataclass(frozen=True)
class Spending:
    """Repeat buyers counted by repeat purchase days and their money, in the order of these; arrays of one length."""

    repeat_days: np.ndarray
    """At least 1."""
    repeat_cents: np.ndarray
    """Money of these days, at least 1."""
    customers: np.ndarray

    @classmethod
    def counted(cls, repeat_days: np.ndarray, repeat_cents: np.ndarray) -> Self:
        """Return the spending of customers, counted and sorted; those without repeat purchases are left out."""
        bought = (repeat_days > 0) & (repeat_cents > 0)
        (days, cents), counts, _ = distinct(repeat_days[bought], repeat_cents[bought])
        return cls(days, cents, counts)


@dataclass(frozen=True)
class SpendModel:
    """Parameters of the model of money, as whole numbers: money to come is computed from them without floats."""

    p: int
    """In millionths."""
    q: int
    """In millionths; with q of at most 1, the model has no mean."""
    g: int
    """In hundredths of a cent."""


@dataclass(frozen=True)
class SpendFit:
    """A fitted model of money."""

    model: SpendModel
    maximum: Maximum
    """With g in cents."""

    @property
    def status(self) -> str:
        """Return 'ok', 'no finite mean', or why there is no number."""
        return self.maximum.status or ("ok" if self.model.q > MILLION else NO_MEAN)


def fitted_spend(spending: Spending) -> SpendFit:
    """Return the model of the largest likelihood.

    The search is in units of the mean money of a purchase day, so that its bounds do not depend on the currency.
    """
    unit = float((spending.repeat_cents * spending.customers).sum() / (spending.repeat_days * spending.customers).sum())
    result = maximum(_likelihood(spending, unit), (1.0, 3.0, 2.0))
    p, q, g = result.parameters
    result = Maximum((p, q, g * unit), result.value, result.errors, result.status)
    return SpendFit(SpendModel(round(p * MILLION), round(q * MILLION), round(g * unit * 100)), result)


def _likelihood(spending: Spending, unit: float) -> Callable[[np.ndarray], Likelihood]:
    """Return the log-likelihood of the logarithms of p, q and g / unit: of the mean money of each repeat buyer."""
    x, money, n = spending.repeat_days, spending.repeat_cents / unit, spending.customers
    logs = np.log(money)
    with_x = np.bincount(x, n)
    logs_of_x = np.bincount(x, n * logs)
    xs = np.nonzero(with_x)[0]
    counts, buyers = with_x[xs], float(n.sum())
    # The density of the money is that of the mean of a day divided by x, and of cents divided by the unit.
    constant = float(counts @ np.log(xs)) - buyers * np.log(unit)
    nx = n * x

    def at(logarithms: np.ndarray) -> Likelihood:
        p, q, g = np.exp(logarithms)
        px, both = p * xs, p * xs + q
        log_sum, share = np.log(g + money), g / (g + money)
        log_n, log_nx, share_n, share_nx = n @ log_sum, nx @ log_sum, n @ share, nx @ share
        bent_n, bent_nx = n @ (share * (1 - share)), nx @ (share * (1 - share))
        value = (
            counts @ (gammaln(both) - gammaln(px))
            - buyers * (gammaln(q) - q * np.log(g))
            + (px - 1) @ logs_of_x[xs]
            - p * log_nx
            - q * log_n
        )
        slope_both, slope_px, slope_q = digamma(both), digamma(px), digamma(q)
        bend_both, bend_px, bend_q = polygamma(1, both), polygamma(1, px), polygamma(1, q)
        of_p = counts @ (px * (slope_both - slope_px)) + px @ logs_of_x[xs] - p * log_nx
        of_q = q * (counts @ slope_both - buyers * (slope_q - np.log(g)) - log_n)
        of_g = buyers * q - p * share_nx - q * share_n
        of_pp = of_p + counts @ (px**2 * (bend_both - bend_px))
        of_pq = q * (counts @ (px * bend_both))
        of_qq = of_q + q**2 * (counts @ bend_both - buyers * bend_q)
        of_pg, of_qg = -p * share_nx, q * (buyers - share_n)
        of_gg = -p * bent_nx - q * bent_n
        hessian = np.array([[of_pp, of_pq, of_pg], [of_pq, of_qq, of_qg], [of_pg, of_qg, of_gg]])
        return Likelihood(float(value) + constant, np.array([of_p, of_q, of_g]), hessian)

    return at
