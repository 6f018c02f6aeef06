"""`marts diff` of any pack, and between versions of a pack: other columns, another key, a key that may be NULL."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from packs.test_library import Library, Loan
from support.kit import marts

pytestmark = [pytest.mark.usefixtures("small_builds")]
LOANS: tuple[Loan, ...] = (
    ("L1", 1, 1, date(2024, 1, 2), None, Decimal("1.50")),
    ("L2", 2, 2, date(2024, 1, 3), date(2024, 1, 9), Decimal("2.50")),
)
DAYS = """
[tables.returns]
publish = "library_returns"
per = "all"
reads = ["return_months"]
sql = "returns.sql"
key = ["branch_id", "returned_on"]
columns = [
    ["branch_id", "id", "The branch."],
    ["returned_on", "date?", "The day.", "null if it did not come back"],
    ["loans", "count", "Loans."],
]

[tables.return_months]
per = "month"
reads = ["loans"]
sql = "return_months.sql"
whole = false
key = ["branch_id", "returned_on"]
"""
DAYS_SQL = {
    "return_months.sql": "SELECT branch_id, returned_on, count(*) AS lines FROM loans GROUP BY 1, 2 ORDER BY 1, 2",
    "returns.sql": "SELECT branch_id, returned_on, sum(lines)::BIGINT AS loans FROM return_months GROUP BY 1, 2",
}


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """A library with a pack of its own, built once."""
    result = Library(tmp_path, "own").with_pack(DAYS, DAYS_SQL)
    result.deliver("a", LOANS)
    result.build()
    return result


def differences(library: Library, mart: str) -> dict[str, Any]:
    (part,) = json.loads(marts("diff", mart, *library.flags, "--json").stdout)["marts"]
    return dict(part)


def test_a_new_a_removed_and_a_retyped_column_are_named_and_the_others_compared(library: Library) -> None:
    library.edit("pack.toml", '["late", "count", "Loans that came back after `late_after_days`."],\n', "")
    library.edit(
        "pack.toml", '["returned", "rate", "Percent', '["half", "count", "x"],\n["returned", "percent", "Percent'
    )
    library.edit("branches.sql", "late)::BIGINT AS late", "lines)::BIGINT AS half")
    library.edit("branches.sql", "rate(", "percent(")
    library.deliver("b", [("L3", 1, 1, date(2024, 1, 4), None, Decimal("4.00"))])
    library.build()
    part = differences(library, "branches_mart")
    names = ("new_columns", "removed_columns", "retyped_columns")
    assert [part[name] for name in names] == [["half"], ["late"], ["returned"]]
    assert (part["added"], part["removed"], part["changed"], part["unchanged"]) == (0, 0, 1, 1)
    (row,) = part["rows"]
    assert (row["was"], row["is"]) == ({"loans": 1, "fees": "1.50"}, {"loans": 2, "fees": "5.50"})
    output = marts("diff", *library.flags).stdout
    assert "only the live publication has half" in output
    assert "only the publication before has late" in output
    assert "of another type, and not compared: returned" in output


def test_rows_of_another_key_cannot_be_compared(library: Library) -> None:
    library.edit("pack.toml", 'key = ["branch_id", "month"]', 'key = ["month"]')
    library.edit("branches.sql", "GROUP BY branch_id, month", "GROUP BY month")
    library.edit("branches.sql", "SELECT branch_id", "SELECT 1 AS branch_id")
    library.build()
    refused = str(marts("diff", "branch_loans", *library.flags, code=2).exception)
    assert "its key was another: several rows have one key" in refused
    assert "branches_mart: cannot be compared: its key was another" in marts("diff", *library.flags).stdout


def test_rows_of_a_key_with_another_column_cannot_be_compared(library: Library) -> None:
    library.edit("pack.toml", 'key = ["branch_id", "month"]', 'key = ["place_id", "month"]')
    library.edit(
        "pack.toml",
        '    ["branch_id", "id", "The branch."],\n    ["month"',
        '    ["place_id", "id", "x"],\n    ["month"',
    )
    library.edit("branches.sql", "SELECT branch_id", "SELECT branch_id AS place_id")
    library.edit("pack.toml", 'by = "branch_id"', 'by = "place_id"')
    library.edit("pack.toml", 'columns = ["branch_id", "month", "loans"]', 'columns = ["place_id", "month", "loans"]')
    library.build()
    refused = str(marts("diff", "branch_loans", *library.flags, code=2).exception)
    assert "place_id, of its key, was not in one of the publications" in refused


def test_a_key_that_may_be_null_is_matched(library: Library) -> None:
    library.deliver("b", [("L3", 1, 1, date(2024, 1, 4), None, Decimal("4.00"))])
    library.build()
    part = differences(library, "returns")
    assert (part["added"], part["removed"], part["changed"], part["unchanged"]) == (0, 0, 1, 1)
    (row,) = part["rows"]
    assert row == {
        "change": "changed",
        "key": {"branch_id": 1, "returned_on": None},
        "was": {"loans": 1},
        "is": {"loans": 2},
    }
    assert "2024-01" in marts("diff", *library.flags).stdout


def test_a_mart_of_a_new_version_of_the_pack_has_new_rows_only(library: Library) -> None:
    table = '[tables.levels_of_readers]\npublish = "reader_levels"\nper = "all"\nreads = ["readers_mart"]\n'
    columns = 'sql = "levels.sql"\nkey = ["reader_id"]\ncolumns = [["reader_id", "id", "The reader."]]\n\n'
    (library.folder / "pack" / "levels.sql").write_text("SELECT DISTINCT reader_id FROM readers_mart")
    library.edit("pack.toml", "[tables.returns]", f"{table}{columns}[tables.returns]")
    library.deliver("b", [("L3", 1, 1, date(2024, 1, 4), None, Decimal("4.00"))])
    library.build()
    part = differences(library, "reader_levels")
    assert (part["added"], part["unchanged"], [row["change"] for row in part["rows"]]) == (2, 0, ["added", "added"])
