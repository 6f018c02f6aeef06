"""Read suites, validate every entry, and add the rules of the contract."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from marts.errors import UsageError
from marts.pack import DIGITS, Kind, Mart, MartType, Pack, SourceType
from marts.policy import DEFAULT_RULE, Policy, numbers_of
from marts.quality.contract import contract
from marts.quality.rule_types import (
    BETWEEN,
    FITS,
    OF_TYPE,
    PRODUCT,
    QUERY,
    RULE_TYPES,
    TYPE_NAMES,
    TYPES,
    WELL_FORMED,
    Family,
    RuleType,
    columns_of,
)
from marts.quality.rules import Rule, Suite

PARAMETER = "$PARAMETER"
_SEVERITIES = ("critical", "warning", "info")
_ENTRY = ("type", "kwargs", "severity", "description", "meta", "id", "notes", "rendered_content")
_OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "IN", "NOT_IN")
_IGNORE_PAIR = ("both_values_are_missing", "either_value_is_missing", "neither")
_IGNORE_MANY = ("all_values_are_missing", "any_value_is_missing", "never")
_ELSEWHERE = (
    "median quantile most_common z_score outliers increasing decreasing stdev kl_divergence ks_test chisquare cramers"
).split()
"""Name parts of expectations whose results cannot be merged from blocks of a drop."""


def read_suite(
    data: Any, of: Kind | Mart, where: str, parameters: Mapping[str, Any], policy: Policy | None = None
) -> Suite:
    """Validate a suite and add the rules of the contract. Raise UsageError that names the entry and the error.

    ``data`` is the parsed JSON of a suite, ``parameters`` the values for ``{"$PARAMETER": name}``.
    """
    if not isinstance(data, dict) or not isinstance(data.get("expectations"), list):
        hint = 'write {"name": …, "expectations": [{"type": …, "kwargs": {…}}]}'
        raise UsageError('is not a suite: the list "expectations" is missing', where, hint)
    reader = _Reader(of, parameters)
    rules: list[Rule] = []
    for number, entry in enumerate(data["expectations"], 1):
        if reader.bounds_a_text_id(entry):
            continue
        try:
            rules.append(reader.read(entry))
        except _Wrong as wrong:
            named = entry.get("type") if isinstance(entry, dict) else None
            raise UsageError(
                f"expectation {number}{f' ({named})' if named else ''}: {wrong}", where, wrong.hint
            ) from None
    if isinstance(of, Kind):
        if (policy or Policy()).total_cost_rule != DEFAULT_RULE:  # it replaces the rule that suites list
            rules[:] = [rule for rule in rules if rule.type != PRODUCT]
        _keep_contract(rules, of, policy or Policy(), where)
    ids = [rule.id for rule in rules]
    repeats = next((rule for rule in rules if ids.count(rule.id) > 1), None)
    if repeats:
        raise UsageError(f"duplicate expectation: {repeats.words}", where, "remove one of them")
    return Suite(of.table if isinstance(of, Mart) else of.name, tuple(rules))


def policy_parameters(pack: Pack, policy: Policy) -> dict[str, Any]:
    """Return the parameters of a suite of drops: the numbers of the policy, ``good_ratio`` and ``known_ratio``."""
    numbers = {
        name: value
        for name, value in {**policy.model_dump(exclude={"own"}), **numbers_of(pack, policy)}.items()
        if isinstance(value, int | float | Decimal | str) and not isinstance(value, bool)
    }
    good, known = 1 - Decimal(str(policy.max_bad_ratio)), 1 - Decimal(str(policy.max_unknown_ratio))
    known = known if policy.unknown_people == "stop" else Decimal(0)
    return {**numbers, "good_ratio": float(good), "known_ratio": float(known)}


def _keep_contract(rules: list[Rule], kind: Kind, policy: Policy, where: str) -> None:
    """Add the rules of the contract that the suite does not list. Raise UsageError if it weakens one."""
    share = 1 - policy.max_bad_ratio
    named = {rule.id: rule for rule in rules}
    first: list[Rule] = []
    last: list[Rule] = []
    for rule in contract(kind, policy):
        given = named.get(rule.id)
        if given is None:
            mostly = share if RULE_TYPES[rule.type].mostly and rule.severity == "critical" else 1.0
            (first if rule.type in (FITS, WELL_FORMED) else last).append(replace(rule, mostly=mostly))
        elif given.severity != "critical" and rule.severity == "critical":
            hint = "the marts rely on it: leave its severity critical"
            raise UsageError(f'"{given.words}" can only be critical', where, hint)
    rules[:] = [*first, *rules, *last]


class _Wrong(Exception):
    """An invalid entry of a suite."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


@dataclass
class _Reader:
    """Reader of the entries of one suite."""

    of: Kind | Mart
    parameters: Mapping[str, Any]
    families: Mapping[str, Family] = field(init=False)
    types: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.families = {column.name: _FAMILY[column.type] for column in self.of.columns}
        self.types = {column.name: type_name(column.type) for column in self.of.columns}

    @property
    def _lookups(self) -> Mapping[str, str]:
        return self.of.lookups if isinstance(self.of, Kind) else {}

    def read(self, entry: Any) -> Rule:
        if not isinstance(entry, dict):
            raise _Wrong("is not a JSON object")
        for key in entry:
            if key not in _ENTRY:
                raise _Wrong(f"unknown key {key!r}{_near(key, _ENTRY)}")
        type_ = self._type(entry.get("type"))
        if not isinstance(kwargs := entry.get("kwargs") or {}, dict):
            raise _Wrong("kwargs is not a JSON object")
        kwargs = {name: self._resolved(value) for name, value in kwargs.items()}
        mostly, condition = kwargs.pop("mostly", None), kwargs.pop("row_condition", None)
        if kwargs.pop("condition_parser", "great_expectations") not in ("great_expectations", None):
            raise _Wrong("the only supported condition_parser is great_expectations")
        self._check_names(type_, kwargs, mostly, condition)
        kwargs = {name: self._exact(kwargs, value) for name, value in kwargs.items() if value is not None}
        _check_types(kwargs)
        self._check_columns(RULE_TYPES[type_], kwargs)
        self._check_values(type_, kwargs)
        if condition is not None:
            self._check_condition(condition)
        meta = entry.get("meta") or {}
        if not isinstance(meta, dict):
            raise _Wrong("meta is not a JSON object")
        per_key = meta.get("per_key", False)
        if not isinstance(per_key, bool) or (per_key and type_ != QUERY):
            raise _Wrong("meta.per_key is true or false, for a query")
        severity: Any = entry.get("severity") or "critical"
        if severity not in _SEVERITIES:
            raise _Wrong(f"severity {severity!r} is not one of {', '.join(_SEVERITIES)}")
        return Rule(
            type_,
            kwargs,
            severity,
            1.0 if mostly is None else float(mostly),
            condition,
            str(entry.get("description") or ""),
            str(meta.get("reason") or ""),
            per_key=per_key,
        )

    def bounds_a_text_id(self, entry: Any) -> bool:
        """Return whether an expectation is a bound of ids that the setting ``ids`` makes texts: it has no meaning."""
        kwargs = entry.get("kwargs") if isinstance(entry, dict) and entry.get("type") == BETWEEN else None
        texts = {column.name for column in self.of.columns if column.type == "text_id"}
        return isinstance(kwargs, dict) and kwargs.get("column") in texts

    def _type(self, name: Any) -> str:
        if not isinstance(name, str):
            raise _Wrong('"type" is missing')
        if name not in RULE_TYPES:
            if any(part in name for part in _ELSEWHERE):
                hint = f'for a mart, write it in SQL as "{QUERY}"'
                raise _Wrong("it needs all rows in one place and cannot be measured block by block", hint)
            raise _Wrong(f"unknown type{_near(name, TYPES)}", "`marts expectations list --types` lists all types")
        level = RULE_TYPES[name].level
        if level == "run" and not self._lookups:
            raise _Wrong("only the suite of a fact may contain it: dimensions are looked up for its lines")
        if isinstance(self.of, Mart) and name in (FITS, WELL_FORMED, OF_TYPE):
            raise _Wrong("it applies to drops, not to marts")
        if isinstance(self.of, Kind) and level == "mart":
            raise _Wrong("it needs SQL: only the suites of the marts may contain it")
        return name

    def _resolved(self, value: Any) -> Any:
        """Replace {"$PARAMETER": name} with its value, at any depth."""
        if isinstance(value, dict):
            if PARAMETER in value:
                name = str(value[PARAMETER])
                if name not in self.parameters:
                    raise _Wrong(f"unknown parameter {name!r}{_near(str(name), list(self.parameters))}")
                return self.parameters[name]
            return {key: self._resolved(inner) for key, inner in value.items()}
        return [self._resolved(inner) for inner in value] if isinstance(value, list) else value

    def _check_names(self, name: str, kwargs: Mapping[str, Any], mostly: Any, condition: Any) -> None:
        type_ = RULE_TYPES[name]
        allowed = (*type_.required, *type_.optional)
        for key in kwargs:
            if key not in allowed:
                raise _Wrong(f"unknown argument {key!r}{_near(key, allowed)}")
        for key in type_.required:
            if kwargs.get(key) is None:
                raise _Wrong(f"the argument {key!r} is missing")
        if mostly is not None and not type_.mostly:
            raise _Wrong('it has no "mostly": it does not apply to single rows')
        if mostly is not None and not (_is_number(mostly) and 0 <= mostly <= 1):
            raise _Wrong(f"mostly is {mostly!r}, not a number from 0 to 1")
        if condition is not None and not type_.condition:
            raise _Wrong("it does not accept a row_condition")

    def _check_columns(self, type_: RuleType, kwargs: Mapping[str, Any]) -> None:
        if len(kwargs.get("column_list", "two")) < 2:
            raise _Wrong("column_list has fewer than two columns")
        names = list(columns_of(type_, kwargs))
        for name in names:
            self._family(name)
        families = {self.families[name] for name in names}
        for name in names:
            if type_.families and self.families[name] not in type_.families:
                raise _Wrong(f"{name} is a {self.families[name]}; it needs a {' or '.join(type_.families)}")
        if type_.together and len(families) > 1:
            raise _Wrong(f"{' and '.join(names)} have different types and cannot be compared")

    def _exact(self, kwargs: Mapping[str, Any], value: Any) -> Any:
        """Return a bound of a column of times as a time; a day begins at midnight."""
        if isinstance(value, list):
            return [self._exact(kwargs, item) for item in value]
        is_time = self.types.get(str(kwargs.get("column"))) == "datetime"
        return str(datetime.fromisoformat(value)) if is_time and _is_time(value) else value

    def _family(self, name: Any) -> Family:
        if not isinstance(name, str) or name not in self.families:
            raise _Wrong(f"{self.of.name} has no column {name!r}{_near(str(name), list(self.families))}")
        return self.families[name]

    def _check_values(self, name: str, kwargs: Mapping[str, Any]) -> None:
        if "min_value" in RULE_TYPES[name].optional:
            self._check_bounds(name, kwargs)
        for pattern in (*[kwargs[key] for key in ("regex",) if key in kwargs], *kwargs.get("regex_list", ())):
            _check_regex(pattern)
        for value in _a_list(kwargs, "value_set"):
            self._check_value(str(kwargs["column"]), value)
        self._check_choices(kwargs)
        if "type_" in kwargs and kwargs["type_"] not in TYPE_NAMES[self.types[kwargs["column"]]]:
            column = kwargs["column"]
            raise _Wrong(f"{column} is of type {self.types[column]} and can never be {kwargs['type_']!r}")
        for key in ("tolerance", "sum_total", "value"):
            if key in kwargs and not _is_number(kwargs[key]):
                raise _Wrong(f"{key} is {kwargs[key]!r}, not a number")

    def _check_choices(self, kwargs: Mapping[str, Any]) -> None:
        if "dimension" in kwargs and self._lookups.get(kwargs["column"]) != kwargs["dimension"]:
            pairs = ", ".join(f"{column} in {dimension}" for column, dimension in self._lookups.items())
            raise _Wrong(f"{kwargs['column']} is not looked up in {kwargs['dimension']}; possible are {pairs}")
        if "{batch}" not in kwargs.get("unexpected_rows_query", "{batch}"):
            raise _Wrong("the query does not contain {batch}, the placeholder for the rows")
        allowed: dict[str, tuple[Any, ...]] = {
            "match_on": ("any", "all"),
            "ignore_row_if": _IGNORE_PAIR if "column_A" in kwargs else _IGNORE_MANY,
        }
        for key, values in allowed.items():
            if key in kwargs and kwargs[key] not in values:
                raise _Wrong(f"{key} is {kwargs[key]!r}, not one of {', '.join(map(str, values))}")

    def _check_bounds(self, name: str, kwargs: Mapping[str, Any]) -> None:
        low, high = kwargs.get("min_value"), kwargs.get("max_value")
        if low is None and high is None:
            raise _Wrong("min_value or max_value is needed")
        of_column = name == BETWEEN or "_min_to_" in name or "_max_to_" in name
        for bound in [bound for bound in (low, high) if bound is not None]:
            if of_column:
                self._check_value(str(kwargs["column"]), bound)
            elif not _is_number(bound):
                raise _Wrong(f"the bound {bound!r} is not a number")
        if low is not None and high is not None and low > high:
            raise _Wrong(f"min_value {low} is above max_value {high}")

    def _check_value(self, column: str, value: Any) -> None:
        family = self.families[column]
        if self.types[column] == "datetime":
            if not _is_time(value):
                raise _Wrong(f"{column} needs a time (YYYY-MM-DD, or YYYY-MM-DD HH:MM:SS), not {value!r}")
            return
        fits = {
            "number": _is_number(value),
            "date": isinstance(value, str) and _is_date(value),
            "text": isinstance(value, str),
            "flag": isinstance(value, bool),
        }[family]
        if not fits:
            raise _Wrong(f"{column} needs a {family if family != 'date' else 'date (YYYY-MM-DD)'}, not {value!r}")

    def _check_condition(self, condition: Any) -> None:
        kind = condition.get("type") if isinstance(condition, dict) else None
        if kind in ("and", "or") and isinstance(condition.get("conditions"), list) and condition["conditions"]:
            for inner in condition["conditions"]:
                self._check_condition(inner)
            return
        if kind not in ("comparison", "nullity"):
            hint = '{"type": "comparison", "column": {"name": …}, "operator": "==", "parameter": …}'
            raise _Wrong("row_condition is not a condition object of Great Expectations", f"write {hint}")
        column = condition.get("column")
        if not isinstance(column, dict) or set(column) != {"name"}:
            raise _Wrong('the column of a condition must be written as {"name": …}')
        self._family(column["name"])
        if kind == "comparison":
            name, operator, value = column["name"], condition.get("operator"), condition.get("parameter")
            if operator not in _OPERATORS:
                raise _Wrong(f"the operator {operator!r} is not one of {', '.join(_OPERATORS)}")
            if (operator in ("IN", "NOT_IN")) != isinstance(value, list):
                raise _Wrong(
                    f"{operator} needs {'a list' if operator in ('IN', 'NOT_IN') else 'one value'} as parameter"
                )
            for single in value if isinstance(value, list) else [value]:
                self._check_value(str(name), single)
        elif not isinstance(condition.get("is_null"), bool):
            raise _Wrong("a nullity condition needs is_null: true or false")


_FAMILY: dict[SourceType | MartType, Family] = {
    "id": "number",
    "text_id": "text",
    "integer": "number",
    "quantity": "number",
    "price": "number",
    "money": "number",
    "amount": "number",
    **dict.fromkeys(("percent", "decimal4", "decimal6"), "number"),
    "count": "number",
    "rate": "number",
    "version": "number",
    "date": "date",
    "time": "date",
    "text": "text",
    "month": "text",
    "yes_no": "text",
    "flag": "flag",
}


def type_name(type_: SourceType | MartType) -> str:
    """Return the name of the Python type of a column's values."""
    if type_ in DIGITS:
        return "Decimal"
    if type_ == "time":
        return "datetime"
    return {"number": "int", "date": "date", "text": "str", "flag": "bool"}[_FAMILY[type_]]


def _near(name: str, known: Sequence[str]) -> str:
    result = difflib.get_close_matches(name, known, 1, 0.6)
    return f", did you mean {result[0]!r}?" if result else ""


def _a_list(kwargs: Mapping[str, Any], key: str) -> list[Any]:
    values = kwargs.get(key, [])
    if not isinstance(values, list) or (key in kwargs and not values):
        raise _Wrong(f"{key} is not a list of values")
    return values


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    try:
        return Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False


def _is_date(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", text)) and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is None
    except ValueError:
        return False


_TEXTS = ("column", "column_A", "column_B", "dimension", "regex", "strftime_format", "unexpected_rows_query", "type_")
_LISTS = ("column_list", "column_set", "regex_list")
_FLAGS = ("strict_min", "strict_max", "or_equal", "exact_match")


def _check_types(kwargs: Mapping[str, Any]) -> None:
    """Check the JSON type of each argument."""
    for key, value in kwargs.items():
        if key in _TEXTS and not (isinstance(value, str) and value):
            raise _Wrong(f"{key} is {value!r}, not a string")
        if key in _LISTS and not (isinstance(value, list) and value and all(isinstance(v, str) for v in value)):
            raise _Wrong(f"{key} is {value!r}, not a list of strings")
        if key in _FLAGS and not isinstance(value, bool):
            raise _Wrong(f"{key} is {value!r}, not true or false")


def _check_regex(pattern: Any) -> None:
    if not isinstance(pattern, str):
        raise _Wrong(f"the pattern {pattern!r} is not a string")
    try:
        re.compile(pattern)
    except re.error as error:
        raise _Wrong(f"the pattern {pattern!r} is not a regular expression: {error}") from None
