"""Every failure gives exactly one notice, with its cause and what to do; a mail server may be down at first."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.kit import Place, line, marts, sales, seal
from support.post import MAIL_PASSWORD, Hook, MailServer
from support.servers import MariaDB, S3Server, sql_server

from jobs.adapters.notify import ping
from jobs.adapters.store.open import open_store
from jobs.adapters.warehouse.duckdb import DuckDBWarehouse
from jobs.cli.progress import voice
from jobs.config.settings import Log
from jobs.ports.notices import LEASE, Notice
from jobs.report.delivery import deliver, files_of
from marts.errors import MartsError, ServiceError, Stopped, Transient

BAD = sales(*(line(f"T{n}", quantity=0, total="0.00") for n in range(5)), line("T9"))
"""A drop of which too many rows are bad: it is held."""


@pytest.fixture
def notified_place(place: Place, hook: Hook) -> Place:
    """A place whose builds notify a hook."""
    place.put_golden()
    place.settings = {"notify": {"to": {"ops": hook.address}, "deadline": 0.3}}
    return place


def no_files(_: str) -> bytes:
    raise AssertionError("these notices have no files")


def reports_everything(text: str, *words: str) -> None:
    for word in (*words, "Safe:", "Do:", "Report:", "Run:"):
        assert word in text, text


def test_a_wrong_s3_key_gives_one_notice_and_then_that_builds_work_again(
    place: Place, s3_server: S3Server, mail: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By mail, with STARTTLS and login; the address and the key are sealed."""
    place.put_golden()
    s3_server.upload(place.source, s3_server.make_bucket("wrong-key"), "drops")
    for name, value in seal(tmp_path, {"notify.to.mail": mail.address, "s3.secret_key": "not-the-key"}).items():
        monkeypatch.setenv(name, value)
    s3 = {"endpoint": s3_server.endpoint, "access_key": s3_server.access_key, "deadline": 0.3}
    address = "s3://wrong-key/drops"
    place.settings = {"source": address, "s3": s3, "notify": {"deadline": 0.3}}

    with mail.up():
        assert place.run().exit_code == 69
        (text,) = mail.texts
        reports_everything(
            text, "The build failed", "s3://wrong-key", "SignatureDoesNotMatch", "s3.secret_key", "report run-1"
        )
        assert place.run().exit_code == 69  # the re-run does not repeat it
        assert mail.texts == [text]
        assert mail.logins == ["bot"]
        seal_anew(tmp_path, {"s3.secret_key": s3_server.secret_key})
        open_store.cache_clear()  # the next run is another process
        assert place.run().outcome == "published"
        assert place.run().outcome == "unchanged"
    assert len(mail.mails) == 2
    assert "Builds work again" in mail.texts[1]
    assert MAIL_PASSWORD not in str([*mail.texts, kept(place)])


def seal_anew(folder: Path, values: dict[str, str]) -> None:
    from jobs.config.secret import Vault
    from jobs.operations import vault

    where = Vault(str(folder / "credentials.json"), str(folder / "key.pem"))
    vault.change(where, "2026-01-02T00:00:00+00:00", lambda held: vault.with_values(held, values))


def kept(place: Place) -> list[Notice]:
    """Return all notices that the ledger has."""
    with closing(place.warehouse(read_only=True)) as warehouse:
        return warehouse.last_notices(100)


def test_a_database_that_is_down_gives_one_notice_and_comes_to_its_ledger_later(
    notified_place: Place, hook: Hook, tmp_path: Path
) -> None:
    (tmp_path / "maria").mkdir()
    database, server = sql_server(tmp_path / "maria")
    server.start()
    notified_place.target = database.make_database("down")
    notified_place.settings["mysql"] = {"connect_timeout": 2, "deadline": 0.3}
    with ExitStack() as stack:
        stack.callback(lambda: server.process.poll() is None and server.kill())
        server.kill()
        assert notified_place.run().exit_code == 69
        (text,) = hook.texts
        reports_everything(text, "The build failed", f"127.0.0.1:{database.port}", "marts doctor")
        assert notified_place.run().exit_code == 69
        assert hook.texts == [text]
        assert len(list((tmp_path / "state/waiting/notices").iterdir())) == 1  # where it waits for the database
        server.start()
        assert notified_place.run().outcome == "published"
        assert [text.splitlines()[0] for text in hook.texts[1:]] == ["Martwright: Builds work again"]
        assert list((tmp_path / "state/waiting").glob("*/*")) == []
        assert [notice.event for notice in kept(notified_place)] == ["recovered", "failed"]
        runs = marts("status", "--target", notified_place.address, "--json").stdout
        assert [run["outcome"] for run in json.loads(runs)["runs"]] == ["published", "failed", "failed"]
        assert len(list((tmp_path / "state/reports").glob("run-*.html"))) == 3


def test_a_wrong_key_to_the_state_is_notified_once_too(
    place: Place, s3_server: S3Server, hook: Hook, tmp_path: Path
) -> None:
    """The state is in the bucket: what waits there cannot be read either."""
    place.put_golden()
    s3_server.upload(place.source, s3_server.make_bucket("wrong-state"), "drops")
    s3 = {"endpoint": s3_server.endpoint, "access_key": s3_server.access_key, "secret_key": "no", "deadline": 0.3}
    place.settings = {"source": "s3://wrong-state/drops", "state": "s3://wrong-state/state", "s3": s3}
    place.settings["notify"] = {"to": {"ops": hook.address}, "deadline": 0.3}
    for _ in range(3):
        assert place.run().exit_code == 69
    assert len(hook.posts) == 1


def test_a_damaged_pending_notice_does_not_block_others(notified_place: Place, hook: Hook, tmp_path: Path) -> None:
    for name in ("notices/a.json", "runs/b.json"):
        path = tmp_path / "state/waiting" / name
        path.parent.mkdir(parents=True)
        path.write_text("{half")
    assert notified_place.run().outcome == "published"
    assert sorted(path.name for path in (tmp_path / "state/waiting").glob("*/*")) == ["a.json", "b.json"]
    assert len(list((tmp_path / "state/waiting/damaged").iterdir())) == 2


def test_a_webhook_that_answers_late_gets_it_once(notified_place: Place, hook: Hook) -> None:
    hook.delay = 5  # apprise's own patience is four seconds
    notified_place.settings["notify"]["deadline"] = 10
    notified_place.put("sales/bad.csv", BAD)
    notified_place.run()
    notified_place.run()
    assert len(hook.posts) == 1


def test_a_server_that_drips_an_answer_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        before = time.monotonic()
        with pytest.raises(MartsError, match="timed out"):
            ping(f"http://127.0.0.1:{server.getsockname()[1]}/x", "start")
        assert time.monotonic() - before < 60


def drip(server: socket.socket) -> None:
    connection, _ = server.accept()
    with contextlib.suppress(OSError):
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
            connection.send(bytes([byte]))
            time.sleep(0.3)


def test_of_two_recipients_of_an_address_one_that_is_refused_does_not_repeat_it_to_the_other(
    notified_place: Place, mail: MailServer
) -> None:
    mail.refused = "gone@localhost.test"
    address = mail.address.replace("to=ops%40localhost.test", "to=ops%40localhost.test&cc=gone%40localhost.test")
    notified_place.settings["notify"] = {"to": {"mail": address}, "deadline": 2}
    notified_place.put("sales/bad.csv", BAD)
    with mail.up():
        notified_place.run()
        notified_place.run()
    assert len(mail.mails) == 1


def test_a_policy_that_cannot_be_read_is_notified_too(
    notified_place: Place, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARTS_NOTIFY__TO__OPS", hook.address)
    (notified_place.folder / "policy.toml").write_text("wrong = 1")
    for _ in range(2):
        marts("build", *notified_place.flags, "--policy", str(notified_place.folder / "policy.toml"), code=2)
    (text,) = hook.texts
    reports_everything(text, "unknown key 'wrong'", "policy.toml")


def test_a_defect_is_notified_too(notified_place: Place, hook: Hook) -> None:
    notified_place.settings["notify"]["heartbeat"] = hook.heartbeat

    def break_down(*_: object) -> object:
        raise KeyError("oops")

    runner, notified_place.runner = notified_place.runner, break_down
    with pytest.raises(KeyError):
        notified_place.run()
    reports_everything(hook.texts[0], "KeyError: 'oops'", "report it")
    assert hook.pings[-1].endswith("/fail")
    notified_place.runner = runner
    assert notified_place.run().outcome == "published"
    assert [text.splitlines()[0] for text in hook.texts[1:]] == ["Martwright: Builds work again"]


def test_a_lost_answer_to_the_end_of_a_failed_run_does_not_notify_it_twice(
    notified_place: Place, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    notified_place.put("sales/strangers.csv", sales(*(line(f"S{n}", customer=900 + n) for n in range(9))))
    fail, notices, lost = DuckDBWarehouse.fail, DuckDBWarehouse.notices, []

    def end(self: DuckDBWarehouse, *arguments: Any) -> str:
        fail(self, *arguments)
        lost.append(True)
        raise Transient("the connection was lost at COMMIT", "database")

    def look(self: DuckDBWarehouse) -> list[Notice]:
        if lost:
            raise Transient("no answer", "database")
        return notices(self)

    with monkeypatch.context() as broken:
        broken.setattr(DuckDBWarehouse, "fail", end)
        broken.setattr(DuckDBWarehouse, "notices", look)
        assert notified_place.run().exit_code == 65
    assert notified_place.run().exit_code == 65
    assert len(hook.posts) == 1


def test_a_failure_before_anybody_could_look_is_notified_once(
    notified_place: Place, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    notified_place.run()

    def refuse(_: object) -> None:
        raise ServiceError("CREATE command denied", "mysql://h/db")

    monkeypatch.setattr(DuckDBWarehouse, "prepare", refuse)
    for _ in range(3):
        assert notified_place.run().exit_code == 69
    assert len(hook.posts) == 1


def test_a_database_that_is_down_is_notified_once_although_reports_cannot_be_written(
    notified_place: Place, hook: Hook, tmp_path: Path
) -> None:
    notified_place.target = "mysql://marts@127.0.0.1:1/none"
    notified_place.settings |= {"mysql": {"connect_timeout": 1, "deadline": 0.1}, "reports": str(tmp_path / "file/x")}
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):
        assert notified_place.run().exit_code == 69
    assert len(hook.posts) == 1


def test_a_notice_that_cannot_be_sent_does_not_change_how_a_run_ended(
    notified_place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object) -> None:
        raise KeyError("oops")

    for name in ("write_reports", "publish_metrics", "deliver", "beat"):
        monkeypatch.setattr(f"jobs.run.lifecycle.{name}", break_down if name != "beat" else lambda *_: None)
    assert (notified_place.run().outcome, notified_place.run().exit_code) == ("published", 0)
    assert "publishing metrics failed: KeyError" in caplog.text


def test_pages_of_others_in_the_folder_stay(notified_place: Place, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/about.html").write_text("mine")
    notified_place.settings["reports"] = str(tmp_path / "www")
    notified_place.run()
    assert (tmp_path / "www/about.html").read_text() == "mine"


def test_a_short_token_in_an_address_is_written_nowhere(
    notified_place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    voice(Log(format="json"), debug=True)
    notified_place.settings["notify"]["to"] = {"ops": "json://127.0.0.1:1/hooks/s3cr3tTok"}
    notified_place.put("sales/bad.csv", BAD)
    notified_place.run()
    written = capsys.readouterr().err
    assert "is not sent to ops yet" in written
    assert "s3cr3tTok" not in written + kept(notified_place)[0].as_json()
    assert "refused" in kept(notified_place)[0].deliveries["ops"].error


def test_notify_send_takes_what_waits_in_the_state(
    notified_place: Place, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    notified_place.settings["notify"]["to"] = {"ops": "json://127.0.0.1:1/closed"}
    address, notified_place.target = notified_place.address, "mysql://marts@127.0.0.1:1/none"
    notified_place.settings["mysql"] = {"connect_timeout": 1, "deadline": 0.1}
    notified_place.run()
    monkeypatch.setenv("MARTS_NOTIFY__TO__OPS", hook.address)
    monkeypatch.setenv("MARTS_STATE", str(notified_place.folder / "state"))
    assert "1 sent, 0 pending" in marts("notify", "send", "--target", address).output


def test_a_stop_during_delivery_does_not_undo_what_was_published(
    notified_place: Place, hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(*_: object) -> None:
        raise Stopped("SIGTERM")

    monkeypatch.setattr("jobs.run.lifecycle.deliver", stop)
    report = notified_place.run()
    assert (report.outcome, report.exit_code) == ("published", 0)
    assert "the run had ended" in caplog.text


def test_a_silent_recipient_does_not_block_the_others(notified_place: Place, hook: Hook) -> None:
    notified_place.settings["notify"] = {"to": {"a": "json://127.0.0.1:1/closed", "b": hook.address}, "deadline": 0.1}
    notified_place.put("sales/bad.csv", BAD)
    notified_place.run()
    assert len(hook.posts) == 1


def test_a_server_that_answers_nothing_holds_no_build_up_for_long(notified_place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"json://127.0.0.1:{silent.getsockname()[1]}/"
        notified_place.settings["notify"] = {"to": {f"n{n}": address for n in range(40)}, "deadline": 1}
        notified_place.put("sales/bad.csv", BAD)
        before = time.monotonic()
        assert notified_place.run().exit_code == 65
        assert time.monotonic() - before < 90
    assert all(delivery.state == "pending" for delivery in kept(notified_place)[0].deliveries.values())


def test_without_database_and_state_a_failure_is_notified_all_the_same(
    notified_place: Place, hook: Hook, tmp_path: Path
) -> None:
    notified_place.target = "mysql://marts@127.0.0.1:1/none"
    notified_place.settings["mysql"] = {"connect_timeout": 1, "deadline": 0.1}
    (tmp_path / "state").write_text("no folder")
    assert notified_place.run().exit_code == 69
    assert len(hook.posts) == 1


def test_a_held_drop_gives_one_notice_however_often_builds_run(notified_place: Place, hook: Hook) -> None:
    notified_place.run()
    assert hook.posts == []
    notified_place.put("sales/bad.csv", BAD)
    assert notified_place.run().exit_code == 65
    (text,) = hook.texts
    reports_everything(text, "sales/bad.csv is held", "5 x quantity", "marts quarantine accept sales/bad.csv")
    assert notified_place.run().exit_code == 0
    notified_place.run(rebuild=True)
    assert hook.texts == [text]
    notified_place.put("sales/bad.csv", BAD.replace("T9", "T8"))  # another version, as bad
    notified_place.run()
    assert len(hook.posts) == 2
    notified_place.put("sales/bad.csv", sales(line("T9")))
    assert notified_place.run().exit_code == 0
    assert len(hook.posts) == 2
    notified_place.put("sales/bad.csv", BAD)  # and the first again: that is over, so it is news
    notified_place.run()
    assert len(hook.posts) == 3


def test_drops_that_are_gone_give_one_notice_however_often_builds_run(notified_place: Place, hook: Hook) -> None:
    paths = [notified_place.put(f"sales/{n}.csv", sales(line(f"X{n}"))) for n in range(5)]
    notified_place.run()
    for path in paths:
        path.unlink()
    assert notified_place.run().exit_code == 65
    (text,) = hook.texts
    reports_everything(text, "5 drops are", "sales/4.csv: 1 clean lines", "still count", "marts withdraw accept")
    assert notified_place.run().exit_code == 0
    assert hook.texts == [text]


def test_a_total_that_falls_gives_one_notice(notified_place: Place, hook: Hook) -> None:
    notified_place.policy = notified_place.policy.model_copy(update={"max_fall_from": 0})
    notified_place.put("sales/new.csv", sales(line("X1", price="50000.00", total="50000.00")))
    notified_place.run()
    notified_place.put("sales/new.csv", sales(line("X1", price="1.00", total="1.00")))
    assert notified_place.run().exit_code == 65
    (text,) = hook.texts
    reports_everything(text, "The build stopped: the total", "max_fall", "marts accept-fall")
    assert notified_place.run().exit_code == 65
    assert hook.texts == [text]


def test_a_worker_out_of_memory_gives_one_notice(place: Place, hook: Hook) -> None:
    """A real Ray kills its workers, as the memory of the node is above a threshold that it is given."""
    place.put_golden()
    environment = {
        **os.environ,
        "RAY_memory_usage_threshold": "0.001",
        "RAY_memory_monitor_refresh_ms": "50",
        "RAY_task_oom_retries": "0",
        "MARTS_RAY__FEW_TASKS": "0",
        "MARTS_NOTIFY__TO__OPS": hook.address,
    }
    code = "from jobs.cli.app import main; main()"
    arguments = [sys.executable, "-c", code, "build", *place.flags, "--as-of", "2024-03-31", "--quiet"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 69, done.stderr
    (text,) = hook.texts
    reports_everything(text, "ran out of memory in ScanDrops", "give the workers more memory", "limits.split_bytes")
    assert "Traceback" not in done.stderr


def test_unknown_people_and_broken_quality_are_events_of_their_own(notified_place: Place, hook: Hook) -> None:
    notified_place.put("sales/strangers.csv", sales(*(line(f"S{n}", customer=900 + n) for n in range(9))))
    assert notified_place.run().exit_code == 65
    assert "too many people are unknown" in hook.texts[0]
    reports_everything(hook.texts[0], "customers/", "max_unknown_ratio")


def test_each_event_can_be_switched_for_all_and_for_one(notified_place: Place, hook: Hook) -> None:
    notified_place.settings["notify"] |= {
        "on": ["success"],
        "to": {"ops": hook.address, "boss": hook.address + "/boss"},
    }
    notified_place.settings["notify"]["only"] = {"boss": ["held"]}
    notified_place.put("sales/bad.csv", BAD)
    notified_place.run()
    events = {notice.event: list(notice.deliveries) for notice in kept(notified_place)}
    assert events == {"success": ["ops"], "held": ["boss"]}
    assert sorted(post["type"] for post in hook.posts) == ["info", "warning"]


def test_a_mail_server_that_is_down_at_first_gets_it_later_and_once(
    notified_place: Place, hook: Hook, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    notified_place.settings["notify"]["to"]["mail"] = mail.address
    notified_place.put("sales/bad.csv", BAD)
    notified_place.run()
    (notice,) = kept(notified_place)
    assert notice.deliveries["ops"].state == "sent"
    assert notice.deliveries["mail"].state == "pending"
    assert "refused" in notice.deliveries["mail"].error
    with mail.up():
        monkeypatch.setenv("MARTS_NOTIFY__TO__OPS", hook.address)
        monkeypatch.setenv("MARTS_NOTIFY__TO__MAIL", mail.address)
        assert "1 sent, 0 pending" in marts("notify", "send", "--target", notified_place.address).output
        assert "0 sent, 0 pending" in marts("notify", "send", "--target", notified_place.address).output
        notified_place.run()
    assert [len(hook.posts), len(mail.mails)] == [1, 1]
    assert "ops: sent; mail: sent" in " ".join(
        marts("notify", "list", "--target", notified_place.address).output.split()
    )


def test_a_wrong_mail_password_is_reported_without_the_password(
    notified_place: Place, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = mail.address.replace("secret", "sesame")
    monkeypatch.setenv("MARTS_NOTIFY__TO__MAIL", wrong)
    monkeypatch.setenv("MARTS_NOTIFY__DEADLINE", "0.2")
    with mail.up():
        result = marts("notify", "test", "--to", "mail", code=69)
    assert "mail: " in result.output
    assert "535" in result.output
    assert "sesame" not in result.output + str(result.exception)
    assert mail.mails == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense://x", "is not an address of apprise"),
        ("{hook} {hook}", "more than one"),
        ("mailtos://u:p@h/?from=a@b.test&to=c@d.test,e@f.test", "more than one"),
    ],
)
def test_an_invalid_address_is_reported_as_such(
    hook: Hook, monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    monkeypatch.setenv("MARTS_NOTIFY__TO__OPS", address.format(hook=hook.address))
    assert message in marts("notify", "test", code=69).output
    assert hook.posts == []


def test_a_webhook_that_refuses_is_tried_again_in_the_same_run(notified_place: Place, hook: Hook) -> None:
    hook.refusals = 2
    notified_place.settings["notify"]["deadline"] = 20
    notified_place.put("sales/bad.csv", BAD)
    notified_place.run()
    assert len(hook.posts) == 1
    assert kept(notified_place)[0].deliveries["ops"].state == "sent"


def test_two_senders_at_once_send_it_once(notified_place: Place, hook: Hook, mariadb: MariaDB) -> None:
    notified_place.target = mariadb.make_database("senders")
    notified_place.settings["notify"]["to"] = {"ops": "json://127.0.0.1:1/closed"}
    notified_place.put("sales/bad.csv", BAD)
    notified_place.run()
    notified_place.settings["notify"]["to"] = {"ops": hook.address}
    settings, ready = notified_place.configured(), threading.Barrier(4)

    def send() -> None:
        with closing(notified_place.warehouse()) as warehouse:
            ready.wait()
            deliver(warehouse, settings.notify, lambda: datetime.now(UTC), files_of(settings))

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert len(hook.posts) == 1


def test_a_sender_that_was_killed_is_followed_by_another_after_a_while(notified_place: Place, hook: Hook) -> None:
    from functools import partial

    from jobs.ports.notices import claimed

    notified_place.settings["notify"]["to"] = {"ops": "json://127.0.0.1:1/closed"}
    notified_place.put("sales/bad.csv", BAD)
    notified_place.run()
    now = datetime(2024, 4, 1, 1, tzinfo=UTC)
    notified_place.settings["notify"]["to"] = {"ops": hook.address}
    with closing(notified_place.warehouse()) as warehouse:
        (notice,) = warehouse.notices()
        warehouse.change_notice(notice.notice_id, partial(claimed, name="ops", now=now))  # and then: kill -9
        notify = notified_place.configured().notify
        assert deliver(warehouse, notify, lambda: now + LEASE - timedelta(seconds=1), no_files) == (0, [])
        assert deliver(warehouse, notify, lambda: now + LEASE + timedelta(seconds=1), no_files) == (1, [])
    assert len(hook.posts) == 1


def test_a_notice_that_nobody_takes_is_given_up(notified_place: Place) -> None:
    notified_place.settings["notify"]["to"] = {"ops": "json://127.0.0.1:1/closed"}
    notified_place.put("sales/bad.csv", BAD)
    notified_place.run()
    later = datetime(2024, 4, 5, tzinfo=UTC)
    with closing(notified_place.warehouse()) as warehouse:
        deliver(warehouse, notified_place.configured().notify, lambda: later, no_files)
    assert kept(notified_place)[0].deliveries["ops"].state == "given up"


def test_a_heartbeat_is_pinged_at_start_success_and_failure(notified_place: Place, hook: Hook) -> None:
    notified_place.settings["notify"]["heartbeat"] = hook.heartbeat
    notified_place.run()
    notified_place.target = "duckdb:///proc/none/x.duckdb"
    notified_place.run()
    assert hook.pings == ["/ping/7c4a/start", "/ping/7c4a", "/ping/7c4a/start", "/ping/7c4a/fail"]
    hook.pings.clear()
    notified_place.target = ""
    notified_place.settings["notify"]["heartbeat"] = f"http://127.0.0.1:{hook.port}/push?state={{moment}}"
    notified_place.run()
    assert hook.pings == ["/push?state=start", "/push?state=success"]


def test_a_heartbeat_that_is_not_received_fails_nothing(
    notified_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    notified_place.settings["notify"]["heartbeat"] = "http://127.0.0.1:1/token-x1"
    assert notified_place.run().outcome == "published"
    assert "the heartbeat ping failed" in caplog.text
    assert "token-x1" not in caplog.text


def test_a_killed_run_is_notified_with_the_next_good_one(notified_place: Place, hook: Hook) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        notified_place.run(start=die)
    assert notified_place.run().outcome == "published"
    (text,) = hook.texts
    assert "Builds work again" in text
    assert "Run run-1 ended without a report" in text


def test_hostile_text_in_a_drop_stays_text_in_mails_and_chats(
    notified_place: Place, hook: Hook, mail: MailServer
) -> None:
    notified_place.settings["notify"]["to"]["mail"] = mail.address
    name = "sales/<!channel>@everyone [x](http:evil)<b>.csv"
    notified_place.put(name, BAD.replace("T9", "<script>alert(1)</script>"))
    with mail.up():
        notified_place.run()
    (post,), (text,) = hook.texts, mail.texts
    for message in (post, text):
        assert "<!channel>" not in message
        assert "@everyone" not in message
        assert "](" not in message
        assert "<script>" not in message
    assert not re.search(r"[\r\n]", mail.mails[0]["subject"])


def test_personal_data_is_masked_in_notices(notified_place: Place, hook: Hook) -> None:
    rows = [line(f"T{n}", quantity=0, total="0.00", product="4111 1111 1111 1111 of ada@example.org") for n in range(5)]
    notified_place.put("sales/4111111111111111-ada@example.org.csv", sales(*rows))
    notified_place.run()
    assert "is held" in hook.texts[0]
    assert "ada@example" not in hook.texts[0]
    assert "4111111111111111" not in hook.texts[0].replace(" ", "")


def test_a_build_that_waits_for_another_is_no_news(notified_place: Place, hook: Hook) -> None:
    warehouse = notified_place.warehouse()
    assert notified_place.configured().notify.to
    with closing(warehouse), warehouse.lock(0):
        report = marts_build_elsewhere(notified_place, hook)
    assert report == 75
    assert hook.posts == []


def marts_build_elsewhere(place: Place, hook: Hook) -> int:
    """Build in another process, which finds the file open."""
    code = "from jobs.cli.app import main; main()"
    environment = {**os.environ, "MARTS_NOTIFY__TO__OPS": hook.address, "MARTS_LOCK_TIMEOUT": "0"}
    arguments = [sys.executable, "-c", code, "build", *place.flags, "--as-of", "2024-03-31"]
    return subprocess.run(arguments, env=environment, capture_output=True, timeout=60, check=False).returncode
