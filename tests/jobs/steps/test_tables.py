"""Tables and views of other people, beside the marts and in their place: on both targets."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from support.kit import Once, Place, line, sales
from support.retail import CUSTOMERS_MART
from support.servers import SqlServer

from jobs.adapters.warehouse.mysql import MySQLWarehouse
from jobs.adapters.warehouse.sql_ledger import SqlLedger
from jobs.ports.audit import AuditEvent
from jobs.ports.records import Erasure
from jobs.report.run_report import RunReport
from marts.errors import UsageError

EVENT = AuditEvent("erase-1", "2024-05-01T00:00:00", "Zoë", "erase", "customer 1", "asked to")


def in_database(place: Place, request: pytest.FixtureRequest) -> None:
    if request.param == "mariadb":
        server: SqlServer = request.getfixturevalue("mariadb")
        place.target = server.make_database(f"t{abs(hash(request.node.name)) % 10**12}")


@pytest.fixture(params=["duckdb", "mariadb"])
def empty(place: Place, request: pytest.FixtureRequest) -> Place:
    """A place with the golden drops, never built."""
    in_database(place, request)
    place.put_golden()
    return place


@pytest.fixture(params=["duckdb", "mariadb"])
def fed(place: Place, once: Once, request: pytest.FixtureRequest) -> Place:
    """The same, built once."""
    in_database(place, request)
    once(Place.publish_golden, place)
    return place


def execute(place: Place, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in the target; return the rows of the last one."""
    with closing(place.warehouse()) as opened:
        return [opened.execute(statement) for statement in statements][-1]


def add_drop(place: Place, number: int) -> None:
    place.put(f"sales/{number}.csv", sales(line(f"N{number}", day="2024-02-03", quantity=number + 1)))


def is_duckdb(place: Place) -> bool:
    return not place.target


def names_the_statement(report: RunReport, place: Place, table: str, kind: str) -> bool:
    """Whether a run stopped before it scanned anything, and reported how a table or view is moved."""
    assert report.error
    moved = f"ALTER {kind.upper()} {table} RENAME TO" if is_duckdb(place) else f"RENAME TABLE {table} TO {table}_old"
    assert moved in report.error.hint
    assert f"the {kind} {table} was not created by Martwright" in report.error.what
    return (report.outcome, report.exit_code, report.drops) == ("failed", 2, ())


def test_tables_with_names_like_those_of_our_generations_are_never_dropped(fed: Place) -> None:
    """By letters, by a number that is not given yet, by one that is not given any more, and like a staged view."""
    others = ("customers_data_mart_gold", "customers_data_mart_g7", "customers_data_mart_g1", "my_notes")
    add_drop(fed, 1)
    fed.build()
    add_drop(fed, 2)
    fed.build()
    execute(fed, *(f"CREATE TABLE {name} (a INT)" for name in others))
    execute(fed, *(f"INSERT INTO {name} VALUES (7)" for name in others))
    execute(fed, "CREATE VIEW customers_data_mart_staged_99 AS SELECT a FROM my_notes")
    for number in range(3, 7):
        add_drop(fed, number)
        assert fed.build().outcome == "published"
    for name in (*others, "customers_data_mart_staged_99"):
        assert execute(fed, f"SELECT a FROM {name}") == [(7,)]


def test_who_is_erased_is_erased_from_no_table_of_others(fed: Place) -> None:
    others = ("customers_data_mart_gold", "customers_data_mart_g7")
    for name in others:
        execute(fed, f"CREATE TABLE {name} (customer_id INT)", f"INSERT INTO {name} VALUES (1)")
    before = execute(fed, "SELECT COUNT(*) FROM customers_data_mart WHERE customer_id = 1")[0][0]
    with closing(fed.warehouse()) as opened:
        erased = opened.erase([Erasure(0, "salt", "2024"), Erasure(1, "digest", "2024")], 1, EVENT)
    assert erased == before > 0
    assert execute(fed, "SELECT COUNT(*) FROM customers_data_mart WHERE customer_id = 1") == [(0,)]
    for name in others:
        assert execute(fed, f"SELECT customer_id FROM {name}") == [(1,)]


def test_rows_of_a_generation_that_the_ledger_has_not_numbered_stay(place: Place, mariadb: SqlServer) -> None:
    place.target = mariadb.make_database("unnumbered")
    place.put_golden()
    place.build()
    columns = ", ".join(column.name for column in CUSTOMERS_MART.columns)
    copy = (
        f"INSERT INTO customers_data_mart_rows (generation, {columns}) SELECT 900, {columns} FROM customers_data_mart"
    )
    execute(place, copy)
    (before,) = execute(place, "SELECT COUNT(*) FROM customers_data_mart_rows WHERE generation = 900")
    for number in range(3):
        add_drop(place, number)
        assert place.build().outcome == "published"
    assert [before] == execute(place, "SELECT COUNT(*) FROM customers_data_mart_rows WHERE generation = 900")
    assert before > (0,)


def test_a_number_whose_rows_are_not_of_this_ledger_is_not_used(place: Place, mariadb: SqlServer) -> None:
    """As after the ledger's tables were lost, and the rows were not."""
    place.target = mariadb.make_database("lost_ledger")
    place.put_golden()
    place.build()
    before = place.marts()
    execute(place, "DELETE FROM marts_generations", "DELETE FROM marts_publications", "DROP TABLE marts_numbers")
    add_drop(place, 1)
    assert place.build().outcome == "published"
    assert place.marts() != before


def test_a_file_of_an_older_version_loses_the_generations_that_it_published_and_no_others(place: Place) -> None:
    """Older versions knew generations by the names of tables alone."""
    place.put_golden()
    place.build()
    add_drop(place, 1)
    place.build()
    execute(place, "DROP TABLE marts_numbers", "CREATE TABLE customers_data_mart_g50 (a INT)")
    for number in (2, 3):
        add_drop(place, number)
        assert place.build().outcome == "published"
    names = execute(place, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'customers_data_mart_g%'")
    assert len(names) == 3
    assert ("customers_data_mart_g50",) in names


@pytest.mark.mysql
def test_a_table_of_an_older_pipeline_with_a_public_name_is_named_and_not_touched(empty: Place) -> None:
    table = "customers_data_mart"
    execute(empty, f"CREATE TABLE {table} (customer_id INT PRIMARY KEY)", f"INSERT INTO {table} VALUES (5)")
    assert names_the_statement(empty.build(), empty, table, "table")
    assert execute(empty, f"SELECT * FROM {table}") == [(5,)]
    rename = f"ALTER TABLE {table} RENAME TO {table}_old"
    execute(empty, rename if is_duckdb(empty) else f"RENAME TABLE {table} TO {table}_old")
    assert empty.build().outcome == "published"
    assert execute(empty, f"SELECT * FROM {table}_old") == [(5,)]


def test_doctor_names_what_stands_in_our_place(empty: Place) -> None:
    execute(empty, "CREATE TABLE customers_data_mart (customer_id INT)")
    with closing(empty.warehouse()) as opened, pytest.raises(UsageError, match="data_mart was not created by"):
        opened.diagnose()


def test_a_view_of_somebody_else_with_a_public_name_is_named_and_not_replaced(empty: Place) -> None:
    execute(empty, "CREATE TABLE theirs (customer_id INT)", "INSERT INTO theirs VALUES (5)")
    execute(empty, "CREATE VIEW sales_team_data_mart AS SELECT customer_id FROM theirs")
    assert names_the_statement(empty.build(), empty, "sales_team_data_mart", "view")
    assert execute(empty, "SELECT * FROM sales_team_data_mart") == [(5,)]


def test_a_foreign_view_with_the_same_columns_is_not_taken_for_a_mart(fed: Place) -> None:
    execute(fed, "CREATE TABLE theirs AS SELECT * FROM customers_data_mart", "DROP VIEW customers_data_mart")
    execute(fed, "CREATE VIEW customers_data_mart AS SELECT * FROM theirs")
    add_drop(fed, 1)
    assert names_the_statement(fed.build(), fed, "customers_data_mart", "view")


@pytest.mark.mysql
def test_a_table_that_a_copy_left_where_our_view_belongs_is_named(fed: Place) -> None:
    before = fed.marts()
    execute(fed, "CREATE TABLE copied AS SELECT * FROM customers_data_mart", "DROP VIEW customers_data_mart")
    execute(fed, f"ALTER TABLE copied RENAME {'TO' if is_duckdb(fed) else ''} customers_data_mart")
    add_drop(fed, 1)
    assert names_the_statement(fed.build(), fed, "customers_data_mart", "table")
    assert fed.marts() == before


@pytest.mark.parametrize("definition", ["TABLE {} (generation INT, note TEXT)", "VIEW {} AS SELECT 1 AS generation"])
def test_something_else_where_our_rows_belong_is_named(place: Place, mariadb: SqlServer, definition: str) -> None:
    place.target = mariadb.make_database(f"rows{len(definition)}")
    place.put_golden()
    kind = definition.partition(" ")[0].lower()
    execute(place, f"CREATE {definition.format('customers_data_mart_rows')}")
    assert names_the_statement(place.build(), place, "customers_data_mart_rows", kind)


def test_a_table_of_somebody_else_with_a_name_of_the_ledger_gets_no_columns(empty: Place) -> None:
    execute(empty, "CREATE TABLE marts_drops (name INT)")
    assert names_the_statement(empty.build(), empty, "marts_drops", "table")
    with closing(empty.warehouse()) as opened:
        assert opened.columns_of("marts_drops") == {"name"}


@pytest.fixture
def after_publishing(fed: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Statements that somebody runs just after the next run has published."""
    statements: list[str] = []
    publish = SqlLedger.publish

    def then(self: SqlLedger, *arguments: Any) -> None:
        publish(self, *arguments)
        while statements:
            self.execute(statements.pop(0))

    monkeypatch.setattr(SqlLedger, "publish", then)
    yield statements
    assert not statements


@pytest.mark.mysql
def test_a_run_whose_rows_readers_do_not_see_has_not_published(fed: Place, after_publishing: list[str]) -> None:
    add_drop(fed, 1)
    after_publishing += [
        "CREATE TABLE copied AS SELECT * FROM customers_data_mart",
        "DELETE FROM copied WHERE customer_id = 1",
        "DROP VIEW customers_data_mart",
        f"ALTER TABLE copied RENAME {'TO' if is_duckdb(fed) else ''} customers_data_mart",
    ]
    report = fed.build()
    assert report.error
    assert (report.outcome, report.exit_code) == ("failed", 69)
    assert "customers_data_mart does not show what was published: readers see" in report.error.what
    assert "were staged by run run-2" in report.error.what
    with closing(fed.warehouse()) as opened:
        assert opened.runs(1)[0].outcome == "failed"
    assert names_the_statement(fed.build(), fed, "customers_data_mart", "table")
    execute(fed, "DROP TABLE customers_data_mart")
    assert fed.build().outcome == "published"
    assert fed.build().outcome == "unchanged"


def test_rows_that_are_lost_while_they_are_published_are_missed_and_published_anew(
    fed: Place, after_publishing: list[str]
) -> None:
    add_drop(fed, 1)
    rows = "customers_data_mart_rows"
    if is_duckdb(fed):
        with closing(fed.warehouse()) as opened:  # the next generation: marts are staged in their order
            rows = f"customers_data_mart_g{max(opened.generations()) + 1}"
    after_publishing.append(f"DELETE FROM {rows} WHERE customer_id = 1")
    assert fed.build().outcome == "failed"
    assert fed.build().outcome == "published"
    assert any(row[0] == 1 for row in fed.mart("customers"))


def test_a_mart_that_cannot_be_read_by_its_public_name_is_not_published(
    fed: Place, after_publishing: list[str]
) -> None:
    add_drop(fed, 1)
    after_publishing.append("DROP VIEW sales_team_data_mart")
    report = fed.build()
    assert report.error
    assert (report.outcome, report.exit_code) == ("failed", 69)
    assert "sales_team_data_mart does not show what was published: readers cannot read it" in report.error.what
    assert fed.build().outcome == "published"


def test_a_user_without_the_right_to_see_views_builds_again(place: Place, mariadb: SqlServer) -> None:
    place.target = mariadb.make_database("noshow")
    place.put_golden()
    place.build()
    mariadb.run("REVOKE SHOW VIEW ON noshow.* FROM 'noshow'@'%'")
    mariadb.run("ALTER DEFINER = root@localhost VIEW customers_data_mart AS " + _definition(mariadb), database="noshow")
    with closing(place.warehouse()) as opened:
        assert isinstance(opened, MySQLWarehouse)
    add_drop(place, 1)
    assert place.build().outcome == "published"


def _definition(server: SqlServer) -> str:
    query = "SELECT view_definition FROM information_schema.views WHERE table_schema = 'noshow' AND table_name = '{}'"
    return str(server.run(query.format(CUSTOMERS_MART.table))[0][0])
