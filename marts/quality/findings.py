"""Results of the rules of a suite, for a block or a drop."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from marts.quality.rules import Rule
from marts.quality.values import Measure
from marts.rows.columns import Mask

_NOTHING = Measure()


@dataclass(frozen=True)
class Measured:
    """Measures of all rules of a suite, for a block or a drop."""

    rows: int = 0
    """Rows with the right number of fields."""
    malformed: int = 0
    columns: tuple[str, ...] = ()
    """The header."""
    rules: Mapping[str, Measure] = field(default_factory=dict)
    """By rule id; a row rule without an entry held for every row."""

    def measure_and_rows(self, rule: Rule) -> tuple[Measure, int]:
        """Return the measure of a rule, and the number of rows it applies to."""
        built = self.rules.get(rule.id, _NOTHING)
        return built, self.rows if built.rows is None else built.rows

    def of(self, rule: Rule) -> Measure:
        """Return the measure of a rule, with its number of rows set."""
        built, rows = self.measure_and_rows(rule)
        return replace(built, rows=rows)


def without_samples(measured: Measured) -> Measured:
    """Keep the counts; remove every value."""
    bare = {name: replace(item, samples=(), low=None, high=None) for name, item in measured.rules.items()}
    return replace(measured, rules=bare)


@dataclass(frozen=True)
class Keys:
    """The keys of a block's rows, for rules that need duplicate keys."""

    rule: Rule
    rows: np.ndarray
    """Row numbers of the keys, counted from the start of the block."""
    hashes: np.ndarray
    values: pa.Table


@dataclass(frozen=True)
class Findings:
    """The results of a measured block."""

    measured: Measured
    broken: tuple[tuple[Rule, Mask], ...]
    """Rows that break each row rule."""
    keys: tuple[Keys, ...]
