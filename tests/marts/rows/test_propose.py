"""What is proposed for a file has a reason; what several settings would read is a choice."""

from typing import Any

import pytest
from support.retail import CUSTOMERS, KINDS, SALES

from marts.names import plain_name
from marts.rows.propose import coverage, map_columns, propose
from marts.rows.sniff import Look, look_at_text

NAMES = tuple(column.name for column in SALES.columns if column.mandatory)
ROW = ("1", "1", "tea", "2024-01-31", "11", "1", "2", "2")


def settings(look: Look) -> dict[str, Any]:
    return {item.name: item.value for item in look.proposals}


@pytest.mark.parametrize(
    ("text", "proposed", "names", "rows"),
    [
        ("a,b\n1,2\n", {}, ("a", "b"), 1),
        ("a;b\n1;2\n", {"delimiter": ";"}, ("a", "b"), 1),
        ("sep=;\na;b\n1;2\n", {}, ("a", "b"), 1),
        ("a|b|c\n1,5|2|3\n", {"delimiter": "|"}, ("a", "b", "c"), 1),
        ("Report\n\na\tb\n1\t2\n3\t4\n5\t6\n", {"delimiter": "\t", "skip_lines": 2}, ("a", "b"), 3),
        ("a,b\n1,2\n1,2\nTotal,4\n", {}, ("a", "b"), 3),  # a row as others are: a person must see it
        ("a,b,c\n1,2,3\n1,2,3\nTotal,,6\n", {"footer": "(?i)^\\W*(total)\\b"}, ("a", "b", "c"), 2),
        ("a,b\n1,2\n1,2\n2 rows\n", {}, ("a", "b"), 2),
        ("a,b\n1,2\n1,2\nrows: 2\n", {"footer": "(?i)^\\W*(rows)\\b"}, ("a", "b"), 2),
        ("1,2024-01-01,x\n2,2024-01-02,y\n", {}, (), 2),
        ('"a","b"\n"1","x\ny"\n', {}, ("a", "b"), 0),
        ("one column\n1\n", {}, (), 0),
    ],
)
def test_the_layout_of_a_text_is_proposed(
    text: str, proposed: dict[str, Any], names: tuple[str, ...], rows: int
) -> None:
    look = look_at_text(text.encode(), text.encode(), True)
    assert (settings(look), look.names, len(look.rows)) == (proposed, names, rows)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("a,b\né,1\n".encode(), None),
        ("a,b\né,1\n".encode("cp1252"), "cp1252"),
        ("a,b\né,1\n".encode("utf-16"), None),
        ("a,b\né,1\n".encode("utf-16-le"), "utf-16"),
        ("a,b\né,1\n".encode("utf-8-sig"), None),
    ],
)
def test_the_encoding_is_proposed_where_it_is_needed(data: bytes, encoding: str | None) -> None:
    look = look_at_text(data, data, True)
    assert settings(look).get("encoding") == encoding
    assert look.rows == (("é", "1"),)


def of_values(column: str, *values: str) -> list[tuple[str, Any, bool]]:
    rows = tuple(
        tuple(value if name == column else old for name, old in zip(NAMES, ROW, strict=True)) for value in values
    )
    return [(item.name, item.value, item.choice) for item in propose(Look(NAMES, rows), SALES, "sales/a.csv")]


@pytest.mark.parametrize(
    ("column", "values", "proposed"),
    [
        ("price", ["1.5", "-2", "+0.25", ".5"], []),
        ("price", ["1,5", "12,25"], [("decimal", ",", False)]),
        ("price", ["1.234,50", "12,25"], [("decimal", ",", False), ("thousands", ".", False)]),
        ("price", ["1,234.50", "12.25"], [("thousands", ",", False)]),
        ("price", ["1,234", "12.25"], [("thousands", ",", False)]),
        ("price", ["1,234"], [("decimal", ",", True), ("thousands", ",", True)]),
        ("price", ["1,234,567"], [("thousands", ",", False)]),
        ("price", ["1 234,50"], [("decimal", ",", False), ("thousands", " ", False)]),
        ("price", ["1'234.50"], [("thousands", "'", False)]),
        ("price", ["$1.50", "(2.25)", "3.25-"], [("accounting", True, False)]),
        ("price", ["1.50", "NULL", "n/a"], [("null", ["NULL", "n/a"], False)]),
        ("product_name", ["NULL", "N/A"], [("null", ["NULL"], False)]),
        ("sales_date", ["2024-01-31", "20240131", "2024-01-31T10:00Z"], []),
        ("sales_date", ["31.01.2024"], [("dates", ["%d.%m.%Y"], False)]),
        ("sales_date", ["03/04/2024"], [("dates", ["%d/%m/%Y"], True), ("dates", ["%m/%d/%Y"], True)]),
        ("sales_date", ["03/04/2024", "03/31/2024"], [("dates", ["%m/%d/%Y"], False)]),
        ("sales_date", ["soon"], [("dates", ["?"], True)]),
        ("customer_id", ["C-001", "C-2"], [("id_prefix", {"customer_id": "C-"}, False)]),
        ("customer_id", ["C-001", "D-2"], [("id_prefix", {"customer_id": "?"}, True)]),
        ("customer_id", ["1", "2.0", "-1"], []),
    ],
)
def test_values_decide_their_settings_or_leave_a_choice(
    column: str, values: list[str], proposed: list[tuple[str, Any, bool]]
) -> None:
    assert of_values(column, *values) == proposed


def test_columns_are_mapped_by_name_and_each_once() -> None:
    assert map_columns(["Customer ID", "PRICE", "x"], SALES) == ({"Customer ID": "customer_id", "PRICE": "price"}, {})
    assert map_columns(["Kunde", "Datum"], SALES) == ({"Kunde": "customer_id", "Datum": "sales_date"}, {})
    columns, choices = map_columns(["unit amount", "price each", "date"], SALES)
    assert (columns, choices) == ({"date": "sales_date"}, {"price": ["price each", "unit amount"]})
    assert map_columns(["price", "unit price"], SALES)[0] == {"price": "price"}
    assert coverage(NAMES, SALES) == (1.0, len(NAMES))
    assert coverage(["first name", "last name"], CUSTOMERS)[1] == 2


def test_what_a_file_lacks_comes_from_its_key_the_rule_or_a_person() -> None:
    names = tuple(name for name in NAMES if name not in ("store_id", "sales_date", "total_cost"))
    look = Look(names, (("1", "tea", "11", "1.50", "2"),))
    proposed = propose(look, SALES, "sales/dt=2024-01-31/date=2024-01-31/a.csv")
    assert [(item.name, item.value, item.choice) for item in proposed] == [
        ("from_path", "date=(?P<sales_date>[^/]+)/", False),
        ("constants", {"store_id": "?"}, True),
        ("compute", {"total_cost": "price * quantity"}, False),
    ]
    (header,) = propose(Look((), (ROW,)), SALES, "sales/a.csv")
    assert (header.name, header.choice) == ("header", True)
    assert "the first row is 1, 1, tea" in header.reason


def test_synonyms_are_names_of_columns_and_each_stands_once_per_kind() -> None:
    for kind in KINDS.values():
        columns = kind.synonyms
        names = [plain_name(name) for text in columns.values() for name in text.split(", ")]
        assert sorted({name for name in names if names.count(name) > 1}) == []
