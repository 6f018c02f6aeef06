"""Rounding and ranks of whole numbers."""

import numpy as np

MILLION = 1_000_000
"""Ratios are whole millionths."""


def half_up(numerator: int, denominator: int) -> int:
    """Return a quotient rounded half away from zero; the denominator is above 0."""
    size = (2 * abs(numerator) + denominator) // (2 * denominator)
    return size if numerator >= 0 else -size


def half_ups(numerators: np.ndarray, denominators: np.ndarray | int) -> np.ndarray:
    """Return quotients rounded half away from zero; the denominators are above 0."""
    sizes = (2 * np.abs(numerators) + denominators) // (2 * denominators)
    return np.asarray(np.where(numerators >= 0, sizes, -sizes))


def scores(values: np.ndarray, groups: int) -> np.ndarray:
    """Return the score of each value, from 1 (the lowest) to ``groups``: equal values share one, by their middle rank.

    1 + floor(groups * (2 * below + same) / (2 * n)): ``below`` have less, ``same`` just as much.
    """
    _, places, same = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(same) - same
    return np.asarray((1 + groups * (2 * below + same) // (2 * len(values)))[places])
