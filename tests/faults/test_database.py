"""Each COMMIT lost, connections cut anywhere, a server that stands still; and naive loaders that do not survive it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import mysql.connector
import pytest
from support.kit import Once, Place, line, sales
from support.retail import CUSTOMERS_MART, RETAIL
from support.servers import PASSWORD, MariaDB

from faults import proxy
from faults.effort import some
from faults.proxy import Fault, Proxy
from jobs.adapters.warehouse.mysql import MySQLWarehouse
from jobs.adapters.warehouse.mysql_session import Session
from jobs.config.settings import MySQL
from jobs.ports.records import Rollback, RunRecord, Staged
from marts.errors import Fenced, OutcomeUnknown, ServiceError, Transient

RUNNING = RunRecord("run-x", "2024-05-01T00:00:00", "2024-05-01T00:00:00", "2024-03-31", "running", 0, "", "{}")
QUICK: dict[str, Any] = {"connect_timeout": 2, "read_timeout": 2, "deadline": 15}


@pytest.fixture
def through(mariadb: MariaDB) -> Iterator[Proxy]:
    fault_proxy = Proxy(mariadb.port, tls=mariadb.kind == "mysql")
    yield fault_proxy
    fault_proxy.close()


@pytest.fixture
def fed(place: Place, mariadb: MariaDB, through: Proxy, request: pytest.FixtureRequest) -> Place:
    """A place whose target is behind the proxy, built once; then a drop came."""
    target = mariadb.make_database(f"f{abs(hash(request.node.name)) % 10**12}")
    place.target = target.replace(f":{mariadb.port}/", f":{through.port}/")
    place.settings = {"mysql": QUICK, "limits": {"finish_rows": 4}}
    place.put_golden()
    assert place.build().outcome == "published"
    put_new(place)
    return place


@pytest.fixture
def wanted(once: Once, tmp_path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What the marts must be, by a build of all drops into another target."""
    other = Place(tmp_path / "other")
    once(everything, other)
    return other.marts()


def everything(place: Place) -> None:
    place.put_golden()
    put_new(place)
    assert place.build().error is None


def put_new(place: Place) -> None:
    place.put("sales/new.csv", sales(line("N1", day="2024-02-03"), line("N2", customer=2)))


def publications(place: Place) -> int:
    opened = place.warehouse()
    try:
        return len(opened.publications(100))
    finally:
        opened.close()


@pytest.mark.mysql
@pytest.mark.parametrize("number", some(range(9)))
@pytest.mark.parametrize("make", [proxy.commit_not_sent, proxy.commit_not_answered])
def test_any_commit_may_be_lost_on_its_way_or_unanswered(
    fed: Place, wanted: Any, through: Proxy, make: Callable[[int], Fault], number: int
) -> None:
    through.fault = make(number)
    report = fed.build()
    struck, through.fault = through.fault.struck, None
    assert (report.error, report.outcome) == (None, "published")
    assert struck == (number < 8)
    assert fed.marts() == wanted
    assert publications(fed) == 2
    assert fed.build().outcome == "unchanged"


@pytest.mark.mysql
@pytest.mark.parametrize("sent", [True, False])
def test_a_database_that_never_answers_the_commit_ends_without_a_guess(
    fed: Place, wanted: Any, through: Proxy, mariadb: MariaDB, sent: bool
) -> None:
    """The server is gone from the COMMIT on: nobody knows; the next run reads the ledger and goes on."""
    inner = proxy.publish_not_answered(sent)

    def request(fault: Fault, data: bytes) -> None:
        if fault.struck:
            raise proxy.Cut
        assert inner.request
        try:
            inner.request(inner, data)
        except proxy.Cut:
            fault.struck = 1
            raise

    def response(fault: Fault, data: bytes) -> None:
        assert inner.response
        try:
            inner.response(inner, data)
        except proxy.Cut:
            fault.struck = 1
        if fault.struck:
            raise proxy.Cut

    fed.settings["mysql"] = {**QUICK, "deadline": 1}
    through.fault = Fault("gone", request=request, response=response)
    report = fed.build()
    through.fault = None
    assert report.error
    assert (report.outcome, report.exit_code) == ("unknown", 69)
    assert "marts status" in report.error.hint
    done = fed.build()
    assert done.outcome == ("unchanged" if sent else "published")
    assert fed.marts() == wanted
    assert publications(fed) == 2


@pytest.mark.parametrize("at", some([0, 1, 5, 40, 300, 1000, 2500, 5000, 9000, 14_000, 20_000, 27_000, 35_000, 44_000]))
def test_a_connection_may_be_cut_anywhere(fed: Place, wanted: Any, through: Proxy, at: int) -> None:
    through.fault = proxy.cut_after(at)
    report = fed.build()
    through.fault = None
    assert (report.error, report.outcome) == (None, "published")
    assert fed.marts() == wanted
    assert publications(fed) == 2


def test_going_back_survives_a_lost_answer_too(fed: Place, through: Proxy) -> None:
    before = fed.marts()
    fed.build()
    opened = fed.warehouse()
    through.fault = proxy.publish_not_answered(True)
    opened.rollback(Rollback("rollback-1", "2024-05-01T00:00:00", "me", "why"))
    assert through.fault.struck
    through.fault = None
    opened.close()
    assert fed.marts() == before
    assert publications(fed) == 3


def test_a_server_that_stands_still_is_a_clean_failure_within_the_deadline(fed: Place, through: Proxy) -> None:
    before = fed.marts()
    fed.settings["mysql"] = {**QUICK, "deadline": 4}
    through.fault = proxy.stall(60, 9000)
    through.fault.times = 10**6
    started = time.monotonic()
    report = fed.build()
    seconds = time.monotonic() - started
    through.fault = None
    through.cut_all()
    assert report.error
    assert report.exit_code == 69
    assert "does not answer" in report.error.what
    assert seconds < 25
    assert fed.marts() == before
    assert fed.build().outcome == "published"


@pytest.mark.mysql
@pytest.mark.parametrize("number", some(range(16)))
def test_a_publish_that_stands_still_at_any_statement_is_fenced_off(
    fed: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Its session ends, another build begins; then it goes on, on whatever connection it gets."""
    late, other = fed.warehouse(), fed.warehouse()
    late.begin(RUNNING)
    generation = late.stage(CUSTOMERS_MART)
    before = late.live()
    original, seen = Session._once, []

    def once(self: Session, statement: str, values: Any = ()) -> Any:
        if self is late._session and len(seen) <= number:  # type: ignore[attr-defined]
            seen.append(statement)
            if len(seen) == number + 1:
                with contextlib.suppress(ServiceError):
                    other.execute(f"KILL {self._database.connection_id:d}")
                self._used -= 1000
                other.begin(replace(RUNNING, run_id="run-y"))
        return original(self, statement, values)

    drops = late.drops()
    monkeypatch.setattr(Session, "_once", once)
    staged = [Staged(CUSTOMERS_MART, generation, "made from", 0, "inputs")]
    done = replace(RUNNING, outcome="published")
    try:
        late.publish(staged, drops, done)
    except Fenced:
        assert other.live() == before
        assert {run.run_id: run.outcome for run in other.runs(3)}["run-x"] == "killed"
    else:
        assert seen[-1] == "COMMIT"
        assert len(seen) <= number
        assert other.live()["customers"].generation == generation
    late.close()
    other.close()


@pytest.mark.mysql
def test_a_lock_is_never_held_by_another_connection_than_it_was_taken_by(fed: Place) -> None:
    frozen = MySQLWarehouse(fed.target, MySQL(lease=3), RETAIL)
    with frozen.lock(0):
        name = frozen.lock_name
        for _ in range(5):
            time.sleep(0.9)
            ((free,),) = frozen.execute("SELECT IS_FREE_LOCK(%s)", [name])
            assert free == 0
    frozen.close()


@pytest.mark.mysql
def test_views_that_a_killed_build_has_left_are_removed(fed: Place) -> None:
    opened = fed.warehouse()
    opened.begin(RUNNING)
    generation = opened.stage(CUSTOMERS_MART)
    staged = Staged(CUSTOMERS_MART, generation, "", 0, "")
    with contextlib.suppress(ServiceError), opened.staged(staged) as name:
        assert opened.execute(f"SELECT COUNT(*) FROM {name}") == [(0,)]
        opened.clean_up("run-x")
        assert not opened.execute("SHOW TABLES LIKE '%staged%'")
    opened.close()


def test_a_refused_user_is_tried_once(mariadb: MariaDB, through: Proxy) -> None:
    seen: list[bytes] = []
    through.fault = Fault("look", request=lambda _, data: seen.append(data))
    mariadb.make_database("refused")
    with pytest.raises(ServiceError, match="denies access") as caught:
        MySQLWarehouse(f"mysql://refused:wrong@127.0.0.1:{through.port}/refused", MySQL(**QUICK), RETAIL)
    assert not isinstance(caught.value, Transient)
    assert len([data for data in seen if b"refused" in data]) == 1


def test_a_lost_commit_that_cannot_be_asked_for_is_an_error_of_its_own() -> None:
    assert not issubclass(OutcomeUnknown, Transient)


def test_a_control_that_appends_and_retries_doubles_rows(mariadb: MariaDB, through: Proxy) -> None:
    """The harness must see what it looks for: a loader as they are usually written, through the same proxy."""
    name = "control"
    mariadb.make_database(name)
    rows = [(number, Decimal(number)) for number in range(1000)]
    direct = mariadb.connect(name)
    with direct.cursor() as cursor:
        cursor.execute("CREATE TABLE mart (id INT, total DECIMAL(18,2)) ENGINE=InnoDB")
    through.fault = proxy.commit_not_answered(0)
    for _ in range(3):
        try:
            connection = mysql.connector.connect(
                host="127.0.0.1", port=through.port, user=name, password=PASSWORD, database=name, use_pure=True
            )
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO mart VALUES (%s, %s)", rows)
            connection.commit()
            break
        except mysql.connector.Error:
            continue
    with direct.cursor() as cursor:
        cursor.execute("SELECT COUNT(*), COUNT(DISTINCT id) FROM mart")
        assert cursor.fetchall() == [(2000, 1000)]
    direct.close()


def test_a_control_that_empties_and_fills_shows_readers_a_torn_mart(mariadb: MariaDB) -> None:
    mariadb.make_database("torn")
    writer, reader = mariadb.connect("torn"), mariadb.connect("torn")
    rows = [(number,) for number in range(300)]
    with writer.cursor() as cursor:
        cursor.execute("CREATE TABLE mart (id INT) ENGINE=InnoDB")
        cursor.executemany("INSERT INTO mart VALUES (%s)", rows)
    ended = threading.Event()

    def reload() -> None:
        with writer.cursor() as cursor:
            for _ in range(5):
                cursor.execute("DELETE FROM mart")
                for row in rows:
                    cursor.execute("INSERT INTO mart VALUES (%s)", row)
        ended.set()

    thread = threading.Thread(target=reload)
    thread.start()
    seen = set()
    while not ended.is_set():
        with reader.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM mart")
            seen.add(cursor.fetchall()[0][0])
    thread.join()
    assert len(seen - {300}) > 0
    writer.close()
    reader.close()
