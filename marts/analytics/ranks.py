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


def distinct(*columns: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return the different rows of columns in their order, how often each occurs, and the index of that of each row."""
    order = np.lexsort(columns[::-1])
    ordered = [column[order] for column in columns]
    differs = np.ones(len(order), bool)
    differs[1:] = np.any([column[1:] != column[:-1] for column in ordered], axis=0)
    first = np.flatnonzero(differs)
    places = np.empty(len(order), np.int64)
    places[order] = np.cumsum(differs) - 1
    return [column[first] for column in ordered], np.diff(np.append(first, len(order))), places
