"""What is live, what was live before, and who may change it: on both targets."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.kit import Once, Place, line, marts, sales
from support.retail import MARTS, RETAIL
from support.servers import MariaDB

from jobs.adapters.store.open import open_store
from jobs.adapters.warehouse.sql_ledger import SqlLedger
from jobs.adapters.warehouse.sql_tables import TABLES
from jobs.config.settings import S3, MySQL
from jobs.ports.records import Decision, Rollback, RunRecord
from jobs.state.parquet import read_parquet
from marts.errors import Fenced, ServiceError, StateDamaged, Stopped, UsageError

BY = Rollback("rollback-1", "2024-05-01T00:00:00", "Zoë", "wrong prices")
RUNNING = RunRecord("run-x", "2024-05-01T00:00:00", "2024-05-01T00:00:00", "2024-03-31", "running", 0, "", "{}")


@pytest.fixture(params=["duckdb", "mariadb"])
def fed(place: Place, once: Once, request: pytest.FixtureRequest) -> Place:
    """A place with the golden drops, built once."""
    if request.param == "mariadb":
        server: MariaDB = request.getfixturevalue("mariadb")
        place.target = server.make_database(f"p{abs(hash(request.node.name)) % 10**12}")
    once(Place.publish_golden, place)
    return place


@pytest.fixture
def in_mariadb(place: Place, mariadb: MariaDB, request: pytest.FixtureRequest) -> Place:
    """The same, in MariaDB: a DuckDB file is its own lock."""
    place.target = mariadb.make_database(f"q{abs(hash(request.node.name)) % 10**12}")
    place.put_golden()
    place.build()
    return place


@pytest.fixture
def warehouse(fed: Place) -> Iterator[Any]:
    opened = fed.warehouse()
    yield opened
    opened.close()


def add_drop(place: Place, number: int) -> None:
    place.put(f"sales/{number}.csv", sales(line(f"N{number}", day="2024-02-03", quantity=number + 1)))


def go_back(place: Place, by: Rollback = BY) -> None:
    opened = place.warehouse()
    opened.rollback(by)
    opened.close()


@pytest.mark.mysql
def test_going_back_makes_both_marts_what_they_were_and_going_back_again_goes_forward(fed: Place) -> None:
    first = fed.marts()
    add_drop(fed, 1)
    fed.build()
    second = fed.marts()
    assert second["customers"] != first["customers"]
    assert second["sales_team"] != first["sales_team"]
    go_back(fed)
    assert fed.marts() == first
    go_back(fed, replace(BY, run_id="rollback-2"))
    assert fed.marts() == second


def test_going_back_past_a_run_that_changed_one_mart_brings_that_one_back(fed: Place) -> None:
    first = fed.marts()
    add_drop(fed, 1)
    fed.settings["mart"] = "customers"
    assert [(mart.name, mart.changed) for mart in fed.build().marts] == [("customers", True)]
    go_back(fed)
    assert fed.marts() == first


def test_the_rows_of_the_live_publication_and_of_the_one_before_are_there(fed: Place) -> None:
    for number in range(4):
        add_drop(fed, number)
        fed.build()
    opened = fed.warehouse()
    own = {"customers": "customers_data_mart", "sales_team": "sales_team_data_mart"}  # others exchange few rows
    generations = [number for number, item in opened.generations().items() if item.mart in own]
    last = [mart for publication in opened.publications(2) for mart in publication]
    published = {mart.generation for mart in last if mart.mart in own}
    assert len(published) == 4
    assert len(generations) == 10
    if fed.target:
        tables = [f"{table}_rows" for table in own.values()]
        stored = {n for table in tables for (n,) in opened.execute(f"SELECT DISTINCT generation FROM {table}")}
    else:
        names = [name for (name,) in opened.execute("SELECT table_name FROM duckdb_tables()")]
        parts = [name.rpartition("_g") for name in names]
        stored = {int(number) for table, _, number in parts if table in own.values()}
    assert stored == published
    opened.close()


def test_a_rollback_without_an_older_publication_is_refused(fed: Place, warehouse: Any) -> None:
    before = fed.marts() if fed.target else None
    with pytest.raises(UsageError, match="no earlier publication"):
        warehouse.rollback(BY)
    if before:
        assert fed.marts() == before


def test_after_going_back_the_same_drops_publish_nothing_even_on_another_day(fed: Place) -> None:
    first = fed.marts()
    add_drop(fed, 1)
    fed.build()
    go_back(fed)
    report = fed.build(as_of=date(2024, 4, 1))
    assert (report.outcome, report.exit_code) == ("unchanged", 0)
    assert report.held_back.startswith("Zoë rolled back to run run-1 on 2024-05-01T00:00:00 UTC")
    assert fed.marts() == first
    (fed.source / "sales/1.csv").unlink()
    add_drop(fed, 2)
    assert fed.build().outcome == "published"


def test_after_going_back_another_policy_or_a_rebuild_publishes(fed: Place) -> None:
    add_drop(fed, 1)
    fed.build()
    second = fed.marts()
    go_back(fed)
    assert fed.build(rebuild=True).outcome == "published"
    assert fed.marts() == second
    go_back(fed, replace(BY, run_id="rollback-2"))
    assert fed.build().outcome == "unchanged"
    fed.policy = fed.policy.model_copy(update={"own": (("inactive_after_days", 1),)})
    assert fed.build().outcome == "published"


def test_after_going_back_a_withdrawn_drop_lets_later_days_publish(fed: Place) -> None:
    add_drop(fed, 1)
    fed.build()
    go_back(fed)
    (fed.source / "sales/1.csv").unlink()
    assert fed.build().outcome == "unchanged"
    assert fed.build(as_of=date(2024, 4, 2)).outcome == "published"


def test_after_going_back_a_drop_that_counts_for_nothing_publishes_nothing(fed: Place) -> None:
    first = fed.marts()
    add_drop(fed, 1)
    fed.build()
    go_back(fed)
    fed.put("sales/empty.csv", "")
    assert fed.build().held_back
    for day in range(2, 8):
        assert fed.build(as_of=date(2024, 4, day)).outcome == "unchanged"
    assert fed.marts() == first


def test_after_going_back_and_forward_again_days_go_on(fed: Place) -> None:
    add_drop(fed, 1)
    fed.build()
    go_back(fed)
    go_back(fed, replace(BY, run_id="rollback-2"))
    report = fed.build(as_of=date(2024, 4, 2))
    assert (report.outcome, report.held_back) == ("published", "")


def test_after_going_back_a_mart_that_was_never_built_is_built(place: Place) -> None:
    place.put_golden()
    place.settings["mart"] = "customers"
    place.build()
    add_drop(place, 1)
    place.build()
    go_back(place)
    place.settings["mart"] = "sales_team"
    report = place.build()
    assert (report.outcome, [mart.name for mart in report.marts]) == ("published", ["sales_team"])


def test_history_reports_when_a_drop_arrived_and_the_outcome_of_each_version(fed: Place, warehouse: Any) -> None:
    if not fed.target:
        warehouse.close()
    add_drop(fed, 1)
    fed.build()
    add_drop(fed, 1)
    fed.put("sales/copy.csv", (fed.source / "sales/golden.csv").read_bytes())
    fed.build()
    (fed.source / "sales/1.csv").unlink()
    fed.build()
    opened = fed.warehouse()
    events = opened.history("1.csv", 10)
    assert [(e.run_id, e.state, e.reason, e.rows_read) for e in events] == [
        ("run-4", "withdrawn", "it vanished from the source", 1),
        ("run-3", "live", "", 1),
        ("run-3", "withdrawn", "a new version replaced it", 1),
        ("run-2", "live", "", 1),
    ]
    assert len({e.delivery_id for e in events}) == 2
    assert all(len(e.content) > 10 and e.etag and e.modified for e in events)
    (copy,) = opened.history("copy.csv", 10)
    assert (copy.state, copy.reason) == ("duplicate", "same content as sales/golden.csv")
    assert len(opened.history("", 3)) == 3
    opened.close()


def test_a_run_remembers_what_it_was_made_with(fed: Place, warehouse: Any) -> None:
    (run,) = warehouse.runs(10)
    assert (run.outcome, run.policy) == ("published", fed.policy.digest())
    assert run.version
    assert set(json.loads(run.report)["seconds"]) >= {"plan", "scan", "roll up", "materialize", "load"}


def test_a_killed_run_is_reported_by_the_next(fed: Place, warehouse: Any) -> None:
    warehouse.begin(RUNNING)
    assert warehouse.runs(1)[0].outcome == "running"
    if not fed.target:
        warehouse.close()
    fed.build()
    opened = fed.warehouse()
    endings = {run.run_id: (run.outcome, run.error) for run in opened.runs(10)}
    assert endings["run-x"] == ("killed", "it ended unexpectedly")
    opened.close()


@pytest.mark.mysql
def test_a_run_that_lost_the_right_to_publish_changes_nothing(fed: Place, warehouse: Any) -> None:
    warehouse.begin(RUNNING)
    warehouse.begin(replace(RUNNING, run_id="run-y"))
    before = (warehouse.live(), warehouse.drops(), warehouse.publications(5))
    with pytest.raises(Fenced, match="run-y has taken over"):
        warehouse.publish([], [replace(warehouse.drops()[0], state="held")], replace(RUNNING, outcome="published"))
    assert (warehouse.live(), warehouse.drops(), warehouse.publications(5)) == before
    warehouse.publish([], [], replace(RUNNING, run_id="run-y", outcome="unchanged"))


@pytest.mark.mysql
def test_going_back_fences_a_build_that_is_under_way(fed: Place) -> None:
    add_drop(fed, 1)
    fed.build()
    add_drop(fed, 2)
    opened = fed.warehouse()
    run = replace(RUNNING, run_id="run-z")
    opened.begin(run)
    opened.rollback(BY)
    with pytest.raises(Fenced, match="rollback-1 has taken over"):
        opened.publish([], [], replace(run, outcome="published"))
    opened.close()


@pytest.mark.parametrize("error", [Stopped("SIGTERM"), ServiceError("the answer was lost")])
def test_what_fails_after_the_commit_does_not_make_a_run_a_failure(
    fed: Place, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = SqlLedger.publish

    def then_fail(self: SqlLedger, *arguments: Any) -> None:
        publish(self, *arguments)
        raise error

    monkeypatch.setattr(SqlLedger, "publish", then_fail)
    add_drop(fed, 1)
    report = fed.build()
    assert (report.outcome, report.exit_code) == ("published", 0)
    assert "after it was published" in report.warnings[-1]
    opened = fed.warehouse()
    assert opened.runs(1)[0].outcome == "published"
    opened.close()


@pytest.mark.mysql
def test_a_build_that_stood_still_removes_nothing_of_what_is_live_by_now(in_mariadb: Place) -> None:
    add_drop(in_mariadb, 1)
    late = in_mariadb.warehouse()
    late.begin(RUNNING)
    in_mariadb.build()
    live = in_mariadb.marts()
    with pytest.raises(Fenced):
        late._delete_some(MARTS["customers"], late.live()["customers"].generation, "run-x")
    with pytest.raises(Fenced):
        late._delete_some(MARTS["customers"], 1000, "run-x")
    late.begin(replace(RUNNING, run_id="run-y"))
    assert late._delete_some(MARTS["customers"], late.live()["customers"].generation, "run-y") == 0
    assert in_mariadb.marts() == live
    late.close()


def test_old_rows_that_cannot_be_removed_fail_nothing(fed: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def sometimes(self: Any, run_id: str) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise ServiceError("locked")

    add_drop(fed, 1)
    opened = fed.warehouse()
    monkeypatch.setattr(type(opened), "clean_up", sometimes)
    opened.close()
    report = fed.build()
    assert (report.outcome, report.exit_code) == ("published", 0)
    assert report.warnings[-1] == "old rows are left for the next build: locked"


def test_a_ledger_of_an_older_version_gets_what_it_lacks(fed: Place, warehouse: Any) -> None:
    for table in ("marts_history", "marts_publications", "marts_epoch"):
        warehouse.execute(f"DROP TABLE {table}")
    columns = (("marts_drops", "content"), ("marts_drops", "first_day"), ("marts_drops", "last_day"))
    for table, column in (*columns, ("marts_runs", "policy"), ("marts_runs", "version")):
        warehouse.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    assert warehouse.runs(1)[0].policy == ""
    assert warehouse.publications(2) == []
    if not fed.target:
        warehouse.close()
    assert fed.build().outcome == "unchanged"
    add_drop(fed, 1)
    assert fed.build().outcome == "published"
    opened = fed.warehouse()
    assert {mart.mart for mart in opened.publications(1)[0]} == {*MARTS}
    opened.close()


def test_a_ledger_of_an_unreadable_version_is_reported(fed: Place, warehouse: Any) -> None:
    warehouse.execute("ALTER TABLE marts_drops DROP COLUMN modified")
    with pytest.raises(UsageError, match="marts_drops is of another version"):
        warehouse.drops()


@pytest.mark.mysql
def test_an_old_copy_of_the_target_is_healed_by_one_build(fed: Place, tmp_path: Path) -> None:
    """As after restoring a dump: the state and the source are ahead of the database."""
    opened = fed.warehouse()
    tables = [*TABLES, "marts_numbers", "customers_data_mart_rows", "sales_team_data_mart_rows"] if fed.target else []
    for table in tables:
        opened.execute(f"CREATE TABLE old_{table} AS SELECT * FROM {table}")
    opened.close()
    old = (tmp_path / "marts.duckdb").read_bytes() if not fed.target else b""
    for number in (1, 2):
        add_drop(fed, number)
        fed.build()
    newest = fed.marts()
    opened = fed.warehouse()
    for table in tables:
        opened.execute(f"DELETE FROM {table}")
        opened.execute(f"INSERT INTO {table} SELECT * FROM old_{table}")
    opened.close()
    if old:
        (tmp_path / "marts.duckdb").write_bytes(old)
    assert fed.marts() != newest
    report = fed.build()
    assert (report.outcome, report.totals.scanned) == ("published", 0)
    assert fed.marts() == newest
    assert fed.build().outcome == "unchanged"


@pytest.mark.parametrize(
    ("folder", "content"),
    [
        ("lines", b""),
        ("lines", b"PAR1 nothing like it"),
        ("lines", None),
        ("dimensions", None),
        ("facts", b"PAR1 nothing like it"),
        ("marts", b""),
    ],
)
def test_a_damaged_file_of_the_state_is_made_again(
    place: Place, once: Once, folder: str, content: bytes | None
) -> None:
    once(Place.publish_golden, place)
    before = place.marts()
    for path in sorted((place.folder / "state" / folder).rglob("*.parquet")):
        if content is None:
            path.write_bytes(path.read_bytes()[:-20])
        else:
            path.write_bytes(content)
    add_drop(place, 1)
    place.policy = place.policy.model_copy(update={"own": (("inactive_after_days", 1),)})
    assert place.build().error is None
    (place.source / "sales/1.csv").unlink()
    place.policy = place.policy.model_copy(update={"own": (("inactive_after_days", 90),)})
    assert place.build().error is None
    assert place.marts() == before


@pytest.mark.parametrize("name", ["done.json", "repairs"])
def test_a_damaged_note_of_the_state_is_made_again(place: Place, name: str) -> None:
    place.put_golden()
    place.put("sales/bad.csv", sales(line("B1", day="never"), *(line(f"B{n}") for n in range(2, 80))))
    place.build()
    opened = place.warehouse()
    (drop,) = [record for record in opened.drops() if record.object_key == "sales/bad.csv"]
    detail = json.dumps({"2": line("B1", day="2024-02-03")})
    opened.decide(Decision("1", "2024", "me", "repair", "sales", drop.object_key, drop.delivery_id, "", detail))
    opened.close()
    place.build()
    before = place.marts()
    for content in (b"", b"{}", b"[1]"):
        paths = [path for path in (place.folder / "state").rglob("*.json") if name in path.as_posix()]
        assert paths
        for path in paths:
            path.write_bytes(content)
        assert place.build().error is None
        assert place.marts() == before


def test_flipped_bits_in_rows_of_the_state_are_detected(place: Place) -> None:
    place.put_golden()
    place.build()
    pick = random.Random(1)
    differences = 0
    for path in sorted((place.folder / "state").rglob("*.parquet"))[:8]:
        key, whole = path.relative_to(place.folder / "state").as_posix(), path.read_bytes()
        store = open_store(str(place.folder / "state"), S3())
        rows = read_parquet(store, key)
        rows_end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        for _ in range(60):
            data = bytearray(whole)
            data[pick.randrange(rows_end)] ^= 1 << pick.randrange(8)
            path.write_bytes(data)
            try:
                differences += not read_parquet(store, key).equals(rows)
            except StateDamaged:
                continue
        path.write_bytes(whole)
    assert differences <= 2  # the headers of pages have no checksum


def files(place: Place) -> set[str]:
    root = place.folder / "state"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def flags_of(place: Place) -> list[str]:
    policy = place.folder / "policy.toml"
    policy.write_text("max_unknown_ratio = 0.2\n")
    return [*place.flags, "--policy", str(policy)]


def test_vacuum_leaves_what_a_build_from_scratch_would_make(fed: Place) -> None:
    add_drop(fed, 1)
    fed.build()
    fed.put("sales/bad.csv", sales(line("B1"), *(line(f"N{n}", day="never") for n in range(6)), line("B3")))
    fed.build(policy=fed.policy.model_copy(update={"max_bad_ratio": 1}))
    (fed.source / "sales/1.csv").unlink()
    fed.build()
    (fed.folder / "state/keys/sales").mkdir(parents=True)
    (fed.folder / "state/keys/sales/left.parquet").write_bytes(b"x")
    (fed.folder / "state/lines/.part.77.tmp").write_bytes(b"x")
    (fed.folder / "state/notes.txt").write_text("not ours")
    before = files(fed)
    preview = json.loads(marts("vacuum", *flags_of(fed), "--dry-run", "--json").stdout)
    assert files(fed) == before
    removed = json.loads(marts("vacuum", *flags_of(fed), "--json").stdout)
    assert removed["removed"] == preview["removed"]
    after = files(fed)
    assert {row["folder"] for row in removed["removed"]} >= {"lines", "facts", "keys", "marts"}
    assert not {key for key in after if "/keys/" in key or key.endswith(".tmp")}
    assert "notes.txt" in after
    report = fed.build()
    assert (report.outcome, report.totals.scanned, report.months_rolled_up) == ("unchanged", 0, ())
    assert files(fed) == after
    assert "nothing to remove" in marts("vacuum", *flags_of(fed)).stdout
    go_back(fed)
    assert fed.build(rebuild=True).outcome == "published"


def test_vacuum_waits_for_a_build_that_runs(in_mariadb: Place) -> None:
    opened = in_mariadb.warehouse()
    (in_mariadb.folder / "marts.toml").write_text("lock_timeout = 0\n")
    with opened.lock(0):
        result = marts("vacuum", *flags_of(in_mariadb), "--config", str(in_mariadb.folder / "marts.toml"), code=75)
    assert "another build holds the lock" in str(result.exception)
    opened.close()


@pytest.mark.mysql
def test_rollback_status_and_history_as_people_type_them(fed: Place) -> None:
    add_drop(fed, 1)
    fed.build()
    target = ["--target", fed.address]
    rolled_back = json.loads(marts("rollback", *target, "--why", "wrong prices", "--who", "Zoë", "--json").stdout)
    assert {(entry["mart"], entry["run_id"]) for entry in rolled_back} == {(name, "run-1") for name in MARTS}
    status = marts("status", *target).stdout
    assert "Zoë rolled back: wrong prices. marts rollback makes the previous publication live again" in status
    listed = [text.split()[0] for text in status.splitlines()[2 : 2 + 2 * len(MARTS)]]
    assert listed == ["live"] * len(MARTS) + ["previous"] * len(MARTS)
    status_report = json.loads(marts("status", *target, "--json").stdout)
    assert status_report["live"]["customers"]["run_id"] == "run-1"
    assert len(status_report["publications"]) == 2
    assert "live again" in marts("rollback", *target).stdout
    assert "sales/1.csv" in marts("history", "1.csv", *target).stdout
    assert {event["object_key"] for event in json.loads(marts("history", *target, "--json").stdout)["drops"]} > {
        "sales/1.csv",
        "sales/golden.csv",
    }
    assert "no run has processed" in str(marts("history", "nothing.csv", *target, code=2).exception)


@pytest.mark.mysql
def test_a_second_build_reports_which_run_it_waited_for(in_mariadb: Place) -> None:
    opened = in_mariadb.warehouse()
    in_mariadb.settings = {"lock_timeout": 0}
    with opened.lock(0):
        opened.begin(RUNNING)
        report = in_mariadb.build()
    assert report.error
    assert (report.exit_code, report.error.what) == (
        75,
        "another build holds the lock: run run-x, since 2024-05-01T00:00:00 UTC",
    )
    opened.close()


@pytest.mark.mysql
def test_a_frozen_build_loses_its_lock_after_its_lease(in_mariadb: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.adapters.warehouse.mysql import MySQLWarehouse
    from jobs.adapters.warehouse.mysql_session import Session

    frozen = MySQLWarehouse(in_mariadb.target, MySQL(lease=3), RETAIL)
    monkeypatch.setattr(Session, "_beat", lambda *_: None)  # as if the process stood still
    other = MySQLWarehouse(in_mariadb.target, MySQL(), RETAIL)
    with frozen.lock(0), other.lock(20):
        other.begin(replace(RUNNING, run_id="run-y"))
        with pytest.raises(Fenced):
            frozen.publish([], [], replace(RUNNING, outcome="published"))
    frozen.close()
    other.close()


@pytest.mark.mysql
def test_a_reader_in_a_long_transaction_holds_up_nobody_and_sees_one_moment(
    in_mariadb: Place, mariadb: MariaDB
) -> None:
    """A BI tool may leave a transaction open for hours: no build waits for it, and it waits for no build."""
    name = in_mariadb.target.rpartition("/")[2]
    reader = mariadb.connect(name)
    query = "SELECT COUNT(*), SUM(total_sales) FROM customers_data_mart"
    with reader.cursor() as cursor:
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        cursor.execute(query)
        seen = cursor.fetchall()
        in_mariadb.settings = {"mysql": {"read_timeout": 5, "deadline": 5}}
        for number in range(4):
            add_drop(in_mariadb, number)
            assert in_mariadb.build().outcome == "published"
        go_back(in_mariadb)
        cursor.execute(query)
        assert cursor.fetchall() == seen
        cursor.execute("COMMIT")
        cursor.execute(query)
        assert cursor.fetchall() != seen
    reader.close()
