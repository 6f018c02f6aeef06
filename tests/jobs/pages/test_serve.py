"""`marts serve` as people start it, and `marts doctor --serve` before they do."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest
from support.dashboards import company
from support.kit import Place, marts, seal
from support.retail import ALL
from support.servers import PASSWORD, SqlServer

from jobs.adapters.warehouse.open import open_warehouse
from jobs.cli.serve import _doors
from jobs.config.load import load
from jobs.config.packs import load_dashboard
from jobs.config.secret import Vault
from jobs.config.settings import MySQL
from jobs.operations import vault
from marts.errors import ServiceError, UsageError
from marts.packs import shipped

pytestmark = pytest.mark.usefixtures("all_marts")
ROOT = Path(__file__).parents[3]
MARTS = str(Path(sys.executable).parent / "marts")


@pytest.mark.database
def test_a_user_who_may_write_is_refused_by_doctor(
    tmp_path: Path, mariadb: SqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = company(tmp_path, target=mariadb.make_database("pages"))
    assert place.build().error is None
    flags = ["--target", place.target, "--serve", "--json"]
    checks = {check["what"]: check for check in json.loads(marts("doctor", *flags, code=2).stdout)}
    assert checks["tables"]["ok"]
    assert "may write (INSERT, UPDATE, DELETE, CREATE): give the pages a user of their own" in checks["rights"]["text"]
    mariadb.run("CREATE USER reader@'%' IDENTIFIED BY 'only'", "GRANT SELECT ON pages.* TO reader@'%'")
    reader = f"mysql://reader:only@127.0.0.1:{mariadb.port}/pages"
    checks = {check["what"]: check for check in json.loads(marts("doctor", "--target", reader, *flags[2:]).stdout)}
    assert checks["rights"] == {"what": "rights", "ok": True, "text": "may only read", "exit_code": 0}
    (rows,) = mariadb.run("SELECT COUNT(*) FROM daily_sales_data_mart", database="pages")[0]
    assert checks["cells"]["text"] == f"{rows:,} in memory"
    monkeypatch.setattr("jobs.operations.doctor._MANY_CELLS", rows - 1)
    checks = {check["what"]: check for check in json.loads(marts("doctor", "--target", reader, *flags[2:]).stdout)}
    assert checks["cells"]["ok"]
    assert checks["cells"]["text"] == f"{rows:,} in memory: more than {rows - 1:,} make each change of a filter slow"
    assert mariadb.run("SHOW TABLES LIKE 'marts_doctor%'", database="pages") == []


@pytest.mark.database
def test_the_user_of_a_bi_tool_reads_the_marts_and_nothing_else(tmp_path: Path, mariadb: SqlServer) -> None:
    place = company(tmp_path, target=mariadb.make_database("reports"))
    assert place.build().error is None
    (block, *_) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "bi.md").read_text(), re.DOTALL)
    mariadb.run(*(text for text in block.replace("marts.", "reports.").replace("…", PASSWORD).split(";\n") if text))
    address = f"mysql://bi:{quote(PASSWORD, safe='')}@127.0.0.1:{mariadb.port}/reports"
    with closing(open_warehouse(address, MySQL(), shipped("retail"), read_only=True)) as warehouse:
        for mart in ALL.marts.values():
            assert warehouse.execute(f"SELECT COUNT(*) FROM {mart.table}")[0][0] > 0
        with pytest.raises(ServiceError, match="denies access"):
            warehouse.execute("SELECT * FROM marts_runs")


def test_doctor_says_what_is_not_published_yet(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.put_golden()
    place.settings = {"mart": "customers"}
    place.build()
    checks = {check["what"]: check["text"] for check in _doctor(place)}
    assert checks["tables"] == "daily_sales_data_mart is not published yet: run marts build"
    assert checks["dashboard"].startswith("9 figures, 6 filters")


def _doctor(place: Place) -> list[dict[str, str]]:
    output = marts("doctor", "--target", place.address, "--serve", "--json", code=2).stdout
    checks: list[dict[str, str]] = json.loads(output)
    return checks


def test_serve_prints_its_address_answers_and_ends_with_a_signal_also_for_readers_who_stay(tmp_path: Path) -> None:
    place = company(tmp_path)
    assert place.run().error is None
    command = [MARTS, "serve", "--target", place.address, "--port", "0"]
    own = {**os.environ, "MARTS_LOG__FORMAT": "text", "MARTS_STATE": str(tmp_path / "state")}
    log = tmp_path / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, env=own) as process,
    ):
        assert process.stdout
        address = process.stdout.readline().strip()
        parts = urlsplit(address)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        try:
            assert address.endswith("/retail")
            with urlopen(address, timeout=20) as page:
                assert "as of <strong>2024-03-31</strong>" in page.read().decode()
            with urlopen(address.replace("/retail", "/runs"), timeout=20) as page:
                assert "run-1" in page.read().decode()  # of this machine only, without a door: pages with names
            with urlopen(address.replace("/retail", "/metrics"), timeout=20) as page:
                assert 'martwright_pages_request_duration_seconds_count{status="200"} 2.0' in page.read().decode()
            connection.request("GET", parts.path)
            assert connection.getresponse().read()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        connection.close()
    assert "leaked" not in log.read_text()  # what DuckDB's binding prints if a thread still has a table at the end


def test_an_address_that_is_in_use_is_named(tmp_path: Path) -> None:
    place = company(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [MARTS, "serve", "--target", place.address, "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == UsageError.exit_code
    assert f"127.0.0.1:{port}: cannot listen: " in ended.stderr
    assert "--port" in ended.stderr


def test_a_signal_ends_it_while_the_database_does_not_answer() -> None:
    """PID 1 of a container ignores a signal that it does not handle: the exit code is that of a handler."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [MARTS, "serve", "--target", f"mysql://reader@127.0.0.1:{silent.getsockname()[1]}/marts"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()  # it waits for the greeting
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 75
            connection.close()


def test_the_token_of_readers_is_a_sealed_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in seal(tmp_path, {"pages.token": "of-the-file"}).items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "marts.toml"
    file.write_text('[pages]\nauth = "token"\n')
    for text in ("", 'token = "sealed:pages.token"\n'):
        file.write_text(f'[pages]\nauth = "token"\n{text}')
        doors = _doors(load(str(file), {}), "0.0.0.0")
        assert doors.token() == "of-the-file"
    where = Vault(str(tmp_path / "credentials.json"), str(tmp_path / "key.pem"))
    vault.change(where, "2026-01-01T00:00:02+00:00", lambda held: vault.with_values(held, {"pages.token": "new"}))
    assert doors.token() == "new"
    file.write_text('[pages]\nauth = "token"\ntoken = "plain"\n')
    assert "must not contain a credential" in str(marts("serve", code=2).exception)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "everybody who reaches it could read the figures"),
        ('[pages]\nauth = "token"\n', "pages.token is missing"),
        ('[pages]\nauth = "proxy"\n', 'auth = "proxy" needs proxies'),
        ('[pages]\nembed = ["*; script-src *"]\n', "embed names sites"),
    ],
)
def test_others_read_only_by_a_door_that_is_chosen(tmp_path: Path, settings: str, message: str) -> None:
    (tmp_path / "marts.toml").write_text(f'target = "duckdb://{tmp_path}/m.duckdb"\n{settings}')
    result = marts("serve", "--bind", "0.0.0.0", code=2)
    assert message in f"{result.exception} {getattr(result.exception, 'hint', '')}"


def test_a_dashboard_whose_marts_are_left_out_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_LEAVE_OUT", '["daily_sales"]')
    result = marts("serve", "--target", f"duckdb://{tmp_path}/m.duckdb", code=2)
    assert "the dashboard needs daily_sales, which is left out" in str(result.exception)


def test_a_wrong_dashboard_is_named_by_pack_check(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    marts("pack", "new", str(folder))
    assert json.loads(marts("pack", "check", str(folder), "--json").stdout)["dashboard"] is False
    (folder / "dashboard.toml").write_text('title = "Own"\n')
    assert "dashboard.toml" in str(marts("pack", "check", str(folder), code=2).exception)


def test_kinds_of_drops_that_a_figure_names_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "marts/retail/dashboard.toml").read_text()
    (tmp_path / "dashboard.toml").write_text(
        text.replace('sum = "incentive"\n', 'sum = "incentive"\ndrops = ["sails"]\n')
    )
    monkeypatch.setattr("jobs.config.packs._folder", lambda _: tmp_path)
    with pytest.raises(UsageError, match=r"figures\.incentive\.drops: 'sails' is no kind of drop"):
        load_dashboard(shipped("retail"))


def test_a_pack_without_a_dashboard_says_so(tmp_path: Path) -> None:
    people = ROOT / "tests" / "packs" / "people"
    result = marts("serve", "--pack", str(people), "--target", f"duckdb://{tmp_path}/m.duckdb", code=2)
    assert "the pack 'people' has no dashboard.toml" in str(result.exception)
