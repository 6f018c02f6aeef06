"""The contract of a kind of drop: the rules that the calculations rely on."""

from typing import Any

from marts.pack import Kind, SourceColumn, SourceType
from marts.policy import DEFAULT_RULE, Policy
from marts.quality.rule_types import BETWEEN, FITS, NOT_NULL, PRODUCT, UNIQUE, WELL_FORMED
from marts.quality.rules import Rule, Severity


def contract(kind: Kind, policy: Policy) -> list[Rule]:
    """Return the rules that the calculations rely on."""
    rules = [Rule(WELL_FORMED, {}, contract=True)]
    for column in kind.columns:
        reason = f"{column.name} {_unfit(column)}"
        rules.append(Rule(FITS, {"column": column.name}, _severity(kind, column), reason=reason, contract=True))
    for column in kind.columns:
        if not column.nullable:
            rules.append(Rule(NOT_NULL, {"column": column.name}, contract=True))
        if column.type in ("id", "money", "percent"):
            kwargs: dict[str, Any] = {"column": column.name, "min_value": 1 if column.type == "id" else 0}
            kwargs |= {"max_value": 100} if column.type == "percent" else {}
            rules.append(Rule(BETWEEN, kwargs, _severity(kind, column), contract=True))
        if column.type == "quantity":
            kwargs = {"column": column.name, "value_set": [0]}
            rules.append(Rule("expect_column_values_to_not_be_in_set", kwargs, contract=True))
    return [*rules, *_of_key(kind), *_of_total(kind, policy)]


def _of_key(kind: Kind) -> list[Rule]:
    """Return the rule that keys of a snapshot are unique; those of a log of changes may not be."""
    return [Rule(UNIQUE, {"column": kind.key}, "info", contract=True)] if kind.versions else []


def _of_total(kind: Kind, policy: Policy) -> list[Rule]:
    rules: list[Rule] = []
    if kind.total:
        names = list(kind.total)
        if policy.total_cost_rule == DEFAULT_RULE:
            kwargs: dict[str, Any] = {"column_list": names, "ignore_row_if": "any_value_is_missing"}
        else:  # a row of which it cannot be computed breaks it
            kwargs = {"column_list": [policy.total_cost_rule, names[-1]], "ignore_row_if": "never"}
        kwargs["tolerance"] = policy.total_cost_tolerance
        if policy.total_cost_rule != "off":
            rules.append(Rule(PRODUCT, kwargs, contract=True))
        for name in () if policy.allow_returns else kind.total[:-1]:
            kwargs = {"column": name, "min_value": 0}
            reason = f"{name} is negative, and returns are not allowed"
            rules.append(Rule(BETWEEN, kwargs, reason=reason, contract=True))
    return rules


def _severity(kind: Kind, column: SourceColumn) -> Severity:
    """Return the severity of a rule about a column: a row of a dimension is not lost for one that no mart needs."""
    return "critical" if column.mandatory or kind.key is None else "warning"


_UNFIT: dict[SourceType, str] = {
    "id": "is not a whole number",
    "text_id": "has more than {length:,} characters",
    "integer": "is not a whole number",
    "quantity": "is not a decimal number with at most 4 digits after the point",
    "price": "is not a decimal number with at most 6 digits after the point",
    "money": "is not a decimal number with at most 2 digits after the point",
    "amount": "is not a decimal number with at most 2 digits after the point",
    "percent": "is not a decimal number with at most 2 digits after the point",
    "decimal4": "is not a decimal number with at most 4 digits after the point",
    "decimal6": "is not a decimal number with at most 6 digits after the point",
    "date": "is not an ISO date",
    "time": "is not an ISO date or timestamp",
    "text": "has more than {length:,} characters",
    "yes_no": "is not Y, N, yes, no, true, false, 1 or 0",
}


def _unfit(column: SourceColumn) -> str:
    """Return what is wrong with a value that does not fit a column."""
    if column.values:
        return f"is not one of {', '.join(word for word, _ in column.values)}"
    return _UNFIT[column.type].format(length=column.max_length)
