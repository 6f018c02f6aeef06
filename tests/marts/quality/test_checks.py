"""Rows are typed and judged one by one: a verdict never depends on the rows around."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.retail import CUSTOMERS, KINDS, PRODUCTS, RETAIL, SALES, SALES_TEAM

from jobs.config.suites import load_suites
from marts.pack import Kind
from marts.policy import Policy
from marts.quality.check import check_rows
from marts.rows.cast import clean_schema
from marts.rows.header import Header

GOOD = {
    "customer_id": "1",
    "store_id": "2",
    "product_name": "tea",
    "sales_date": "2024-03-31",
    "sales_person_id": "3",
    "price": "10.50",
    "quantity": "2",
    "total_cost": "21.00",
}


def judge(
    *rows: dict[str, Any], kind: Kind = SALES, policy: Policy | None = None
) -> tuple[list[Any], dict[int, list[str]]]:
    """Return the clean rows, and the broken rules of the others by number."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    known = tuple(column.name for column in kind.columns if column.name in names)
    header = Header(tuple(names), known, tuple(sorted(set(names) - set(known))))
    text = pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})
    suites = load_suites(RETAIL, None, policy or Policy())
    checked = check_rows(kind, header, text, policy or Policy(), suites[kind.name])
    return checked.clean.to_pylist(), {row: [rule for rule, _ in reasons] for row, reasons in checked.reasons.items()}


def verdict(**values: Any) -> list[str]:
    """Return the rules that one changed row breaks, among good ones."""
    _, reasons = judge(GOOD, {**GOOD, **values}, GOOD)
    assert set(reasons) <= {1}
    return reasons.get(1, [])


WHOLE = "is not a whole number"
PRICE = "is not a decimal number with at most 6 digits after the point"
QUANTITY = "is not a decimal number with at most 4 digits after the point"
DECIMAL = "is not a decimal number with at most 2 digits after the point"


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        ({"customer_id": "C1"}, [f"customer_id {WHOLE}"]),
        ({"customer_id": "1.5"}, [f"customer_id {WHOLE}"]),
        ({"customer_id": "0x1f"}, [f"customer_id {WHOLE}"]),
        ({"customer_id": "1e3"}, [f"customer_id {WHOLE}"]),
        ({"customer_id": "１２"}, [f"customer_id {WHOLE}"]),
        ({"customer_id": "9" * 19}, [f"customer_id {WHOLE}"]),
        ({"customer_id": "1000000000000000000"}, [f"customer_id {WHOLE}"]),
        ({"customer_id": "-5"}, ["customer_id is less than 1"]),
        ({"store_id": "-5"}, ["store_id is less than 1"]),
        ({"product_name": None}, ["product_name is empty"]),
        ({"product_name": " \t"}, ["product_name is empty"]),
        ({"product_name": "x" * 1001}, ["product_name has more than 1,000 characters"]),
        ({"sales_date": "2024-02-30"}, ["sales_date is not an ISO date"]),
        ({"sales_date": "31.03.2024"}, ["sales_date is not an ISO date"]),
        ({"sales_date": "20240230"}, ["sales_date is not an ISO date"]),
        ({"sales_date": "2024-3-31"}, ["sales_date is not an ISO date"]),
        ({"sales_date": "0000-01-01"}, ["sales_date is not an ISO date"]),
        ({"sales_date": "2024-03-31T25:00"}, ["sales_date is not an ISO date"]),
        ({"sales_date": "2024-03-31 10:00 noon"}, ["sales_date is not an ISO date"]),
        ({"price": "10,50"}, [f"price {PRICE}"]),
        ({"price": "NaN"}, [f"price {PRICE}"]),
        ({"price": "1e1"}, [f"price {PRICE}"]),
        ({"price": "10.5000001"}, [f"price {PRICE}"]),
        ({"price": "99999999999999999"}, [f"price {PRICE}"]),
        ({"price": "0." + "0" * 60}, [f"price {PRICE}"]),
        ({"total_cost": "21.001"}, [f"total_cost {DECIMAL}"]),
        ({"price": "10.505", "total_cost": "21.00"}, ["total_cost is not price * quantity"]),
        ({"quantity": "0", "total_cost": "0"}, ["quantity is 0"]),
        ({"quantity": "2.00001"}, [f"quantity {QUANTITY}"]),
        ({"quantity": "9" * 15}, [f"quantity {QUANTITY}"]),
        ({"total_cost": "21.01"}, ["total_cost is not price * quantity"]),
        ({"total_cost": "-21.00"}, ["total_cost is not price * quantity"]),
        ({"price": "999999999999.99", "quantity": "99999999999999"}, ["total_cost is not price * quantity"]),
        (
            {"customer_id": "x", "quantity": "y", "price": "z"},
            [f"customer_id {WHOLE}", f"price {PRICE}", f"quantity {QUANTITY}"],
        ),
        ({"transaction_id": "T" * 256}, ["transaction_id has more than 255 characters"]),
        ({"line_no": "first"}, [f"line_no {WHOLE}"]),
    ],
)
def test_each_wrong_value_is_named(values: dict[str, Any], rules: list[str]) -> None:
    assert verdict(**values) == rules


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"customer_id": "007"}, {"customer_id": 7}),
        ({"customer_id": "17850.0"}, {"customer_id": 17850}),
        ({"customer_id": " 7 "}, {"customer_id": 7}),
        ({"customer_id": None}, {"customer_id": 0}),
        ({"customer_id": " "}, {"customer_id": 0}),
        ({"customer_id": "-1"}, {"customer_id": 0}),
        ({"price": "+10.5"}, {"price_millionths": 10_500_000}),
        ({"price": "10.5000000000"}, {"price_millionths": 10_500_000}),
        ({"price": "0.00", "total_cost": "0"}, {"price_millionths": 0}),
        ({"price": ".50", "total_cost": "1."}, {"price_millionths": 500_000, "total_cents": 100}),
        ({"price": "1.459", "quantity": "10.5", "total_cost": "15.32"}, {"price_millionths": 1_459_000}),
        ({"price": "0.0025", "total_cost": "0.01"}, {"total_cents": 1}),  # 0.005, away from zero
        ({"price": "0.0025", "quantity": "-2", "total_cost": "-0.01"}, {"total_cents": -1}),
        ({"price": "0.0024", "total_cost": "0.00"}, {"total_cents": 0}),
        ({"price": "-10.50", "total_cost": "-21.00"}, {"price_millionths": -10_500_000}),
        ({"quantity": "-2", "total_cost": "-21"}, {"quantity_ten_thousandths": -20_000, "total_cents": -2100}),
        ({"quantity": "0.3750", "total_cost": "3.94"}, {"quantity_ten_thousandths": 3750, "total_cents": 394}),
        (
            {"price": "999999999999.99", "quantity": "10000", "total_cost": "9999999999999900.00"},
            {"total_cents": 999_999_999_999_990_000},
        ),
        ({"product_name": "=1+1 <b>\u202e"}, {"product_name": "=1+1 <b>\u202e"}),
        ({"product_name": "\u00a0tea \t"}, {"product_name": "tea"}),
        ({"transaction_id": None, "line_no": "3"}, {"transaction_id": None, "line_no": 3}),
    ],
)
def test_right_values_are_read_exactly(values: dict[str, Any], expected: dict[str, Any]) -> None:
    (_, row), reasons = judge(GOOD, {**GOOD, **values})
    assert reasons == {}
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("zone", "written", "day"),
    [
        ("UTC", "2024-03-31", "2024-03-31"),
        ("Asia/Tokyo", "2024-03-31", "2024-03-31"),
        ("Asia/Tokyo", "2024-03-31T23:00:00", "2024-03-31"),
        ("UTC", "2024-03-31 23:59:59.123456", "2024-03-31"),
        ("Asia/Tokyo", "2024-03-31T23:00:00Z", "2024-04-01"),
        ("Asia/Tokyo", "2024-03-31T23:00:00.5+09:00", "2024-03-31"),
        ("America/New_York", "2024-04-01T03:59+0000", "2024-03-31"),
        ("America/New_York", "2024-04-01 04:00:00Z", "2024-04-01"),
    ],
)
def test_only_a_timestamp_with_an_offset_is_shifted(zone: str, written: str, day: str) -> None:
    policy = Policy(business_timezone=zone)
    (row,), reasons = judge({**GOOD, "sales_date": written}, policy=policy)
    assert reasons == {}
    assert row["sales_date"].isoformat() == day


def test_returns_can_be_refused() -> None:
    _, reasons = judge({**GOOD, "quantity": "-2", "total_cost": "-21.00"}, policy=Policy(allow_returns=False))
    assert reasons == {0: ["quantity is negative, and returns are not allowed"]}


def test_a_tolerance_of_the_total_is_the_policy_s() -> None:
    policy = Policy.model_validate({"total_cost_tolerance": "0.02"})
    rows = [{**GOOD, "total_cost": total} for total in ("20.97", "20.98", "21.02", "21.03")]
    assert sorted(judge(*rows, policy=policy)[1]) == [0, 3]


def test_extra_columns_are_kept_as_json_by_name() -> None:
    rows = [
        {**GOOD, "zone": 'a"b\\c\n', "colour": "red"},
        {**GOOD, "zone": None, "colour": None},
        {**GOOD, "zone": "é, ", "colour": None},
    ]
    clean, _ = judge(*rows)
    kept = [row["additional_columns"] for row in clean]
    assert [value and json.loads(value) for value in kept] == [
        {"colour": "red", "zone": 'a"b\\c\n'},
        None,
        {"zone": "é, "},
    ]


VALUES = st.one_of(
    st.text("0123456789+-. ,exT:Z/", max_size=12),
    st.text("0123456789", min_size=1, max_size=30),
    st.from_regex(r"[+-]?[0-9]{0,20}\.?[0-9]{0,6}", fullmatch=True),
    st.from_regex(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?", fullmatch=True
    ),
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(-(10**17), 10**17, places=2, allow_nan=False).map(str),
    st.none(),
)


@settings(max_examples=250, deadline=None)
@given(
    value=VALUES, column=st.sampled_from(["customer_id", "price", "quantity", "total_cost", "sales_date", "line_no"])
)
def test_the_verdict_on_a_row_is_the_same_alone_and_beside_a_broken_one(value: str | None, column: str) -> None:
    row = {**GOOD, "line_no": "1", column: value}
    alone_clean, alone = judge(row)
    beside_clean, beside = judge(row, {**GOOD, "line_no": "1", column: "broken"})
    assert alone.get(0, []) == beside.get(0, [])
    assert alone_clean == [clean for clean in beside_clean if 0 not in beside]


@settings(max_examples=250, deadline=None)
@given(
    value=VALUES, column=st.sampled_from(["customer_id", "price", "quantity", "total_cost", "sales_date", "line_no"])
)
def test_the_verdict_on_a_row_is_the_same_alone_and_among_many_plain_ones(value: str | None, column: str) -> None:
    """A few odd values of a column are looked at apart from the rest."""
    plain = {**GOOD, "line_no": "1"}
    alone_clean, alone = judge({**plain, column: value})
    among_clean, among = judge(*[plain] * 5, {**plain, column: value}, *[plain] * 7)
    assert set(among) <= {5}
    assert alone.get(0, []) == among.get(5, [])
    assert alone_clean == (among_clean[5:6] if 5 not in among else [])
    assert judge(plain)[0] == among_clean[:1] == among_clean[-1:]


@settings(deadline=None)
@given(names=st.lists(st.text(st.sampled_from(" \t\v\x1f\x85\xa0\u2003aé茶"), max_size=3), min_size=1))
def test_white_space_around_a_name_is_ignored(names: list[str]) -> None:
    trimmed = pc.utf8_trim_whitespace(pa.array(names, pa.string())).to_pylist()
    clean, reasons = judge(*[{**GOOD, "product_name": name} for name in names])
    assert sorted(reasons) == [row for row, name in enumerate(trimmed) if not name]
    assert [row["product_name"] for row in clean] == [name for name in trimmed if name]


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_clean_rows_always_have_the_schema_of_their_kind(kind: Kind) -> None:
    header = Header(
        tuple(c.name for c in kind.columns if c.mandatory), tuple(c.name for c in kind.columns if c.mandatory), ()
    )
    text = pa.table({name: pa.array([], pa.string()) for name in header.names})
    assert check_rows(
        kind, header, text, Policy(), load_suites(RETAIL, None, Policy())[kind.name]
    ).clean.schema == clean_schema(kind)


@pytest.mark.parametrize(
    ("kind", "row", "rules"),
    [
        (CUSTOMERS, {"customer_id": "1", "first_name": None, "last_name": "x"}, ["first_name is empty"]),
        (CUSTOMERS, {"customer_id": "1", "first_name": "x", "last_name": "y", "address": None}, []),
        (
            SALES_TEAM,
            {"id": "1", "first_name": "x", "last_name": "y", "is_manager": "maybe"},
            [],  # no mart needs it: it becomes empty, and is counted
        ),
        (SALES_TEAM, {"id": "1", "first_name": "x", "last_name": "y", "is_manager": " n"}, []),
        (PRODUCTS, {"id": "1", "name": "x", "current_price": "-1"}, []),
        (PRODUCTS, {"id": "1", "name": " "}, ["name is empty"]),
    ],
)
def test_dimension_rows_are_judged_too(kind: Kind, row: dict[str, Any], rules: list[str]) -> None:
    assert judge(row, kind=kind)[1].get(0, []) == rules
