"""Suites are read strictly: what cannot run is named at once, and the contract cannot be taken away."""

import json
from decimal import Decimal
from typing import Any

import pytest
from support.retail import CUSTOMERS_MART, KINDS, RETAIL, SALES

from jobs.config.suites import check_suites, load_suites, read_file
from marts.errors import UsageError
from marts.pack import Kind, Mart
from marts.policy import Policy
from marts.quality.contract import contract
from marts.quality.rule_types import KNOWN, TYPES
from marts.quality.suite_reader import policy_parameters, read_suite

PARAMETERS = policy_parameters(RETAIL, Policy())
BILLION = Decimal("1000000000.0")
NOTHING: dict[str, Any] = {"expectations": []}


def suite(*entries: Any, of: Kind | Mart = SALES, policy: Policy | None = None) -> Any:
    policy = policy or Policy()
    return read_suite({"expectations": list(entries)}, of, "sales.json", policy_parameters(RETAIL, policy), policy)


def entry(named: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": named, "kwargs": kwargs}


def condition(written: Any) -> dict[str, Any]:
    return entry("expect_column_values_to_not_be_null", column="price", row_condition=written)


def wrong(read: dict[str, Any], of: Kind | Mart = SALES) -> str:
    with pytest.raises(UsageError) as raised:
        suite(read, of=of)
    assert raised.value.where == "sales.json"
    return raised.value.what


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (entry("expect_column_values_to_be_betwen"), "did you mean 'expect_column_values_to_be_between'?"),
        (entry("expect_column_values_to_be_between", column="prize", min_value=1), "did you mean 'price'?"),
        (entry("expect_column_values_to_be_between", column="price"), "min_value or max_value is needed"),
        (entry("expect_column_values_to_be_between", column="price", min_value="a"), "price needs a number, not 'a'"),
        (entry("expect_column_values_to_be_between", column="sales_date", min_value="1.1.2020"), "needs a date"),
        (entry("expect_column_values_to_be_between", column="sales_date", min_value=20200101), "needs a date"),
        (entry("expect_column_values_to_be_between", column="price", min_value=5, max_value=1), "above max_value"),
        (entry("expect_column_values_to_be_between", column="price", min=5), "unknown argument 'min'"),
        (entry("expect_column_values_to_match_regex", column="product_name"), "'regex' is missing"),
        (entry("expect_column_values_to_match_regex", column="product_name", regex="("), "not a regular expression"),
        (entry("expect_column_values_to_be_in_set", column="price", value_set=[]), "not a list of values"),
        (
            entry("expect_column_values_to_be_between", column="product_name", min_value="a"),
            "it needs a number or date",
        ),
        (entry("expect_column_values_to_not_be_null", column=[]), "column is [], not a string"),
        (
            entry("expect_column_values_to_match_regex_list", column="product_name", regex_list=5),
            "not a list of strings",
        ),
        (
            entry("expect_column_values_to_match_regex_list", column="product_name", regex_list=[]),
            "not a list of strings",
        ),
        (entry("expect_column_values_to_match_regex_list", column="product_name", regex_list="a"), "not a list of"),
        (
            entry("expect_column_values_to_match_strftime_format", column="product_name", strftime_format=5),
            "not a string",
        ),
        (entry("expect_table_columns_to_match_set", column_set=[["a"]]), "not a list of strings"),
        (entry("expect_table_columns_to_match_set", column_set=["a"], exact_match=0), "not true or false"),
        (entry("expect_column_to_exist", column="price", column_index=0), "unknown argument 'column_index'"),
        (entry("expect_column_values_to_be_between", column="price", min_value=1, strict_min=1.5), "not true or false"),
        (
            entry("expect_column_values_to_not_be_null", column="price", mostly={"$PARAMETER": ["a"]}),
            "unknown parameter",
        ),
        (entry(KNOWN, column="store_id", dimension="nonsense"), "store_id is not looked up in nonsense"),
        ({**entry("expect_column_values_to_be_null", column="price"), "meta": [1]}, "meta is not a JSON object"),
        (
            {**entry("expect_column_values_to_be_null", column="price"), "meta": {"per_key": True}},
            "meta.per_key is true or false, for a query",
        ),
        (condition({"type": "comparison", "column": "price", "operator": "==", "parameter": 1}), 'written as {"name"'),
        (condition({"type": "comparison", "column": {"name": ["a"]}, "operator": "==", "parameter": 1}), "no column"),
        (
            condition({"type": "comparison", "column": {"name": "price"}, "operator": "<", "parameter": [1]}),
            "one value",
        ),
        (condition({"type": "nullity", "column": {"name": "price", "x": 1}, "is_null": True}), 'written as {"name"'),
        (entry("expect_column_values_to_be_in_set", column="price", value_set=["x"]), "needs a number"),
        (entry("expect_column_values_to_not_be_null", column="price", mostly=2), "not a number from 0 to 1"),
        (entry("expect_column_max_to_be_between", column="price", max_value=5, mostly=0.5), 'has no "mostly"'),
        (entry("expect_column_sum_to_be_between", column="product_name", max_value=5), "it needs a number"),
        (entry("expect_column_median_to_be_between", column="price", max_value=5), "needs all rows in one place"),
        (entry("expect_column_values_to_be_increasing", column="price"), "needs all rows in one place"),
        (entry("unexpected_rows_expectation", unexpected_rows_query="SELECT 1 FROM {batch}"), "it needs SQL"),
        (entry("expect_column_pair_values_to_be_equal", column_A="price", column_B="sales_date"), "cannot be compared"),
        (entry("expect_compound_columns_to_be_unique", column_list=["price"]), "fewer than two columns"),
        (entry("expect_column_values_to_be_of_type", column="price", type_="int"), "can never be 'int'"),
        (entry("expect_column_values_to_not_be_null", column={"$PARAMETER": "nothing"}), "unknown parameter 'nothing'"),
        ({"type": "expect_column_values_to_not_be_null", "kwarg": {}}, "did you mean 'kwargs'?"),
        ({**entry("expect_column_values_to_not_be_null", column="price"), "severity": "bad"}, "severity 'bad'"),
        ({"kwargs": {}}, '"type" is missing'),
        ("a rule", "is not a JSON object"),
        (
            entry("expect_column_values_to_not_be_null", column="price", row_condition="price > 1"),
            "not a condition object",
        ),
        (
            entry(
                "expect_column_values_to_not_be_null",
                column="price",
                row_condition={"type": "comparison", "column": {"name": "x"}, "operator": "==", "parameter": 1},
            ),
            "no column 'x'",
        ),
    ],
)
def test_what_cannot_run_is_reported_at_once(read: Any, message: str) -> None:
    assert message in wrong(read)


def test_a_rule_of_a_mart_must_name_the_rows_it_is_about() -> None:
    read = entry("unexpected_rows_expectation", unexpected_rows_query="SELECT 1 FROM customers_data_mart")
    assert "{batch}" in wrong(read, CUSTOMERS_MART)
    read = entry("unexpected_rows_expectation", unexpected_rows_query="SELECT 1 FROM {batch}")
    assert "meta.per_key is true or false" in wrong({**read, "meta": {"per_key": "yes"}}, CUSTOMERS_MART)
    assert "suite of a fact" in wrong(entry(KNOWN, column="customer_id", dimension="customers"), CUSTOMERS_MART)


def test_the_same_rule_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="duplicate expectation"):
        suite(*[entry("expect_column_values_to_be_null", column="currency")] * 2)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_contract_holds_whatever_a_suite_says(kind: Kind) -> None:
    bare = read_suite(NOTHING, kind, "x.json", PARAMETERS, Policy())
    assert {rule.id for rule in bare.rules} == {rule.id for rule in contract(kind, Policy())}
    shipped = load_suites(RETAIL, None, Policy())[kind.name]
    assert {rule.id for rule in contract(kind, Policy())} <= {rule.id for rule in shipped.rules}


def test_a_rule_of_the_contract_cannot_be_weakened() -> None:
    weak = {**entry("expect_column_values_to_not_be_null", column="price"), "severity": "warning"}
    assert wrong(weak) == '"price is not empty" can only be critical'


def test_the_policy_takes_part_in_the_contract() -> None:
    def reasons(policy: Policy) -> list[str]:
        return [rule.broken for rule in suite(policy=policy).rules]

    assert "quantity is negative, and returns are not allowed" in reasons(Policy(allow_returns=False))
    assert "quantity is negative, and returns are not allowed" not in reasons(Policy())


def test_a_parameter_is_replaced_at_any_depth() -> None:
    read = entry(
        "expect_column_values_to_not_be_in_set",
        column="price",
        value_set=[{"$PARAMETER": "inactive_after_days"}],
        mostly={"$PARAMETER": "good_ratio"},
    )
    rule = next(rule for rule in suite(read).rules if rule.kwargs.get("value_set") == [180])
    assert (rule.mostly, rule.words) == (0.98, "price is not 180, in at least 98%")


@pytest.mark.parametrize(
    ("read", "words", "broken"),
    [
        (
            entry("expect_column_values_to_be_between", column="price", min_value=0, max_value=10000, strict_min=True),
            "price is more than 0 and at most 10,000",
            "price is not between 0 and 10,000",
        ),
        (
            entry("expect_column_values_to_be_between", column="price", min_value=0.01, max_value=BILLION),
            "price is at least 0.01 and at most 1,000,000,000",
            "price is not between 0.01 and 1,000,000,000",
        ),
        (
            entry("expect_column_values_to_be_between", column="sales_date", min_value="2000-01-01"),
            "sales_date is not before 2000-01-01",
            "sales_date is before 2000-01-01",
        ),
        (
            entry(
                "expect_column_values_to_not_be_null",
                column="line_no",
                row_condition={"type": "nullity", "column": {"name": "transaction_id"}, "is_null": False},
            ),
            "line_no is not empty, where transaction_id is not empty",
            "line_no is empty, where transaction_id is not empty",
        ),
        (
            {**entry("expect_column_values_to_be_null", column="currency"), "meta": {"reason": "no euros here"}},
            "currency is empty",
            "no euros here",
        ),
        (
            {**entry("expect_column_values_to_be_null", column="currency"), "description": "all is in euros"},
            "all is in euros",
            "currency is not empty",
        ),
    ],
)
def test_a_rule_is_described_in_words(read: dict[str, Any], words: str, broken: str) -> None:
    rule = suite(read).rules[len([r for r in suite().rules if "schema" in r.type or "well_formed" in r.type])]
    assert (rule.words, rule.broken) == (words, broken)


def test_every_type_of_rule_has_words() -> None:
    for checks in check_suites(RETAIL, None, Policy()).values():
        for rule in checks.rules:
            assert rule.words
            assert rule.broken
    assert len(TYPES) > 35


def test_what_decides_about_rows_names_the_rules_and_mostly_does_not() -> None:
    def digest(severity: str, mostly: float) -> str:
        read = entry("expect_column_values_to_be_null", column="currency", mostly=mostly)
        return str(suite({**read, "severity": severity}).digest)

    assert digest("critical", 1) == digest("critical", 0.5)
    assert digest("critical", 1) != digest("warning", 1)


def test_the_user_s_file_wins_and_the_others_are_the_shipped(tmp_path: Any) -> None:
    (tmp_path / "sales.json").write_text(json.dumps(NOTHING))
    suites = load_suites(RETAIL, str(tmp_path), Policy())
    assert len(suites["sales"].rules) < len(load_suites(RETAIL, None, Policy())["sales"].rules)
    assert suites["customers"] == load_suites(RETAIL, None, Policy())["customers"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sale.json", "{}", "does not have the name of a suite"),
        ("sales.json", "{", "is not JSON"),
        ("sales.json", "[]", "is not a suite"),
        ("sales.json", "[" * 100_000, "is not JSON"),
        ("sales.json", '{"expectations": [{"type": 1' + "0" * 5000 + "}]}", "is not JSON"),
        ("sales.json", '{"expectations": {}}', "is not a suite"),
    ],
)
def test_a_file_that_means_nothing_is_refused(tmp_path: Any, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        check_suites(RETAIL, str(tmp_path), Policy())


def test_a_folder_that_is_not_there_is_refused(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        read_file("sales", RETAIL, str(tmp_path / "nowhere"))
