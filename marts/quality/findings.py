"""What was found for the rules of a suite, in a block or a drop."""

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
    """What was found for all rules of a suite, in a block or a drop."""

    rows: int = 0
    """Rows that have the right number of fields."""
    malformed: int = 0
    columns: tuple[str, ...] = ()
    """The header."""
    rules: Mapping[str, Measure] = field(default_factory=dict)
    """By the rule's id; a rule that is not there held for each row."""

    def measure_and_rows(self, rule: Rule) -> tuple[Measure, int]:
        """Return what was found for a rule, and the rows that it is about."""
        built = self.rules.get(rule.id, _NOTHING)
        return built, self.rows if built.rows is None else built.rows

    def of(self, rule: Rule) -> Measure:
        """Return the measure of a rule, with its rows."""
        built, rows = self.measure_and_rows(rule)
        return replace(built, rows=rows)


def without_samples(measured: Measured) -> Measured:
    """Keep what was counted, and no value."""
    bare = {name: replace(item, samples=(), low=None, high=None) for name, item in measured.rules.items()}
    return replace(measured, rules=bare)


@dataclass(frozen=True)
class Keys:
    """The keys of a block's rows: for rules that need to know whether a key is there twice."""

    rule: Rule
    rows: np.ndarray
    """Where they are, counted from the start of the block."""
    hashes: np.ndarray
    values: pa.Table


@dataclass(frozen=True)
class Findings:
    """A block, measured."""

    measured: Measured
    broken: tuple[tuple[Rule, Mask], ...]
    """Rows that break each row rule."""
    keys: tuple[Keys, ...]
