"""Tell what is unusual: a rule that is broken more often than it used to be, a drop with far fewer rows than usual.

A feed is the drops whose names differ in digits only, such as a daily export.
"""

import re
from collections.abc import Sequence
from math import sqrt
from statistics import fmean, median, pstdev

HISTORY = 20
"""Earlier drops of the feed that are looked at."""
ENOUGH = 5
"""Earlier drops below which nothing can be said."""
FEW = 5
"""Rows below which a rule does not drift."""
_DIGITS = re.compile(r"[0-9]+")

Share = tuple[int, int]
"""Rows, and how many of them break a rule."""


def feed_of(key: str) -> str:
    """Return the name of the feed of a drop: ``sales/2024-01-05.csv`` is of ``sales/#-#-#.csv``."""
    return _DIGITS.sub("#", key)


def drifts(history: Sequence[Share], now: Share) -> bool:
    """Return whether a share is more than 3 sigma above those of the last drops.

    Sigma is their standard deviation, or that of counting alone if it is larger: sqrt(p (1 - p) / n), with p
    smoothed by one row more of each kind (Laplace). A few rows are never an alarm: there are many rules and drops.
    """
    last = [share for share in history if share[0]][-HISTORY:]
    rows, unexpected = now
    if len(last) < ENOUGH or unexpected < FEW:
        return False
    shares = [bad / count for count, bad in last]
    smoothed = (sum(bad for _, bad in last) + 1) / (sum(count for count, _ in last) + 2)
    sigma = max(pstdev(shares), sqrt(smoothed * (1 - smoothed) / rows))
    return unexpected / rows > max(fmean(shares), smoothed) + 3 * sigma


def is_short(history: Sequence[int], rows: int) -> bool:
    """Return whether a drop has less than half of the rows that are usual: the median of the last drops."""
    last = history[-HISTORY:]
    return len(last) >= ENOUGH and rows < median(last) / 2
