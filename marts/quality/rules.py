"""Data quality rules: suites in Great Expectations' own JSON, validated, completed and described in words.

A rule is evaluated drop by drop. Its level names what it evaluates:

row
    each row by itself. Rows that break a critical rule are quarantined; a drop with more of them than ``mostly``
    allows is held.
key
    duplicate keys within the drop. Never quarantined: it is unknown which row is right.
drop
    the whole drop: its rows, columns, extremes, sums. A drop that breaks a critical rule is held.
run
    lines against the dimensions, when the marts are computed; the policy decides what happens.
mart
    rows of a staged mart. A broken critical rule stops the publish.

The rules that the calculations rely on (types, mandatory values, total_cost = price * quantity) are the contract:
they apply to every drop, even if the suite does not list them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from marts.quality.rule_types import RULE_TYPES, WELL_FORMED, Level, columns_of, listed

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True)
class Rule:
    """One expectation, ready to measure: parameters are resolved, columns exist, arguments are valid."""

    type: str
    kwargs: Mapping[str, Any]
    """Without ``mostly`` and ``row_condition``."""
    severity: Severity = "critical"
    mostly: float = 1.0
    condition: Mapping[str, Any] | None = None
    """The rule applies only to rows that fulfil this condition."""
    description: str = ""
    reason: str = ""
    """Reason shown for a row that breaks the rule; generated from the rule if empty."""
    contract: bool = False
    per_key: bool = False
    """Of a query: whether it evaluates the rows of each value of the first column of the key by themselves."""

    @property
    def level(self) -> Level:
        return RULE_TYPES[self.type].level

    @cached_property
    def id(self) -> str:
        """Return the id of the measure: rules that differ only in severity or ``mostly`` share it."""
        parts = json.dumps([self.type, self.kwargs, self.condition], sort_keys=True, default=str)
        return hashlib.sha256(parts.encode()).hexdigest()[:10]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule evaluates."""
        return tuple(columns_of(RULE_TYPES[self.type], self.kwargs))

    @property
    def quarantines(self) -> bool:
        return self.level == "row" and self.severity == "critical"

    @property
    def costs_rows_only(self) -> bool:
        """Return whether a few rows that break it are left out, and the others of their drop count."""
        return self.level == "row" or self.type == WELL_FORMED

    @property
    def words(self) -> str:
        """Describe the condition that must hold."""
        message = self.description or RULE_TYPES[self.type].words(self.kwargs)
        where = f", where {condition_words(self.condition)}" if self.condition and not self.description else ""
        share = f", in at least {self.mostly:.4%}".rstrip("0%").rstrip(".") + "%" if self.mostly < 1 else ""
        return f"{message}{where}{share}"

    @property
    def limit(self) -> str:
        """Return the share of rows that may break the rule, for pages; empty if none may."""
        share = f"{1 - self.mostly:.4%}".rstrip("0%").rstrip(".")
        return f"; the limit is {share}%" if self.mostly < 1 else ""

    def basis(self, missing: int, rows: str = "rows") -> str:
        """Describe the rows that the rule evaluates, if it skips ``missing`` of them because a value is missing.

        ``rows`` is the noun for all rows.
        """
        where = f" where {condition_words(self.condition)}" if self.condition else ""
        columns = self.columns
        if not missing or not columns:
            return rows + where
        each = self.kwargs.get("ignore_row_if") in ("either_value_is_missing", "any_value_is_missing")
        if len(columns) == 1:
            having = columns[0]
        elif len(columns) == 2:
            having = "both columns" if each else "either column"
        else:
            having = f"all {len(columns)} columns" if each else f"any of {len(columns)} columns"
        return f"{rows} with {having}{where}"

    @property
    def broken(self) -> str:
        """Describe what is wrong with a row that breaks the rule."""
        broken = RULE_TYPES[self.type].broken
        if self.reason or broken is None:
            return self.reason or f"not: {self.description or RULE_TYPES[self.type].words(self.kwargs)}"
        where = f", where {condition_words(self.condition)}" if self.condition else ""
        return broken(self.kwargs) + where

    def entry(self) -> dict[str, Any]:
        """Return the expectation in the format of Great Expectations."""
        kwargs = dict(self.kwargs)
        if RULE_TYPES[self.type].mostly:
            kwargs["mostly"] = self.mostly
        if self.condition:
            kwargs["row_condition"] = self.condition
        return {"type": self.type, "kwargs": kwargs, "severity": self.severity}


@dataclass(frozen=True)
class Suite:
    """The rules of a kind of drop, or of a mart."""

    name: str
    rules: tuple[Rule, ...]

    @cached_property
    def digest(self) -> str:
        """Return a hash of what decides about rows and what is measured. ``mostly`` is left out: it may change."""
        decides = sorted((rule.id, rule.quarantines, rule.broken if rule.quarantines else "") for rule in self.rules)
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


def condition_words(condition: Mapping[str, Any] | None) -> str:
    """Describe a row condition."""
    if not condition:
        return ""
    if condition["type"] in ("and", "or"):
        return f" {condition['type']} ".join(condition_words(inner) for inner in condition["conditions"])
    name = condition["column"]["name"]
    if condition["type"] == "nullity":
        return f"{name} is {'' if condition['is_null'] else 'not '}empty"
    value = condition["parameter"]
    return f"{name} {condition['operator']} {listed(value) if isinstance(value, list) else value}"


def condition_columns(condition: Mapping[str, Any] | None) -> set[str]:
    """Return the names of the columns of a row condition."""
    if not condition:
        return set()
    if condition["type"] in ("and", "or"):
        return set().union(*(condition_columns(inner) for inner in condition["conditions"]))
    return {condition["column"]["name"]}
