"""The command line as people and scripts use it: every command, real Ray, real exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.kit import BIN, GOLDEN, UNJUDGED, Once, Place, line, marts, outside, sales

from jobs.cli.app import app
from marts.errors import UsageError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def flags(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("MARTS_QUALITY__JUDGE", "false")
    place.put_golden()
    Path("policy.toml").write_text("max_unknown_ratio = 0.2\n")
    return ["--source", str(place.source), "--target", f"duckdb://{place.folder}/m.duckdb", "--policy", "policy.toml"]


@pytest.mark.usefixtures("ray_cluster")
def test_build_plan_and_status_agree(place: Place, flags: list[str]) -> None:
    planned = json.loads(marts("plan", *flags, "--json").stdout)
    assert {drop["key"]: (drop["change"], drop["months"]) for drop in planned["drops"]} == {
        "sales/golden.csv": ("new", ["2023-08", "2023-11", "2024-01", "2024-02", "2024-03"]),
        "sales/golden_2.csv": ("new", ["2024-02", "2024-03"]),
        "customers/customers.csv": ("new", []),
        "stores/stores.csv": ("new", []),
        "sales_team/team.csv": ("new", []),
    }
    assert not Path("m.duckdb").exists()
    built = marts("build", *flags, "--as-of", "2024-03-31", "--json")
    report = json.loads(built.stdout)
    assert (report["outcome"], report["totals"]["clean"], report["exit_code"]) == ("published", 24, 0)
    assert {mart["name"]: mart["rows"] for mart in report["marts"] if mart["name"] in ("customers", "sales_team")} == {
        "customers": 12,
        "sales_team": 13,
    }
    again = marts("build", *flags, "--as-of", "2024-03-31")
    assert "unchanged" in again.stderr
    assert again.stdout == ""
    status = json.loads(marts("status", "--target", flags[3], "--json").stdout)
    assert [run["outcome"] for run in status["runs"]] == ["unchanged", "published"]
    assert status["live"]["customers"]["run_id"] == report["run_id"]
    assert "nothing new in the drops" in marts("plan", *flags).stdout


@pytest.mark.usefixtures("ray_cluster")
def test_plan_names_what_is_replaced_duplicate_rejected_and_vanished(
    place: Place, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARTS_DROPS__WITHDRAWALS", "apply")
    place.put("sales/gone.csv", (GOLDEN / "golden_input.csv").read_text().replace("2024-03", "2024-05"))
    marts("build", *flags, "--as-of", "2024-03-31")
    (place.source / "sales/gone.csv").unlink()
    place.put("sales/golden.csv", (GOLDEN / "golden_input.csv").read_text() + "T99,1,121,x,2022-05-05,1,1,1,1\n")
    place.put("sales/twice.csv", (place.source / "sales/golden.csv").read_bytes())
    place.put("sales/bad.csv", "nonsense\n")
    place.put("sales/bad.csv.gz", b"no gzip\n")
    output = marts("plan", *flags).stdout
    for words in (
        "1 duplicate",
        "1 replaced",
        "2 rejected",
        "1 vanished",
        "same content as sales/golden.csv",
        "its name is that of a gzip",
        "missing columns",
        "its lines are removed from the marts",
        "months that change: 2022-05, 2023-08, 2023-11, 2024-01, 2024-02, 2024-03, 2024-05",
    ):
        assert words in output


@pytest.mark.usefixtures("ray_cluster")
def test_a_failed_build_is_an_object_with_its_cause_and_an_exit_code(place: Place, flags: list[str]) -> None:
    Path("policy.toml").write_text("max_unknown_ratio = 0.0\n")
    result = marts("build", *flags, "--as-of", "2024-03-31", "--json", code=65)
    report = json.loads(result.stdout)
    assert report["outcome"] == "failed"
    assert "max_unknown_ratio" in report["error"]["what"]
    output = marts("build", *flags, "--as-of", "2024-03-31", code=65).stderr
    assert "hint: deliver all of customers" in output
    assert "hint: deliver all of customers" in marts("build", *flags, "--as-of", "2024-03-31", "-q", code=65).stderr
    assert json.loads(marts("status", "--target", flags[3], "--json").stdout)["runs"][0]["exit_code"] == 65


@pytest.mark.usefixtures("ray_cluster")
def test_doctor_reports_what_is_fine_and_what_to_do(place: Place, flags: list[str]) -> None:
    fine = json.loads(marts("doctor", *flags, "--json").stdout)
    assert all(check["ok"] for check in fine)
    assert {check["what"] for check in fine} >= {
        "python",
        "packages",
        "policy",
        "source",
        "state",
        "disk",
        "ray",
        "DuckDB",
    }
    wrong = marts("doctor", "--source", ".", "--target", "mysql://u@127.0.0.1:1/d", "--state", "s", code=2).stdout
    assert "no drop under" in wrong
    assert "check that the server is up and reachable" in wrong


@pytest.mark.usefixtures("ray_cluster")
def test_the_demo_shows_what_came_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_ANALYTICS", "true")
    monkeypatch.delenv("MARTS_LEAVE_OUT")
    output = marts("demo", "--lines", "6000").stdout
    truth = json.loads((tmp_path / "marts-demo/drops/generated.json").read_text())
    for words in (
        "all 9 marts are live",
        "customers with a high churn risk",
        "anomalies",
        f"{truth['lines']:,}",
        "top customers",
        "leaders of 2025-12",
        "marts status",
    ):
        assert words in output
    status = json.loads(marts("status", "--target", "duckdb://marts-demo/marts.duckdb", "--json").stdout)
    totals = status["runs"][0]["report"]["totals"]
    assert (totals["rows_read"], totals["quarantined"], totals["duplicates"]) == (
        truth["lines"] + truth["copied_lines"],
        truth["quarantined"],
        truth["duplicates"] + truth["copied_lines"],
    )
    monkeypatch.chdir("marts-demo")
    assert "nothing new in the drops" in marts("plan").stdout
    assert json.loads(marts("status", "--json").stdout) == status
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARTS_QUALITY__JUDGE", "false")
    assert "unchanged" not in marts("demo", "--lines", "1000", "--seed", "8").stdout


def test_a_missing_source_creates_neither_a_database_nor_a_state(tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    result = marts("build", "--source", "nowhere", "--target", "duckdb://new.duckdb", code=2)
    assert "the folder does not exist" in str(result.exception)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("small_builds")
def test_history_suggests_the_nearest_drop(place: Place, flags: list[str]) -> None:
    place.put("sales/sales-2024-03-01.csv", sales(line()))
    marts("build", *flags, "--as-of", "2024-03-31")
    for wrong in ("sales-2024-03-01", "sales-2024-03-02.csv", "sales/sales-2024-03-01.cvs"):
        error = marts("history", wrong, "--target", flags[3], code=2).exception
        assert isinstance(error, UsageError)
        assert "sales-2024-03-01.csv?" in error.hint
    hint = getattr(marts("history", "zzz", "--target", flags[3], code=2).exception, "hint", "")
    assert hint == "`marts history` lists the last drops of all runs"


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("x")
    result = marts("demo", "--folder", "mine", code=2)
    assert "not created by an earlier demo" in str(result.exception)


def test_generate_gives_the_same_bytes_for_the_same_seed() -> None:
    for folder in ("a", "b"):
        marts("generate", folder, "--lines", "5000", "--seed", "3")
    files = sorted(path.relative_to("a") for path in Path("a").rglob("*") if path.is_file())
    assert len(files) > 30
    for path in files:
        assert (Path("a") / path).read_bytes() == (Path("b") / path).read_bytes()
        listed = path.parent == Path()  # what was put in: no drop, so it has no time of delivery
        assert listed or (Path("a") / path).stat().st_mtime_ns == (Path("b") / path).stat().st_mtime_ns
    assert "is not empty" in str(marts("generate", "a", code=2).exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build"], "source is not set"),
        (["build", "--source", "x", "--target", "oracle://x"], "is not a supported target"),
        (["build", "--source", "ftp://x", "--target", "duckdb:///tmp/never/x", "--state", "s"], "neither a folder nor"),
        (["build", "--source", "x", "--target", "duckdb:///x/y", "--mart", "products"], "settings: mart"),
        (["build", "--source", "x", "--target", "duckdb:///x/y", "--as-of", "tomorrow"], "as_of"),
        (["build", "--config", "nowhere.toml"], "cannot be read"),
        (["status"], "target is not set"),
        (["status", "--target", "duckdb:///tmp"], "is a folder"),
        (["build", "--source", "s3://", "--target", "duckdb:///tmp/never/y", "--state", "s"], "contains no bucket"),
    ],
)
def test_wrong_arguments_end_with_2_and_report_what_is_wrong(arguments: list[str], words: str) -> None:
    assert words in str(marts(*arguments, code=2).exception)


LOOKING = [
    ["status"],
    ["history"],
    ["quarantine", "list", "--source", "drops"],
    ["quarantine", "show", "x", "--source", "drops"],
    ["customers", "top"],
    ["sales", "top"],
    ["report"],
    ["audit", "list"],
    ["audit", "verify"],
    ["notify", "list"],
    ["rollback"],
    ["vacuum", "--source", "drops", "--dry-run"],
]


@pytest.mark.parametrize("arguments", LOOKING, ids=" ".join)
def test_a_mistyped_target_is_an_error_that_names_the_nearest_file(
    place: Place, once: Once, arguments: list[str]
) -> None:
    once(Place.publish_golden, place)
    wrong = place.folder / "mart.duckdb"
    error = marts(*arguments, "--target", f"duckdb://{wrong}", code=2).exception
    assert isinstance(error, UsageError)
    assert (error.what, error.where) == ("does not exist", str(wrong))
    assert f"did you mean duckdb://{place.folder / 'marts.duckdb'}?" in error.hint
    assert not wrong.exists()


def test_a_mistyped_target_with_no_file_anywhere_near_reports_what_creates_one() -> None:
    error = marts("status", "--target", "duckdb:///no/such/folder/x.duckdb", code=2).exception
    assert isinstance(error, UsageError)
    assert error.hint == "check --target; the first marts build creates the file"


def test_a_target_without_a_run_is_reported_and_a_plan_needs_none(place: Place, flags: list[str]) -> None:
    place.put_golden()
    assert " new" in marts("plan", *flags).stdout.splitlines()[0]
    warehouse = place.warehouse()
    warehouse.prepare()
    warehouse.close()
    assert "no run yet" in marts("status", "--target", place.address).stdout


def test_the_hint_for_a_wrong_target_is_not_mangled(tmp_path: Path) -> None:
    for target in ("sqlite:///x", "mysql://user@/x"):
        done = outside(str(BIN / "marts"), "status", "--target", target, cwd=tmp_path)
        assert done.returncode == 2
        assert "mysql://user@host:port/database" in done.stderr


def test_an_unknown_option_ends_with_2() -> None:
    assert "--sorce" in marts("build", "--sorce", "x", code=2).output


def test_errors_are_plain_text_with_a_hint_and_no_traceback() -> None:
    done = outside(str(BIN / "marts"), "build", "--target", "duckdb:///x/y")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: settings: source is not set\n\nhint: ")


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, " start Ray"), (signal.SIGINT, " scan")])
def test_a_stopped_build_reports_the_stop_and_goes_on_the_next_time(
    tmp_path: Path, number: signal.Signals, step: str
) -> None:
    marts("generate", "drops", "--lines", "20000")
    command = ["build", "--source", "drops", "--target", "duckdb://m.duckdb", "--as-of", "2025-12-31"]
    with_ray = {**os.environ, **UNJUDGED, "MARTS_RAY__FEW_TASKS": "0"}
    process = subprocess.Popen(
        [str(BIN / "marts"), *command], stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=with_ray
    )
    assert process.stderr
    for text in process.stderr:
        if step in text:
            process.send_signal(number)
            break
    rest = process.stderr.read()
    assert process.wait(60) == 75, rest
    assert f"stopped by {number.name}" in rest
    assert "the live marts are untouched" in rest
    if number == signal.SIGTERM:
        assert outside(str(BIN / "marts"), *command, cwd=tmp_path, environment=UNJUDGED).returncode == 0


def test_a_small_build_starts_no_ray_and_is_judged_all_the_same(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.put_golden()
    (tmp_path / "policy.toml").write_text("max_unknown_ratio = 0.2\n")
    command = [str(BIN / "marts"), "build", *place.flags, "--as-of", "2024-03-31", "--policy", "policy.toml", "--json"]
    done = outside(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "start Ray" not in report["seconds"]
    assert {result["name"] for result in report["quality"]} >= {"sales", "customers_data_mart"}


def test_what_libraries_print_during_a_build_is_not_on_stdout(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.put_golden()
    code = "import jobs.run.lifecycle as lifecycle\nfrom jobs.cli.app import main\nown = lifecycle.run\n"
    code += "lifecycle.run = lambda *given: (print('(raylet) a task failed'), own(*given))[1]\nmain()"
    arguments = ["-c", code, "build", *place.flags, "--as-of", "2024-03-31", "--json"]
    done = outside(sys.executable, *arguments, cwd=tmp_path, environment=UNJUDGED)
    assert json.loads(done.stdout)["exit_code"] == done.returncode
    assert "(raylet) a task failed" in done.stderr


@pytest.mark.usefixtures("small_builds")
def test_a_build_with_a_missing_drop_is_not_silent(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.put_golden()
    marts("build", *place.flags, "--as-of", "2024-03-31")
    (tmp_path / "drops/sales/empty.csv").write_text("")
    printed = marts("build", *place.flags, "--as-of", "2024-03-31", "-q", code=65).stderr
    assert "sales/empty.csv" in printed


def test_a_file_of_another_kind_is_never_taken_for_a_target(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1, "and": "more"}')
    assert "is not a DuckDB file" in str(marts("status", "--target", "duckdb://x.json", code=2).exception)
    assert (tmp_path / "x.json").read_text() == '{"a": 1, "and": "more"}'


def test_a_defect_is_reported_with_its_traceback_and_ends_with_70(tmp_path: Path) -> None:
    code = "import jobs.cli.app, jobs.cli.options\n"
    code += "jobs.cli.options.configured = lambda *_, **__: 1 // 0\njobs.cli.app.main('status')"
    done = outside(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 70
    assert "Traceback" in done.stderr
    assert "error: marts: ZeroDivisionError" in done.stderr
    assert "please report it" in done.stderr


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = outside(str(BIN / "marts"), "generate", "file/drops", "--lines", "1000", cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: file/drops/sales/2024/01: Not a directory")


def test_help_imports_no_heavy_library() -> None:
    code = "import sys; sys.argv = ['marts', '--help']\nfrom jobs.cli.app import main\n"
    code += "try:\n    main()\nexcept SystemExit: pass\n"
    code += "print(sorted({'ray', 'great_expectations', 'pyarrow', 'duckdb', 'boto3', 'pandas'} & set(sys.modules)))"
    assert outside(sys.executable, "-c", code, cwd=ROOT).stdout.strip().endswith("[]")


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    groups = [(f"{group.name} ", group.typer_instance) for group in app.registered_groups]
    for prefix, typer in [("", app), *groups]:
        for command in typer.registered_commands:  # type: ignore[union-attr]
            assert command.callback
            name = (command.name or command.callback.__name__).replace("_", "-")
            assert f"## marts {prefix}{name}\n" in page


def test_the_module_is_the_command(place: Place, flags: list[str]) -> None:
    arguments = [*flags, "--as-of", "2024-03-31", "--json"]
    done = outside(sys.executable, "-m", "jobs.build", *arguments, environment={"RAY_ADDRESS": "127.0.0.1:1"}, cwd=ROOT)
    assert done.returncode == 2  # the policy is not there: relative to the checkout
    flags[-1] = str(Path("policy.toml").absolute())
    arguments = [*flags, "--as-of", "2024-03-31", "--json"]
    done = outside(sys.executable, "-m", "jobs.build", *arguments, environment={"RAY_ADDRESS": "127.0.0.1:1"}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "published"
