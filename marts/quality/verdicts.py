"""Verdicts: whether a drop satisfies a rule, with the same result as Great Expectations."""

from typing import Any

from marts.quality.drop_values import DropMeasure
from marts.quality.findings import Measured
from marts.quality.rule_types import KNOWN, RULE_TYPES, UNIQUE, UNIQUE_TOGETHER, WELL_FORMED
from marts.quality.rules import Rule


def holds(rule: Rule, measured: Measured) -> bool:
    """Return whether a drop satisfies a rule, with the same result as Great Expectations."""
    if rule.level == "row" and rule.id not in measured.rules:
        return True
    built, rows = measured.measure_and_rows(rule)
    if rule.type == WELL_FORMED:
        return _share_holds(measured.rows + measured.malformed, measured.malformed, rule.mostly)
    if rule.level == "row" or rule.type in (UNIQUE, UNIQUE_TOGETHER):
        return _share_holds(rows - built.missing, built.unexpected, rule.mostly)
    if rule.type == KNOWN:
        return True
    return RULE_TYPES[rule.type].holds(rule.kwargs, observed(rule, measured))


def _share_holds(rows: int, unexpected: int, mostly: float) -> bool:
    return not rows or (float(rows) - float(unexpected)) / float(rows) >= mostly


def observed(rule: Rule, measured: Measured) -> Any:
    """Return the value that a rule about the whole drop evaluates; None if it has none."""
    value = RULE_TYPES[rule.type].value
    return value(DropMeasure(*measured.measure_and_rows(rule), measured.columns)) if value else None
