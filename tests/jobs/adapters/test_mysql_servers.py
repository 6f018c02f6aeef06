"""Servers with other settings, and what a build reports of those it cannot use."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from support.kit import CUSTOMERS, GOLDEN, Place, golden, line, sales
from support.servers import SqlServer, sql_server

from jobs.adapters.warehouse import mysql_session as session
from jobs.adapters.warehouse.mysql import MySQLWarehouse
from jobs.operations.doctor import _target
from marts.errors import ServiceError, UsageError

HEAD = CUSTOMERS.partition("\n")[0] + "\n"


@contextmanager
def set_globals(server: SqlServer, **values: Any) -> Iterator[None]:
    """Set variables of a server, and set them back."""
    before = {name: server.run(f"SELECT @@global.{name}")[0][0] for name in values}
    try:
        server.run(*(f"SET GLOBAL {name} = {_written(value)}" for name, value in values.items()))
        yield
    finally:
        server.run(*(f"SET GLOBAL {name} = {_written(value)}" for name, value in before.items()))


def _written(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"s{abs(hash(request.node.name)) % 10**12}"


@pytest.fixture
def fed(place: Place, mariadb: SqlServer, name: str) -> Place:
    """A place with the golden drops, for a database that is empty."""
    place.target = mariadb.make_database(name)
    place.put_golden()
    return place


def sums(place: Place, mart: str = "customers_data_mart") -> tuple[int, Decimal]:
    with closing(place.warehouse()) as opened:
        ((rows, total),) = opened.execute(f"SELECT COUNT(*), SUM(total_sales) FROM {mart}")
        return int(rows), Decimal(total)


GOLDEN_SUMS = (
    len(golden("customers")),
    sum((Decimal(row["total_sales"]) for row in golden("customers")), Decimal(0)),
)


@pytest.mark.mysql
@pytest.mark.parametrize("allowed", [0, 1])
def test_a_server_is_loaded_as_it_allows_and_doctor_reports_how(fed: Place, mariadb: SqlServer, allowed: int) -> None:
    """MySQL comes with local_infile off, MariaDB with it on."""
    with set_globals(mariadb, local_infile=allowed):
        loaded = mariadb.run("SHOW GLOBAL STATUS LIKE 'Com_load'")[0][1]
        assert fed.build().error is None
        assert sums(fed) == GOLDEN_SUMS
        assert (mariadb.run("SHOW GLOBAL STATUS LIKE 'Com_load'")[0][1] > loaded) == bool(allowed)
        (bulk,) = [check.text for check in _target(fed.configured()) if check.what == "bulk load"]
    assert ("is allowed" in bulk) == bool(allowed)
    assert ("SET GLOBAL local_infile = ON makes loading 1.7 times as fast" in bulk) == (not allowed)


@pytest.mark.mysql
def test_a_server_that_forbids_local_files_after_it_was_asked_is_loaded_by_inserts(
    fed: Place, mariadb: SqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = session.Session.limits.fget
    assert limits
    allowing = property(lambda self: session.Limits(True, limits(self).max_allowed_packet, 0))
    monkeypatch.setattr(session.Session, "limits", allowing)
    with set_globals(mariadb, local_infile=0):
        assert fed.build().error is None
    assert sums(fed) == GOLDEN_SUMS


@pytest.mark.mysql
@pytest.mark.parametrize("allowed", [0, 1])
def test_hostile_texts_arrive_letter_by_letter_however_they_are_loaded(
    fed: Place, mariadb: SqlServer, allowed: int
) -> None:
    texts = [
        "\\",
        "'",
        "''); DROP TABLE marts_runs; --",
        '"\\N"',
        "a\\'b",
        "%s %(x)s {0}",
        "😀 Zoë\\n",
        "NULL",
        "\\0 `x`",
        "\\\\'",
        "tab\there",
        "/* x */ # y",
    ]
    quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
    people = "".join(f"{n},A,B,{text},,,\n" for n, text in enumerate(quoted, 1))
    fed.put("customers/customers.csv", HEAD + people)
    fed.put("sales/more.csv", sales(*(line(f"M{n}", customer=n) for n in range(1, len(texts) + 1))))
    with set_globals(mariadb, local_infile=allowed):
        assert fed.build().error is None
    with closing(fed.warehouse()) as opened:
        rows = dict(opened.execute("SELECT DISTINCT customer_id, address FROM customers_data_mart"))
    assert [rows[number] for number in range(1, len(texts) + 1)] == texts


def test_a_server_of_another_charset_mode_zone_and_patience_holds_texts_as_they_are(
    place: Place, mariadb: SqlServer, name: str
) -> None:
    """latin1, a sql_mode of its own, +05:30, connections that end after 5 s."""
    mode = "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,ONLY_FULL_GROUP_BY,PIPES_AS_CONCAT,IGNORE_SPACE,PAD_CHAR_TO_FULL_LENGTH"
    odd = {"character_set_server": "latin1", "collation_server": "latin1_swedish_ci", "sql_mode": mode}
    with set_globals(mariadb, **odd, time_zone="+05:30", wait_timeout=5):
        place.target = mariadb.make_database(f"My-{name}", options="CHARACTER SET latin1")
        place.put_golden()
        people = '1,😀 Zoë,O\'Neil \\ back,"Straße 1, ""x"" \\",,,\n2,NULL,NULL,\\N,,,\n'
        others = "3,C,D,,,,\n4,E,F,,,,\n5,G,H,,,,\n6,I,J,,,,\n"
        place.put("customers/customers.csv", HEAD + people + others)
        assert place.build().error is None
        assert sums(place) == GOLDEN_SUMS
        rows = {row[0]: row[1:3] for row in place.mart("customers")}
    assert rows[1] == ("😀 Zoë O'Neil \\ back", 'Straße 1, "x" \\')
    assert rows[2] == ("NULL NULL", "\\N")


@pytest.mark.mysql
def test_a_server_that_stays_read_only_is_reported_and_not_waited_for_until_the_deadline(
    fed: Place, mariadb: SqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_FAILOVER", 0.5)
    fed.settings = {"mysql": {"deadline": 3600}}
    with set_globals(mariadb, read_only=1):
        report = fed.build()
    assert report.error
    assert (report.outcome, report.exit_code) == ("failed", 69)
    assert "the database is read only" in report.error.what
    assert "the server that accepts writes" in report.error.hint


def test_a_failover_that_passes_fails_nothing(fed: Place, mariadb: SqlServer) -> None:
    mariadb.run("SET GLOBAL read_only = 1")
    timer = Timer(1, lambda: mariadb.run("SET GLOBAL read_only = 0"))
    timer.start()
    try:
        assert fed.build().outcome == "published"
    finally:
        timer.join()
        mariadb.run("SET GLOBAL read_only = 0")


@pytest.mark.mysql
@pytest.mark.parametrize(("allowed", "loaders"), [(3, 1), (4, 2), (9, 2)])
def test_a_user_of_few_connections_is_loaded_by_fewer(
    place: Place, mariadb: SqlServer, name: str, allowed: int, loaders: int
) -> None:
    place.target = mariadb.make_database(name, limits=f"WITH MAX_USER_CONNECTIONS {allowed}")
    place.put_golden()
    place.judge = True
    place.settings = {"mysql": {"deadline": 5}}
    assert place.build().error is None
    with closing(place.warehouse()) as opened:
        opened.prepare()
        assert opened.loaders == loaders


def test_a_user_of_too_few_connections_is_reported_before_anything_is_read(
    place: Place, mariadb: SqlServer, name: str
) -> None:
    place.target = mariadb.make_database(name, limits="WITH MAX_USER_CONNECTIONS 2")
    place.put_golden()
    report = place.build()
    assert report.error
    assert (report.outcome, report.exit_code, report.drops) == ("failed", 2, ())
    assert "MAX_USER_CONNECTIONS of the user is 2" in report.error.what
    assert "mysql.loaders (2)" in report.error.hint
    assert "the minimum is 3" in report.error.hint


def test_when_others_have_all_connections_of_our_user_mysql_loaders_is_named(
    place: Place, mariadb: SqlServer, name: str
) -> None:
    place.target = mariadb.make_database(name, limits="WITH MAX_USER_CONNECTIONS 3")
    place.put_golden()
    place.settings = {"mysql": {"deadline": 1}}
    with closing(place.warehouse()), closing(place.warehouse()):
        report = place.build()
    assert report.error
    assert "no connection left" in report.error.what
    assert "mysql.loaders" in report.error.hint


@pytest.mark.mysql
def test_rows_are_sent_in_statements_that_the_server_takes(fed: Place, mariadb: SqlServer) -> None:
    """A packet of 1 MiB, 3,000 people with addresses of 900 letters, and the report of a run that brings 300 drops."""
    address = "Ünter den Linden " * 55
    fed.put("customers/customers.csv", HEAD + "".join(f"{n},A,No{n},{address},,,\n" for n in range(1, 3001)))
    rows = [line(f"X{n}", customer=n, day="2024-01-05", price="1.00") for n in range(1, 3001)]
    for start in range(0, 3000, 10):
        fed.put(f"sales/{'long' * 20}/{start}.csv", sales(*rows[start : start + 10]))
    with set_globals(mariadb, max_allowed_packet=1 << 20, local_infile=0):
        assert fed.build().error is None
        with closing(fed.warehouse()) as opened:
            assert opened.execute("SELECT COUNT(DISTINCT customer_id) FROM customers_data_mart") == [(3000,)]
            assert len(opened.drops()) > 300


def test_a_statement_that_no_packet_holds_is_reported_with_the_servers_setting(fed: Place, mariadb: SqlServer) -> None:
    with set_globals(mariadb, max_allowed_packet=1 << 20), closing(fed.warehouse()) as opened:
        with pytest.raises(ServiceError) as caught:
            opened.execute("SELECT LENGTH(%s)", ["x" * (3 << 20)])
        assert "max_allowed_packet" in caught.value.hint
        assert opened.execute("SELECT 1") == [(1,)]


def test_a_binary_log_of_statements_and_read_committed_are_no_obstacle(place: Place, tmp_path: Path) -> None:
    """Old replicas have it so: InnoDB refuses writes unless the session asks for REPEATABLE READ."""
    more = ["--log-bin=bin", "--binlog-format=STATEMENT", "--server-id=1", "--transaction-isolation=READ-COMMITTED"]
    folder = tmp_path / "b"
    server, daemon = sql_server(folder, more)
    daemon.start()
    try:
        place.target = server.make_database("bin")
        place.put_golden()
        assert place.build().error is None
        assert sums(place) == GOLDEN_SUMS
    finally:
        daemon.kill()


def test_rights_that_are_missing_are_named(place: Place, mariadb: SqlServer, name: str) -> None:
    place.target = mariadb.make_database(name)
    mariadb.run(f"REVOKE CREATE VIEW ON `{name}`.* FROM '{name}'@'%'")
    place.put_golden()
    report = place.build()
    assert report.error
    assert "CREATE VIEW" in report.error.hint
    assert "the server is up" not in report.error.hint


def test_the_golden_input_is_what_the_sums_are_of() -> None:
    assert (GOLDEN / "golden_input.csv").is_file()
    assert GOLDEN_SUMS[0] > 0


def test_doctor_reports_a_target_of_few_connections(place: Place, mariadb: SqlServer, name: str) -> None:
    uri = mariadb.make_database(name, limits="WITH MAX_USER_CONNECTIONS 3")
    place.target = uri
    with closing(place.warehouse()) as opened:
        assert isinstance(opened, MySQLWarehouse)
        rows = {what: text for what, _, text in opened.diagnose()}
    assert rows["connections"] == "3 for this user; parallel loaders (mysql.loaders): 1"
    mariadb.run(f"ALTER USER '{name}'@'%' WITH MAX_USER_CONNECTIONS 2")
    with closing(place.warehouse()) as opened, pytest.raises(UsageError, match="too few for a build"):
        opened.diagnose()
