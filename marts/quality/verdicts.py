"""Whether a drop keeps a rule, as Great Expectations would say."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from marts.quality.rule_types import KNOWN, UNIQUE, UNIQUE_TOGETHER, WELL_FORMED
from marts.quality.rules import Rule
from marts.quality.values import Measured


def holds(rule: Rule, measured: Measured) -> bool:
    """Tell whether a drop keeps a rule, as Great Expectations would."""
    if rule.level == "row" and rule.id not in measured.rules:
        return True
    made, rows = measured.found(rule)
    k = rule.kwargs
    if rule.type == WELL_FORMED:
        return _share_holds(measured.rows + measured.malformed, measured.malformed, rule.mostly)
    if rule.level == "row" or rule.type in (UNIQUE, UNIQUE_TOGETHER):
        return _share_holds(rows - made.missing, made.unexpected, rule.mostly)
    if rule.type == KNOWN:
        return True
    return _whole_holds(rule.type, k, observed(rule, measured))


def _share_holds(rows: int, unexpected: int, mostly: float) -> bool:
    return not rows or (float(rows) - float(unexpected)) / float(rows) >= mostly


def observed(rule: Rule, measured: Measured) -> Any:
    """Give the value that a rule about the whole drop looks at; None if there is none."""
    made, rows = measured.found(rule)
    there = rows - made.missing
    name = rule.type.removeprefix("expect_").removesuffix("_to_be_between")
    if name.startswith("table_row_count"):
        return rows
    if name.startswith("table_column_count"):
        return len(measured.columns)
    if name.startswith("table_columns") or name == "column_to_exist":
        return list(measured.columns)
    match name:
        case "column_min" | "column_max":
            value = made.low if name == "column_min" else made.high
            return Decimal(value).scaleb(-made.scale) if isinstance(value, int) and made.scale else value
        case "column_sum":
            return Decimal(made.total).scaleb(-made.scale) if made.scale else made.total
        case "column_mean":
            return float(Decimal(made.total).scaleb(-made.scale) / there) if there else None
        case "column_unique_value_count":
            return made.distinct
        case "column_proportion_of_unique_values":
            return made.distinct / there if there else 0
        case "column_proportion_of_non_null_values":
            return there / rows if rows else 0
    return None


def _whole_holds(type_: str, k: Mapping[str, Any], value: Any) -> bool:
    match type_.removeprefix("expect_"):
        case "table_row_count_to_equal" | "table_column_count_to_equal":
            return bool(value == k["value"])
        case "table_columns_to_match_set":
            wanted = set(k["column_set"])
            return wanted <= set(value) if k.get("exact_match", True) is False else wanted == set(value)
        case "table_columns_to_match_ordered_list":
            return bool(value == list(k["column_list"]))
        case "column_to_exist":
            return k["column"] in value
        case "column_values_to_be_of_type":
            return True  # checked when the suite is read: types are the schema's
    if value is None:
        return False
    low, high = k.get("min_value"), k.get("max_value")
    if not isinstance(value, str):
        value, low, high = (None if bound is None else Decimal(str(bound)) for bound in (value, low, high))
    return not (
        (low is not None and (value <= low if k.get("strict_min") else value < low))
        or (high is not None and (value >= high if k.get("strict_max") else value > high))
    )
