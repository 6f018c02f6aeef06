"""The model of purchases: MBG/NBD or BG/NBD, fitted to counted histories of customers.

While alive, a customer buys at a rate of their own, Gamma(r, alpha) over customers; after a purchase they drop out with
a chance of their own, Beta(a, b) over customers. In MBG/NBD they may drop out after the first purchase, too. Sources:
Fader, Hardie, Lee 2005 (BG/NBD); Batislam, Denizel, Filiztekin 2007 (MBG/NBD); Fader, Hardie 2008, note 21.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np

from marts.analytics.newton import Likelihood, Maximum, maximum
from marts.analytics.ranks import distinct

ModelName = Literal["mbg_nbd", "bg_nbd"]

NO_DROPOUT = "no dropout seen"
_NO_CHANCE = 1e-6
"""Mean chance to drop out, a / (a + b), below which nobody does."""
_DIGITS = 8
"""Significant digits of the parameters that everything is computed from."""


class Histories(NamedTuple):
    """Histories of customers: arrays of whole numbers of one length."""

    repeat_days: np.ndarray
    """Days with a purchase, less the first."""
    last_day: np.ndarray
    """Days from the first purchase to the last."""
    age_days: np.ndarray
    """Days since the first purchase."""


@dataclass(frozen=True)
class Cells:
    """Customers counted by equal histories, in the order of these."""

    histories: Histories
    customers: np.ndarray

    @classmethod
    def counted(cls, histories: Histories) -> Self:
        """Count the customers of each history: their order does not matter."""
        rows, counts, _ = distinct(*histories)
        return cls(Histories(*rows), counts)


@dataclass(frozen=True)
class PurchaseModel:
    """Parameters of the model of purchases; a = 0 if nobody drops out."""

    name: ModelName
    r: float
    alpha: float
    """In days."""
    a: float
    b: float

    def chances(self, repeat_days: np.ndarray) -> np.ndarray:
        """Return how often customers could have dropped out."""
        return repeat_days + (self.name == "mbg_nbd")


@dataclass(frozen=True)
class Fit:
    """A fitted model with what says how far to believe it."""

    model: PurchaseModel
    """With the parameters rounded to 8 significant digits."""
    maximum: Maximum
    """With the parameters as they were computed."""

    @property
    def status(self) -> str:
        """Return 'ok', 'no dropout seen', or why there is no number."""
        return self.maximum.status or ("ok" if self.model.a else NO_DROPOUT)


def fitted(name: ModelName, cells: Cells) -> Fit:
    """Return the model of the largest likelihood."""
    start_alpha = float((cells.histories.age_days @ cells.customers) / (cells.histories.repeat_days @ cells.customers))
    result = maximum(_likelihood(name, cells), (1.0, start_alpha, 1.0, 3.0), _without_dropout)
    if result.status != NO_DROPOUT:
        return Fit(PurchaseModel(name, *map(_rounded, result.parameters)), result)
    result = maximum(_likelihood_of_rates(cells), (1.0, start_alpha))
    r, alpha = map(_rounded, result.parameters)
    return Fit(PurchaseModel(name, r, alpha, 0.0, 1.0), result)


def _rounded(parameter: float) -> float:
    return float(f"{parameter:.{_DIGITS - 1}e}")


def _without_dropout(logarithms: np.ndarray) -> str:
    a, b = np.exp(logarithms[2:])
    return NO_DROPOUT if a / (a + b) < _NO_CHANCE else ""


def _likelihood(name: ModelName, cells: Cells) -> Callable[[np.ndarray], Likelihood]:
    """Return the log-likelihood of the logarithms of r, alpha, a, b.

    Fader, Hardie, Lee 2005, equation 6, with rising factorials: x and m are whole. A history is that of a customer who
    is alive, or that of one who dropped out after the last purchase; ``alive`` is the chance of the first.
    """
    (x, last, age), n = cells.histories, cells.customers
    m = PurchaseModel(name, 1, 1, 1, 1).chances(x)
    with_x, with_m = np.bincount(x, n), np.bincount(m, n)
    days = np.arange(int(age.max()) + 1)

    def at(logarithms: np.ndarray) -> Likelihood:
        r, alpha, a, b = np.exp(logarithms)
        day_log, day_share = np.log(alpha + days), alpha / (alpha + days)
        s = r + x
        log_age, log_last, share_age, share_last = day_log[age], day_log[last], day_share[age], day_share[last]
        exit_base = b + m - 1
        with np.errstate(divide="ignore"):
            log_exit = np.where(m > 0, np.log(a / np.where(m > 0, exit_base, 1)), -np.inf)
        waiting = -s * (log_age - log_last)
        total = np.logaddexp(waiting, log_exit)
        alive = np.exp(waiting - total)
        gone_n, alive_n = n * np.exp(log_exit - total), n * alive
        both_n = gone_n * alive
        exit_b = np.where(m > 0, b / np.where(m > 0, exit_base, 1), 0.0)  # - d log_exit / d ln b
        # First derivatives of the two exponents; those by a and b are 0 for who is alive.
        r_alive, r_gone = -r * log_age, -r * log_last
        alpha_alive, alpha_gone = -s * share_age, -s * share_last
        r_apart, alpha_apart = r_alive - r_gone, alpha_alive - alpha_gone
        gradient = np.array(
            [
                alive_n @ r_alive + gone_n @ r_gone,
                alive_n @ alpha_alive + gone_n @ alpha_gone,
                gone_n.sum(),
                -(gone_n @ exit_b),
            ]
        )
        hessian = np.zeros((4, 4))
        hessian[0, 0] = alive_n @ r_alive + gone_n @ r_gone + both_n @ r_apart**2
        hessian[0, 1] = -r * (alive_n @ share_age + gone_n @ share_last) + both_n @ (r_apart * alpha_apart)
        hessian[0, 2] = -(both_n @ r_apart)
        hessian[0, 3] = both_n @ (r_apart * exit_b)
        hessian[1, 1] = (
            alive_n @ (alpha_alive * (1 - share_age))
            + gone_n @ (alpha_gone * (1 - share_last))
            + both_n @ alpha_apart**2
        )
        hessian[1, 2] = -(both_n @ alpha_apart)
        hessian[1, 3] = both_n @ (alpha_apart * exit_b)
        hessian[2, 2] = both_n.sum()
        hessian[2, 3] = -(both_n @ exit_b)
        hessian[3, 3] = both_n @ exit_b**2 - gone_n @ (exit_b * (1 - exit_b))
        value = float(n @ (total - s * log_last))
        rates, exits = _rates(r, alpha, with_x), _exits(a, b, with_m)
        gradient += np.concatenate([rates.gradient, exits.gradient])
        hessian[:2, :2] += rates.hessian
        hessian[2:, 2:] += exits.hessian
        hessian += np.triu(hessian, 1).T
        return Likelihood(value + rates.value + exits.value, gradient, hessian)

    return at


def _likelihood_of_rates(cells: Cells) -> Callable[[np.ndarray], Likelihood]:
    """Return the log-likelihood of the logarithms of r and alpha, if nobody drops out (NBD)."""
    x, age, n = cells.histories.repeat_days, cells.histories.age_days, cells.customers
    with_x = np.bincount(x, n)

    def at(logarithms: np.ndarray) -> Likelihood:
        r, alpha = np.exp(logarithms)
        s, log_age, share = r + x, np.log(alpha + age), alpha / (alpha + age)
        rates = _rates(r, alpha, with_x)
        of_r, of_alpha, of_both = -r * (n @ log_age), -(n @ (s * share)), -r * (n @ share)
        hessian = np.array([[of_r, of_both], [of_both, -(n @ (s * share * (1 - share)))]])
        return Likelihood(
            rates.value - float(n @ (s * log_age)),
            rates.gradient + np.array([of_r, of_alpha]),
            rates.hessian + hessian + (np.triu(rates.hessian, 1).T),
        )

    return at


def _rates(r: float, alpha: float, with_x: np.ndarray) -> Likelihood:
    """Return the sum of ln (r)_x + r ln alpha, by customers with each x; of the Hessian, the upper half."""
    j = np.arange(len(with_x) - 1)
    value, first, second = (_rising(terms) @ with_x for terms in (np.log(r + j), r / (r + j), r * j / (r + j) ** 2))
    of_alpha = with_x.sum() * r
    return Likelihood(
        float(value + of_alpha * np.log(alpha)),
        np.array([first + of_alpha * np.log(alpha), of_alpha]),
        np.array([[second + of_alpha * np.log(alpha), of_alpha], [0.0, 0.0]]),
    )


def _exits(a: float, b: float, with_m: np.ndarray) -> Likelihood:
    """Return the sum of ln (b)_m - ln (a + b)_m, by customers with each m; of the Hessian, the upper half."""
    j = np.arange(len(with_m) - 1)
    both = a + b + j
    value = _rising(np.log((b + j) / both)) @ with_m
    of_a, of_b = -_rising(a / both) @ with_m, _rising(b / (b + j) - b / both) @ with_m
    of_aa = -_rising(a * (b + j) / both**2) @ with_m
    of_ab = _rising(a * b / both**2) @ with_m
    of_bb = _rising(b * j / (b + j) ** 2 - b * (a + j) / both**2) @ with_m
    return Likelihood(float(value), np.array([of_a, of_b]), np.array([[of_aa, of_ab], [0.0, of_bb]]))


def _rising(terms: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, ... terms."""
    return np.concatenate([[0.0], np.cumsum(terms)])
