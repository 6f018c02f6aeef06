"""What is measured of one rule."""

from dataclasses import dataclass

from marts.rows.columns import Value

SAMPLES = 20
"""Values that break a rule, of which Great Expectations shows a part."""
Sample = tuple[int, tuple[Value, ...]]
"""A row, counted from the start of what was measured, and the values of the rule's columns there, masked."""


@dataclass(frozen=True)
class Measure:
    """What was found for one rule."""

    rows: int | None = None
    """Rows that fulfil the rule's row condition; all rows of the drop if None."""
    missing: int = 0
    """Of these, rows that the rule does not look at: a value is missing."""
    unexpected: int = 0
    """Of the others, rows that break it."""
    samples: tuple[Sample, ...] = ()
    low: Value = None
    """The least value: a date as text, or a number in units of the column's last digit."""
    high: Value = None
    total: int = 0
    """Sum, in units of the column's last digit."""
    scale: int = 0
    """Digits after the point of that column."""
    distinct: int = 0
