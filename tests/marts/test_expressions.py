"""Expressions are computed exactly, rounded half up; whatever is no expression over columns is refused."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marts.errors import DropRejected
from marts.expressions import missing_column, parsed
from marts.rows.computed import compute
from marts.rows.source_block import SourceBlock

ROWS = {
    "price": ["12,505", "1,00", "x", None],
    "quantity": ["2", "3", "1", "1"],
    "discount": ["0,01", None, "1", "1"],
    "tax rate": ["19", "7", "7", "7"],
    "brand": ["Acme", "B", "C", None],
    "kind": ["S", "R", "S", "S"],
}
NUMBERS = {"price", "quantity"}


def computed(text: str, digits: int | None = 2, rows: dict[str, Any] | None = None, **block: Any) -> list[Any]:
    table = pa.table({name: pa.array(values, pa.string()) for name, values in (rows or ROWS).items()})
    expressions = {"target": parsed(text)}
    return compute(expressions, table, NUMBERS, SourceBlock(**block), lambda _: digits)["target"].to_pylist()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("price * quantity - discount", ["25.00", None, None, None]),
        ("price * quantity - coalesce(discount, 0)", ["25.00", "3.00", None, None]),
        ('price * quantity * (1 + "Tax Rate" / 100)', ["29.76", "3.21", None, None]),
        ("price * 1.005", ["12.57", "1.01", None, None]),
        ("-price", ["-12.51", "-1.00", None, None]),  # 12.505, away from zero
        ("CASE WHEN kind = 'R' THEN -quantity ELSE quantity END", ["2.00", "-3.00", "1.00", "1.00"]),
        ("CASE WHEN discount > 0.5 THEN 1 ELSE quantity END", ["2.00", "3.00", "1.00", "1.00"]),
        ("if(kind IN ('R', 'X') AND quantity BETWEEN 2 AND 4, 1, 0)", ["0.00", "1.00", "0.00", "0.00"]),
        ("greatest(quantity, 2)", ["2.00", "3.00", "2.00", "2.00"]),
        ("nullif(quantity, 1)", ["2.00", "3.00", None, None]),
        ("quantity / 0", [None, None, None, None]),
    ],
)
def test_numbers_are_computed_and_rounded(text: str, values: list[str | None]) -> None:
    expected = [None if value is None else Decimal(value) for value in values]
    assert computed(text, decimal=",") == expected


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("upper(brand) || '-' || kind", ["ACME-S", "B-R", "C-S", None]),
        ("concat(brand, kind)", ["AcmeS", "BR", "CS", "S"]),
        ("coalesce(brand, 'it''s')", ["Acme", "B", "C", "it's"]),
        ("substr(brand, 1, 2)", ["Ac", "B", "C", None]),
        ("regexp_extract(brand, '(.)c', 1)", ["A", "", "", None]),
        ("split_part(brand, 'c', 2)", ["me", "", "", None]),
        ("left(brand, 2)", ["Ac", "B", "C", None]),
        ("quantity || ' pieces'", ["2 pieces", "3 pieces", "1 pieces", "1 pieces"]),
        ("CASE WHEN NOT brand IS NULL THEN 'yes' END", ["yes", "yes", "yes", None]),
    ],
)
def test_texts_are_computed_too(text: str, values: list[str | None]) -> None:
    assert computed(text, None) == values


CENTS = st.integers(-(10**9), 10**9).map(lambda value: Decimal(value).scaleb(-6))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(CENTS, st.integers(-(10**8), 10**8), CENTS), min_size=1, max_size=20))
def test_products_are_those_of_decimal(rows: list[tuple[Decimal, int, Decimal]]) -> None:
    table = {"price": [str(p) for p, _, _ in rows], "quantity": [f"{q / 10_000:.4f}" for _, q, _ in rows]}
    table["discount"] = [str(d) for _, _, d in rows]
    expected = [(p * Decimal(q).scaleb(-4) - d).quantize(Decimal("0.01"), ROUND_HALF_UP) for p, q, d in rows]
    assert computed("price * quantity - discount", rows=table) == expected


@pytest.mark.parametrize(
    "hostile",
    [
        "(SELECT 1)",
        "price IN (SELECT 1)",
        "EXISTS (SELECT 1)",
        "read_csv('/etc/passwd')",
        "read_text('/etc/passwd')",
        "getenv('HOME')",
        "current_setting('home_directory')",
        "sum(price)",
        "count(*)",
        "row_number() OVER ()",
        "sum(price) OVER (ORDER BY price)",
        "price::INT",
        "CAST(price AS INT)",
        "list_transform([1], x -> x)",
        "[price]",
        "{'a': price}",
        "*",
        "COLUMNS(*)",
        "rows.price",
        "price COLLATE NOCASE",
        "price; DROP TABLE x",
        "price) FROM rows; --",
        "price FROM read_text('/etc/passwd')",
        "price) FROM (SELECT 1 AS price",
        "price), (quantity",
        "price, quantity",
        "price) UNION SELECT (quantity",
        "repeat(brand, 1000000000)",
        "lpad(brand, 1000000000, 'x')",
        "random() + price",
        "now()",
        "main.upper(brand)",
        "system.main.upper(brand)",
        "upper(DISTINCT brand)",
        "brand.upper()",
        "?",
        "$1",
        "1 + 1",
        "",
        "price *",
        "(" * 60 + "price" + ")" * 60 + " + " + "+".join(["price"] * 1000),
        "-" * 100 + "price",
    ],
)
def test_what_is_no_expression_over_columns_is_refused(hostile: str) -> None:
    with pytest.raises(ValueError, match=r"not allowed|not an expression|not one expression|no column|longer|nested"):
        parsed(hostile)


@pytest.mark.parametrize(
    "text",
    ["upper(brand, kind)", "round(price, quantity)", "price * quantity" + " * tax" * 5, "substr(brand)"],
)
def test_what_fits_no_columns_is_refused_before_any_file_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be computed: "):
        parsed(text)


def test_a_name_that_several_columns_of_a_file_have_rejects_it() -> None:
    with pytest.raises(DropRejected, match="one of several columns: 'Net_Price', 'net price'"):
        computed("net_price + 1", rows={"net price": ["1"], "Net_Price": ["2"]})


def test_a_name_with_quotes_stays_a_name() -> None:
    rows = {'a"b': ["1"], "price": ["2"], "quantity": ["1"]}
    assert computed('"a""b" + price', rows=rows) == [Decimal("3.00")]
    assert missing_column(parsed("Net_Price + price"), ["price", "net price"]) == ""
    assert missing_column(parsed("netto + price"), ["price"]) == "netto"


def test_a_result_of_too_many_digits_is_missing() -> None:
    rows = {"price": ["99999999999", "1"], "quantity": ["99999999999", "1"]}
    assert computed("price * quantity", rows=rows) == [None, Decimal("1.00")]
    assert computed("price * quantity * price * quantity", rows=rows) == [None, Decimal("1.00")]
