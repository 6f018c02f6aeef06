"""What is merged from blocks equals what Great Expectations finds in the whole, field by field, for each type."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from numbers import Number
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from great_expectations.expectations.registry import get_expectation_impl

from jobs.adapters.great_expectations.checkpoint import About, new_context, official_result
from jobs.adapters.great_expectations.engine import FORMAT, Batch, expectation_of
from marts.quality.findings import Keys, Measured
from marts.quality.key_measures import settle, with_keys
from marts.quality.measures import measure, merge
from marts.quality.rule_types import TYPE_NAMES, TYPES, type_words
from marts.quality.rules import Rule
from marts.quality.verdicts import holds
from marts.rows.columns import Column, Frame

NUMBERS, MONEY, DATES, TEXTS = ("n", "k"), ("m", "p"), ("d", "e"), ("s", "t")
COLUMNS = (*NUMBERS, *MONEY, *DATES, *TEXTS)
WORDS = [
    "tea",
    "Tea",
    "té",
    "茶",
    "a b",
    "x" * 40,
    "<b>",
    "12",
    "2024-01-05",
    "Jan 5, 2024",
    "O'Neil",
    "-",
    "٣",
    "a\nb",
]
ELSEWHERE = ("fit_schema", "well_formed", "known_in", "product_of", "unexpected_rows", "of_type")
ABOUT = About("run", datetime(2024, 1, 1, tzinfo=UTC), "s", "")
Row = dict[str, Any]


def values(rng: random.Random, rows: int) -> list[Row]:
    """Make random rows: nulls, ties, Unicode, negative money, far dates."""
    empty, spread = rng.choice([0, 0.1, 0.5, 1.0]), rng.choice([2, 5, 40])

    def some(value: Any) -> Any:
        return None if rng.random() < empty else value

    return [
        {
            "n": some(rng.randint(-spread, spread)),
            "k": some(rng.randint(0, 3)),
            "m": some(Decimal(rng.randint(-500, 500) * spread).scaleb(-2)),
            "p": some(Decimal(rng.randint(0, 300)).scaleb(-2)),
            "d": some(date(2024, 1, 1) + timedelta(days=rng.randint(-spread, spread))),
            "e": some(date(2024, 1, 1) + timedelta(days=rng.randint(-3, 3))),
            "s": some(rng.choice(WORDS)),
            "t": some(rng.choice(WORDS[:5])),
        }
        for _ in range(rows)
    ]


def rules_of(rng: random.Random) -> list[Rule]:
    """Make a rule of each type, some with a row condition; bounds hit the values."""
    mostly = rng.choice([1.0, 0.9, 0.5, 0.0])
    strict = rng.random() < 0.5
    low, high = sorted([rng.randint(-20, 20), rng.randint(-20, 20)])
    days = sorted(str(date(2024, 1, 1) + timedelta(days=rng.randint(-20, 20))) for _ in range(2))

    def bounds(a: Any, b: Any) -> dict[str, Any]:
        ends = rng.choice([("min",), ("max",), ("min", "max")])
        limits = {f"{end}_value": value for end, value in (("min", a), ("max", b)) if end in ends}
        return limits | ({f"strict_{end}": True for end in ends} if strict else {})

    either = {"ignore_row_if": "either_value_is_missing"}
    many = {"ignore_row_if": rng.choice(["any_value_is_missing", "all_values_are_missing", "never"])}
    some_missing = {"ignore_row_if": "any_value_is_missing"}
    any_or_all, coin = rng.choice(["any", "all"]), rng.random() < 0.5
    pair = {"ignore_row_if": rng.choice(["both_values_are_missing", "neither"])}
    regex = rng.choice(
        [r"^[a-z]+$", r"^\w+$", r"\d", r"^.{3}$", "e", r"(?i)^tea$", r"a\sb", "[^a-z]", r"^\d{4}-\d{2}-\d{2}$"]
    )
    keys = [["n", "k"], ["s", "t"], ["d", "m"]]
    some, order = rng.choice([["n", "k"], list(COLUMNS)]), rng.choice([list(COLUMNS), list(COLUMNS[::-1])])
    two = {"column": "s", "regex_list": [regex, "^t"], "match_on": any_or_all}
    rules = [
        Rule("expect_column_values_to_not_be_null", {"column": rng.choice(COLUMNS)}),
        Rule("expect_column_values_to_be_null", {"column": rng.choice(COLUMNS)}),
        Rule("expect_column_values_to_be_in_set", {"column": "n", "value_set": [0, 1, 2, -1]}),
        Rule("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["tea", "茶"]}),
        Rule("expect_column_values_to_not_be_in_set", {"column": "k", "value_set": [0]}),
        Rule("expect_column_values_to_be_between", {"column": "n", **bounds(low, high)}),
        Rule("expect_column_values_to_be_between", {"column": "m", **bounds(low / 4, high / 4)}),
        Rule("expect_column_values_to_be_between", {"column": "d", **bounds(*days)}),
        Rule("expect_column_values_to_match_regex", {"column": "s", "regex": regex}),
        Rule("expect_column_values_to_not_match_regex", {"column": "t", "regex": regex}),
        Rule("expect_column_values_to_match_regex_list", two),
        Rule("expect_column_values_to_not_match_regex_list", {"column": "s", "regex_list": [regex, "^x"]}),
        Rule("expect_column_value_lengths_to_be_between", {"column": "s", **bounds(2, 5)}),
        Rule("expect_column_value_lengths_to_equal", {"column": "t", "value": 3}),
        Rule("expect_column_values_to_be_dateutil_parseable", {"column": "s"}),
        Rule("expect_column_values_to_match_strftime_format", {"column": "s", "strftime_format": "%Y-%m-%d"}),
        Rule("expect_column_pair_values_to_be_equal", {"column_A": "s", "column_B": "t", **either}),
        Rule("expect_column_pair_values_to_be_equal", {"column_A": "n", "column_B": "k", **pair}),
        Rule(
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "m", "column_B": "p", "or_equal": coin, **either},
        ),
        Rule(
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "d", "column_B": "e", "or_equal": coin, **either},
        ),
        Rule("expect_select_column_values_to_be_unique_within_record", {"column_list": ["n", "k"], **many}),
        Rule("expect_select_column_values_to_be_unique_within_record", {"column_list": ["s", "t"], **many}),
        Rule("expect_multicolumn_sum_to_equal", {"column_list": ["n", "k"], "sum_total": rng.randint(-3, 5), **many}),
        Rule(
            "expect_multicolumn_sum_to_equal",
            {"column_list": ["m", "p"], "sum_total": rng.choice([0, 1.5]), **some_missing},
        ),
        Rule("expect_column_values_to_be_unique", {"column": rng.choice(["n", "m", "d", "s"])}),
        Rule("expect_compound_columns_to_be_unique", {"column_list": rng.choice(keys), **many}),
        Rule("expect_table_row_count_to_be_between", {"min_value": 1, "max_value": 60}),
        Rule("expect_table_row_count_to_equal", {"value": rng.randint(0, 3)}),
        Rule("expect_table_columns_to_match_set", {"column_set": some, "exact_match": coin}),
        Rule("expect_table_columns_to_match_ordered_list", {"column_list": order}),
        Rule("expect_table_column_count_to_be_between", {"min_value": 3, "max_value": rng.randint(6, 9)}),
        Rule("expect_table_column_count_to_equal", {"value": rng.choice([8, 9])}),
        Rule("expect_column_to_exist", {"column": "n"}),
        Rule("expect_column_min_to_be_between", {"column": rng.choice(["n", "m"]), **bounds(low, high)}),
        Rule("expect_column_max_to_be_between", {"column": "d", **bounds(*days)}),
        Rule("expect_column_sum_to_be_between", {"column": rng.choice(["n", "m"]), **bounds(low, high)}),
        Rule("expect_column_mean_to_be_between", {"column": rng.choice(["n"]), **bounds(low, high)}),
        Rule("expect_column_unique_value_count_to_be_between", {"column": rng.choice(["k", "s", "d"]), **bounds(1, 4)}),
        Rule("expect_column_proportion_of_unique_values_to_be_between", {"column": "s", **bounds(0.1, 0.9)}),
        Rule("expect_column_proportion_of_non_null_values_to_be_between", {"column": "m", **bounds(0.3, 0.9)}),
    ]
    several = rng.choice(["==", "IN", "!=", "NOT_IN"])
    conditions = [
        None,
        compared("k", rng.choice([">", ">=", "<", "<=", "==", "!="]), 1),
        compared("t", several, "tea" if several in ("==", "!=") else ["tea", "té"]),
        {"type": "nullity", "column": {"name": "s"}, "is_null": False},
        {
            "type": "or",
            "conditions": [compared("k", "==", 2), {"type": "nullity", "column": {"name": "n"}, "is_null": True}],
        },
    ]
    return [
        Rule(
            rule.type,
            rule.kwargs,
            mostly=mostly if _is_of_rows(rule) else 1.0,
            condition=rng.choice(conditions) if _takes_condition(rule) else None,
        )
        for rule in rules
    ]


def compared(column: str, operator: str, parameter: Any) -> dict[str, Any]:
    return {"type": "comparison", "column": {"name": column}, "operator": operator, "parameter": parameter}


def _is_of_rows(rule: Rule) -> bool:
    return rule.level == "row" or rule.type.endswith("_to_be_unique")


def _takes_condition(rule: Rule) -> bool:
    return "table_column" not in rule.type and rule.type != "expect_column_to_exist"


def frame_of(rows: list[Row]) -> Frame:
    """View rows as rules see them."""

    def array(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([row[name] for row in rows], kind)

    def cents(name: str) -> pa.Array:
        return pa.array([None if row[name] is None else int(row[name].scaleb(2)) for row in rows], pa.int64())

    columns = {name: Column(array(name, pa.int64())) for name in NUMBERS}
    columns |= {name: Column(cents(name), 2) for name in MONEY}
    columns |= {name: Column(array(name, pa.date32())) for name in DATES}
    columns |= {name: Column(array(name, pa.string()), text=array(name, pa.string())) for name in TEXTS}
    return Frame(len(rows), columns, COLUMNS)


def measured_in_blocks(rng: random.Random, rules: list[Rule], rows: list[Row]) -> Measured:
    """Measure rows in blocks with random borders, some of them empty, and put the parts together."""
    borders = [0, *sorted(rng.randint(0, len(rows)) for _ in range(rng.randint(0, 4))), len(rows)]
    parts, keys = [Measured(columns=COLUMNS)], {}
    for start, stop in pairwise(borders):
        result = measure(rules, frame_of(rows[start:stop]))
        parts.append(result.measured)
        for key in result.keys:
            keys.setdefault(key.rule.id, []).append(Keys(key.rule, key.rows + start, key.hashes, key.values))
    formats = {name: (2 if name in MONEY else 0, False) for name in COLUMNS}
    return with_keys(merge(parts), {rule: settle(pieces, formats) for rule, pieces in keys.items()})


def pandas_of(rows: list[Row]) -> pd.DataFrame:
    """Return Great Expectations the same rows as it knows them: whole numbers with nulls are floats in pandas."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
    for name in NUMBERS:
        frame[name] = (
            frame[name].astype("float64") if frame[name].isna().any() or not rows else frame[name].astype("int64")
        )
    return frame


def by_great_expectations(rules: list[Rule], rows: list[Row]) -> list[Any]:
    asset = new_context().data_sources.add_pandas("whole").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": pandas_of(rows)})
    expectations = [expectation_of(rule) for rule in rules]
    for number, expectation in enumerate(expectations):
        expectation.description = str(number)
    results = batch.validate(gx.ExpectationSuite(name="s", expectations=expectations), result_format=FORMAT).results
    return sorted(results, key=lambda result: int(result.expectation_config.description))


def plain(value: Any) -> Any:
    """Write values alike: numbers by their value, dates and money as text."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Decimal | date):
        return str(value)
    if value is None or (isinstance(value, float) and value != value) or value is pd.NA:
        return None
    if isinstance(value, Number) and not isinstance(value, bool | np.bool_):
        return round(float(value), 9)  # type: ignore[arg-type]
    return value if isinstance(value, str | bool) else str(value)


def numeric(value: Any) -> Any:
    """Compare sums and extremes of money by value."""
    if isinstance(value, str):
        try:
            return round(float(value), 6)
        except ValueError:
            return value
    return value


@pytest.mark.parametrize("seed", range(12))
def test_merged_results_equal_those_of_great_expectations_on_the_whole(seed: int) -> None:
    rng = random.Random(seed)
    rows = values(rng, rng.choice([0, 1, 2, 7, 30, 80]))
    rules = list({rule.id: rule for rule in rules_of(rng)}.values())
    reference = by_great_expectations(rules, rows)
    measured = measured_in_blocks(rng, rules, rows)
    types = (
        dict.fromkeys(NUMBERS, "int")
        | dict.fromkeys(MONEY, "Decimal")
        | dict.fromkeys(DATES, "date")
        | dict.fromkeys(TEXTS, "str")
    )
    batch = Batch(measured, types)
    results = official_result("s", rules, batch, ABOUT).results
    for rule, result, other in zip(rules, results, reference, strict=True):
        if raised(other):
            continue  # pandas cannot compare nothing with a value: Great Expectations itself has no answer
        assert result.success == other.success, (rule, result.result, other.result)
        assert result.success == holds(rule, measured), (rule, result.result)
        left, right = plain(result.result), plain(other.result)
        for known in ("partial_unexpected_counts",):
            left.pop(known, None)
            right.pop(known, None)
        if "observed_value" in left and not isinstance(left["observed_value"], list):
            left["observed_value"], right["observed_value"] = map(
                numeric, (left["observed_value"], right["observed_value"])
            )
        assert left == right, (rule, rows)


def raised(result: Any) -> bool:
    info = result.exception_info
    return (
        bool(info.get("raised_exception"))
        if "raised_exception" in info
        else any(i.get("raised_exception") for i in info.values())
    )


def test_each_type_of_rule_takes_part() -> None:
    used = {rule.type for rule in rules_of(random.Random(1))}
    assert {name for name in TYPES if not any(part in name for part in ELSEWHERE)} == used


@pytest.mark.parametrize(("type_", "names"), TYPE_NAMES.items())
def test_names_of_types_are_those_that_great_expectations_knows(type_: str, names: tuple[str, ...]) -> None:
    rules = [Rule("expect_column_values_to_be_of_type", {"column": "c", "type_": name}) for name in names]
    batch = Batch(Measured(1, columns=("c",)), {"c": type_})
    results = official_result("s", rules, batch, ABOUT).results
    assert [result.success for result in results] == [True] * len(names)


@pytest.mark.parametrize("name", TYPES)
def test_arguments_are_those_that_great_expectations_takes(name: str) -> None:
    fields = set(get_expectation_impl(name).__fields__)
    _, _, required, optional = next(entry for entry in type_words() if entry[0] == name)
    assert {*required, *optional} <= fields
