"""`marts diff`: what the last publication changed, as tables, JSON and CSV."""

import csv
import io
import json
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from support.kit import CUSTOMERS, Place, line, marts, sales
from support.retail import RETAIL
from support.servers import MariaDB

from jobs.cli import render_diff
from jobs.report.differences import differences

HOSTILE = "\x1b[31mRed"


@pytest.fixture(scope="module", params=["DuckDB", "MariaDB"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The golden case; then a late drop, and a customer whose name a spreadsheet or a terminal would run."""
    place = Place(tmp_path_factory.mktemp("diff"))
    place.target = f"duckdb://{place.folder}/marts.duckdb"
    if request.param == "MariaDB":
        database: MariaDB = request.getfixturevalue("mariadb")
        place.target = database.make_database("diff")
    place.put_golden()
    place.put("sales/more.csv", sales(line("X1", customer=7, price="10.00", day="2024-02-10")))
    assert place.build().outcome == "published"
    place.put("customers/customers.csv", f"{CUSTOMERS}7,=HYPERLINK(x),{HOSTILE},,,,\n")
    place.put("sales/late.csv", sales(line("X2", customer=7, price="90000.00", day="2024-01-10")))
    assert place.build().outcome == "published"
    return place.target


def test_all_marts_are_listed_with_their_first_rows(target: str) -> None:
    output = marts("diff", "--target", target).output
    assert "\x1b" not in output
    assert "run-1" in output
    assert "run-2" in output
    listed = {words[0]: words for text in output.splitlines() if (words := text.split())}
    assert listed["new"][1:] == ["sales/late.csv", "1", "0"]
    assert listed["replaced"][1:] == ["customers/customers.csv", "7", "6"]
    assert listed["customers"][-1] == listed["sales_team"][-1] == "+90,000.00"
    assert "customers_data_mart: 1 added, 1 changed" in output
    assert "total_sales 90,000.00" in output


def test_a_mart_is_shown_with_all_values_that_differ(target: str) -> None:
    output = marts("diff", "customers", "--target", target, "--wide").output
    assert "\x1b" not in output
    assert r"full_name UNKNOWN -> =HYPERLINK(x) \x1b[31mRed" in output
    assert "customer_lifetime_value 10.00 -> 90,010.00 (+90,000.00)" in output
    assert "first_purchase_month 2024-02 -> 2024-01" in output
    assert "avg_time_between_purchases - -> 31.00" in output
    assert "address" not in output.partition("changed  7")[2]


def test_a_narrow_terminal_shows_whole_lines(target: str, tmp_path: Path) -> None:
    with closing(Place(tmp_path, target).warehouse(read_only=True)) as warehouse:
        compared = differences(warehouse, RETAIL, "", 3)
    text = io.StringIO()
    Console(width=80, file=text, highlight=False).print(render_diff.differences(compared, of_one=False))
    lines = text.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert any("+90,000.00" in text for text in lines)


def test_json_has_the_rows_exactly(target: str) -> None:
    result = json.loads(marts("diff", "customers", "--target", target, "--json").output)
    (mart,) = result["marts"]
    assert (result["from"]["run_id"], result["to"]["run_id"], result["went_back"]) == ("run-1", "run-2", False)
    assert [drop["change"] for drop in result["drops"]] == ["replaced", "new"]
    assert (mart["mart"], mart["added"], mart["changed"], mart["left_out"]) == ("customers", 1, 1, 0)
    added, changed = mart["rows"]
    assert (added["change"], added["key"]) == ("added", {"customer_id": 7, "sales_date_month": "2024-01"})
    assert added["is"]["total_sales"] == "90000.00"
    assert added["was"] == {}
    assert changed["was"]["full_name"] == "UNKNOWN"
    assert changed["is"]["full_name"] == f"=HYPERLINK(x) {HOSTILE}"
    every = json.loads(marts("diff", "--target", target, "--json").output)
    assert [part["mart"] for part in every["marts"]] == ["customers", "sales_team"]


def test_csv_of_a_mart_has_a_line_per_value_and_runs_nothing(target: str) -> None:
    text = marts("diff", "customers", "--target", target, "--csv").output
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["customer_id", "sales_date_month", "change", "column", "was", "is", "difference"]
    (name,) = [row for row in rows if row["column"] == "full_name" and row["change"] == "changed"]
    assert (name["was"], name["is"][:11], name["difference"]) == ("UNKNOWN", "'=HYPERLINK", "")
    assert sum(Decimal(row["difference"] or 0) for row in rows if row["column"] == "total_sales") == 90000
    limited = marts("diff", "customers", "--target", target, "--csv", "--limit", "1")
    assert "1 more rows differ; --limit shows them" in limited.stderr
    assert len({row["change"] for row in csv.DictReader(io.StringIO(limited.stdout))}) == 1


def test_csv_of_all_marts_has_their_counts(target: str) -> None:
    rows = list(csv.DictReader(io.StringIO(marts("diff", "--target", target, "--csv").output)))
    assert [row["mart"] for row in rows] == ["customers", "sales_team"]
    assert {row["difference"] for row in rows} == {"90000.00"}
    assert (rows[0]["added"], rows[0]["removed"], rows[0]["changed"]) == ("1", "0", "1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["customer"], "unknown mart 'customer'; did you mean 'customers'"), (["--json", "--csv"], "exclude each other")],
)
def test_what_cannot_be_shown_is_reported(target: str, arguments: list[str], message: str) -> None:
    assert message in str(marts("diff", *arguments, "--target", target, code=2).exception)


def test_a_rollback_is_named_with_its_reason(place: Place) -> None:
    place.put_golden()
    place.build()
    place.put("sales/late.csv", sales(line("X2", day="2024-01-10")))
    place.build()
    marts("rollback", "--target", place.address, "--why", "wrong\x07 prices", "--who", "Zoë")
    output = marts("diff", "--target", place.address).output
    assert r"Zoë rolled back: wrong\x07 prices" in output
    assert "drops of the publication before, not of the live one" in output


def test_another_policy_and_another_day_are_named(place: Place) -> None:
    place.put_golden()
    place.build()
    place.policy = place.policy.model_copy(update={"own": (("inactive_after_days", 1),)})
    place.build()
    output = marts("diff", "--target", place.address).output
    assert "the policy is another" in output
    assert "no drop came, left or changed between the two runs" in output


def test_one_publication_is_reported_with_what_to_do(place: Place) -> None:
    place.put_golden()
    place.build()
    error = marts("diff", "--target", place.address, code=2).exception
    assert "there is only one publication" in str(error)
