"""The measure of one rule."""

from dataclasses import dataclass

from marts.rows.columns import Value

SAMPLES = 20
"""Maximum number of bad values kept per rule; Great Expectations shows some of them."""
Sample = tuple[int, tuple[Value, ...]]
"""Row number, counted from the start of the measured rows, and the values of the rule's columns, masked."""


@dataclass(frozen=True)
class Measure:
    """Counts, extremes and samples of one rule."""

    rows: int | None = None
    """Rows that fulfil the rule's row condition; all rows of the drop if None."""
    missing: int = 0
    """Of these, rows that the rule skips: a value is missing."""
    unexpected: int = 0
    """Of the others, rows that break the rule."""
    samples: tuple[Sample, ...] = ()
    low: Value = None
    """The least value: a date as text, or a number in units of the column's last digit."""
    high: Value = None
    total: int = 0
    """Sum, in units of the column's last digit."""
    scale: int = 0
    """Digits after the point of that column."""
    distinct: int = 0
