"""Find the maximum of a likelihood by Newton's method, in the logarithms of its parameters."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_STEPS = 100
_SMALL_STEP = 1e-9
_LONGEST_STEP = 3.0
"""Longest step in a logarithm: a parameter changes by a factor of 20 at most."""
_FLATTEST = 1e-6
"""Smallest curvature in a direction that still says where the maximum is: its standard error is 1000 logarithms."""
_OUTERMOST = np.log(1e6)
"""Largest logarithm of a parameter, either way."""
_NOISE = 1e-13
"""Relative error of a sum of logarithms, which a step near the maximum cannot improve on."""

AT_BOUNDARY = "at a boundary"
NOT_CONVERGED = "not converged"


@dataclass(frozen=True)
class Likelihood:
    """A log-likelihood at a point, with its first and second derivatives by the logarithms of the parameters."""

    value: float
    gradient: np.ndarray
    hessian: np.ndarray


@dataclass(frozen=True)
class Maximum:
    """Where a likelihood is largest, or why that is not known."""

    parameters: tuple[float, ...]
    value: float
    errors: tuple[float, ...]
    """Standard errors of the logarithms of the parameters, by the inverse Hessian."""
    status: str = ""
    """Why the parameters cannot be used; empty if they can."""


def maximum(
    likelihood: Callable[[np.ndarray], Likelihood],
    start: tuple[float, ...],
    stopped: Callable[[np.ndarray], str] = lambda _: "",
) -> Maximum:
    """Return the maximum of a likelihood, from one start.

    Newton's method in the logarithms, with steps uphill also where the likelihood is not concave yet, and halved while
    they lead down. It ends with a Newton step below 1e-9 where the likelihood is concave in every direction.
    ``stopped`` gets the logarithms after each step, and gives the status that ends the search.
    """
    point = np.log(np.array(start, np.float64))
    here = likelihood(point)
    for _ in range(_STEPS):
        curvatures, directions = np.linalg.eigh(-here.hessian)
        step = directions @ ((directions.T @ here.gradient) / np.maximum(np.abs(curvatures), _FLATTEST))
        if np.linalg.norm(step) < _SMALL_STEP:
            return _ended(point, here, AT_BOUNDARY if curvatures.min() <= _FLATTEST else "")
        step *= min(1.0, _LONGEST_STEP / np.abs(step).max())
        point, here = _uphill(likelihood, point, here, step)
        if status := stopped(point) or (AT_BOUNDARY if np.abs(point).max() > _OUTERMOST else ""):
            return _ended(point, here, status)
    return _ended(point, here, NOT_CONVERGED)


def _uphill(
    likelihood: Callable[[np.ndarray], Likelihood], point: np.ndarray, here: Likelihood, step: np.ndarray
) -> tuple[np.ndarray, Likelihood]:
    """Return the point after a step, halved until the likelihood is no smaller."""
    least = here.value - _NOISE * abs(here.value)
    while True:
        following = likelihood(point + step)
        if following.value >= least or np.abs(step).max() < _SMALL_STEP:
            return point + step, following
        step = step / 2


def _ended(point: np.ndarray, here: Likelihood, status: str) -> Maximum:
    variances = np.full(len(point), np.nan) if status else np.diag(np.linalg.inv(-here.hessian))
    return Maximum(tuple(map(float, np.exp(point))), here.value, tuple(map(float, np.sqrt(variances))), status)
