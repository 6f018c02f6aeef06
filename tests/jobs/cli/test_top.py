"""`marts customers …` and `marts sales …`: the live marts' rows, as tables, JSON and CSV."""

import csv
import io
import json

import pytest
from support.kit import CUSTOMERS, Place, line, marts, sales
from support.servers import MariaDB


@pytest.fixture(scope="module", params=["DuckDB", "MariaDB"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The golden case, and a customer whose name a spreadsheet would run."""
    place = Place(tmp_path_factory.mktemp("top"))
    place.target = f"duckdb://{place.folder}/marts.duckdb"
    if request.param == "MariaDB":
        database: MariaDB = request.getfixturevalue("mariadb")
        place.target = database.make_database("top")
    place.put_golden()
    place.put("customers/customers.csv", f"{CUSTOMERS}7,=HYPERLINK(x),\x1b[31mRed,,,,\n")
    place.put("sales/more.csv", sales(line("X1", customer=7, price="90000.00", day="2024-02-10")))
    assert place.build().outcome == "published"
    return place.target


def test_the_best_customers_come_first(target: str) -> None:
    output = marts("customers", "top", "--target", target, "--limit", "3").output
    assert "top customers" in output
    assert "90,000.00" in output.splitlines()[2]
    assert "\x1b" not in output
    rows = json.loads(marts("customers", "top", "--target", target, "--json").output)
    values = [float(row["customer_lifetime_value"]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert (rows[0]["customer_id"], rows[0]["customer_lifetime_value"]) == (7, "90000.00")
    assert len({row["customer_id"] for row in rows}) == len(rows) == 8


def test_one_customer_is_shown_month_by_month(target: str) -> None:
    output = marts("customers", "show", "1", "--target", target).output
    assert "customer 1" in output
    rows = json.loads(marts("customers", "show", "1", "--target", target, "--json").output)
    assert [row["sales_date_month"] for row in rows] == sorted(row["sales_date_month"] for row in rows)
    assert all(row["sales_date_month"] in output for row in rows)


def test_the_leader_of_each_store_has_the_incentive(target: str) -> None:
    rows = json.loads(marts("sales", "top", "--target", target, "--json", "--month", "2024-02").output)
    assert {row["sales_month"] for row in rows} == {"2024-02"}
    assert rows[0]["incentive"] == f"{float(rows[0]['total_sales']) / 100:.2f}"
    assert "leaders of 2024-03" in marts("sales", "top", "--target", target).output


def test_one_store_is_shown_by_rank(target: str) -> None:
    rows = json.loads(marts("sales", "show", "121", "--target", target, "--month", "2024-02", "--json").output)
    ranks = [row["top_performance_rank"] for row in rows]
    assert ranks == sorted(ranks)
    assert "store 121 in" in marts("sales", "show", "121", "--target", target).output


def test_csv_can_be_read_back_and_runs_nothing(target: str) -> None:
    text = marts("customers", "top", "--target", target, "--csv").output
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["full_name"].startswith("'=HYPERLINK")
    assert rows[0]["customer_lifetime_value"] == "90000.00"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["customers", "show", "999"], "customer 999 has no rows"),
        (["sales", "show", "999"], "store 999 has no rows"),
        (["sales", "top", "--month", "2024-13"], "is not a month"),
        (["sales", "top", "--month", "2024-01' OR '1'='1"], "is not a month"),
        (["customers", "top", "--json", "--csv"], "exclude each other"),
    ],
)
def test_what_cannot_be_shown_is_reported(target: str, arguments: list[str], message: str) -> None:
    assert message in str(marts(*arguments, "--target", target, code=2).exception)


def test_a_target_without_marts_is_reported_with_what_to_do(place: Place) -> None:
    place.warehouse().close()
    refused = marts("customers", "top", "--target", f"duckdb://{place.folder}/marts.duckdb", code=2)
    assert "nothing is published yet" in str(refused.exception)
