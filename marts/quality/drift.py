"""Detect anomalies: a rule that is broken more often than before, a drop with far fewer rows than usual.

A feed is the set of drops whose names differ only in digits and compression, for example a daily export.
"""

import re
from collections.abc import Sequence
from math import sqrt
from statistics import fmean, median, pstdev

HISTORY = 20
"""Earlier drops of the feed to compare with, at most."""
ENOUGH = 5
"""Minimum number of earlier drops; with fewer, nothing is reported."""
FEW = 5
"""Minimum number of rows that break a rule; with fewer, the rule does not drift."""
_DIGITS = re.compile(r"[0-9]+")

Share = tuple[int, int]
"""Number of rows, and number of rows that break a rule."""


def feed_of(key: str) -> str:
    """Return the name of a drop's feed: ``sales/2024-01-05.csv.gz`` belongs to ``sales/#-#-#.csv``."""
    return _DIGITS.sub("#", key[:-3] if key.lower().endswith(".gz") else key)


def drifts(history: Sequence[Share], now: Share) -> bool:
    """Return whether a share is more than 3 sigma above those of the last drops.

    Sigma is their standard deviation, or the sampling error if it is larger: sqrt(p (1 - p) / n), with p smoothed by
    one extra row of each kind (Laplace). Fewer than ``FEW`` rows never alarm, because there are many rules and drops.
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
    """Return whether a drop has less than half of the median number of rows of the last drops."""
    last = history[-HISTORY:]
    return len(last) >= ENOUGH and rows < median(last) / 2
