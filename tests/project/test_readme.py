"""Every command of the README and of docs/guide.md runs; only hosts, buckets and passwords are those of the tests."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from support.kit import GOLDEN, UNJUDGED, Place
from support.post import Hook
from support.retail import LEAVE_OUT
from support.servers import ACCESS_KEY, PASSWORD, SECRET_KEY, MariaDB, RayHead, S3Server

from k8s import helm

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "guide.md")
FEW_MARTS = {"MARTS_ANALYTICS": "false", "MARTS_LEAVE_OUT": LEAVE_OUT}
"""Variables of commands that need no more than two marts; `test_your_own_data` builds all."""
BLOCKS = [text for page in PAGES for text in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)]


def run(script: str, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """Run a block as a shell would; the first command that fails ends it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=400,
        env={**os.environ, "MARTS_ANALYTICS": "true", "MARTS_LEAVE_OUT": "[]", "PATH": path, **(environment or {})},
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def block(word: str) -> str:
    (code_block,) = (text for text in BLOCKS if word in text)
    return code_block


@pytest.fixture
def in_s3(place: Place, s3_server: S3Server, mariadb: MariaDB, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Put the golden drops into a bucket; give bucket and database."""
    name = f"r{abs(hash(request.node.name)) % 10**12}"
    s3_server.make_bucket(name)
    place.put_golden()
    s3_server.upload(place.source, name, "retail")
    return name, mariadb.make_database(name)


def test_no_block_is_left_out() -> None:
    words = (
        "make demo",
        "marts doctor",
        "marts expectations",
        "marts rollback",
        "marts diff",
        "export MARTS_S3",
        "marts secrets list",
    )
    words = (*words, "marts notify", "marts erase", "ray job submit", "helm install")
    assert sorted(map(block, words)) == sorted(BLOCKS)


def test_the_make_commands_are_targets() -> None:
    for command in re.findall(r"^make (\w+)", block("make demo"), re.MULTILINE):
        run(f"make --dry-run {command}", ROOT)


def test_your_own_data(tmp_path: Path) -> None:
    output = run(block("marts doctor"), tmp_path)
    assert "20,0" in output
    assert "published" in output
    assert (tmp_path / output.strip().splitlines()[-1]).is_file()


def test_data_quality(tmp_path: Path) -> None:
    output = run(block("marts expectations"), tmp_path)
    assert "price is at most 140" in run("marts expectations list sales --expectations rules", tmp_path)
    assert "ok sales: 35 rules" in output
    assert "rows in quarantine" in output


def test_the_chart_takes_the_four_values_of_the_page() -> None:
    values = re.findall(r"--set (\S+)", block("helm install"))
    text = helm.render(ROOT / "helm" / "martwright", [], *(part for value in values for part in ("--set", value)))
    assert (len(values), "kind: CronJob" in text) == (4, True)


def test_going_back_and_forgetting_a_person(tmp_path: Path) -> None:
    output = run(block("marts rollback"), tmp_path, {**UNJUDGED, **FEW_MARTS})
    assert "rolled back: wrong prices" in output
    assert "sales/2024/01/sales-2024-01-01-30-days.csv" in output
    assert "files are needed" in output
    forgotten = run(block("marts erase"), tmp_path, {**UNJUDGED, **FEW_MARTS})
    assert "erased, as number 1" in forgotten
    assert "still in drops" in forgotten
    assert "2 entries, none was changed" in forgotten


def test_why_a_figure_changed(tmp_path: Path) -> None:
    output = run(block("marts diff"), tmp_path, {**UNJUDGED, **FEW_MARTS})
    assert re.search(r"new +sales/later.csv +1 +0", output)
    assert "total_sales 80.00" in output
    changes = list(csv.DictReader((tmp_path / "changes.csv").open()))
    assert {"2025-03"} == {row["sales_month"] for row in changes if row["column"] == "total_sales"}
    assert sum(Decimal(row["difference"] or 0) for row in changes if row["column"] == "total_sales") == 80


def test_from_a_bucket_into_mysql(tmp_path: Path, in_s3: tuple[str, str], s3_server: S3Server) -> None:
    bucket, database = in_s3
    address = database.replace(re.findall(r":[^:@/]+@", database)[0], "@")
    Path(tmp_path / "policy.toml").write_text("max_unknown_ratio = 0.2")
    script = (
        block("export MARTS_S3__ENDPOINT")
        .replace("http://minio:9000", s3_server.endpoint)
        .replace("s3://drops/", f"s3://{bucket}/")
        .replace("mysql://marts@db:3306/marts", address)
    )
    secret = {"S3_ACCESS_KEY": ACCESS_KEY, "S3_SECRET_KEY": SECRET_KEY, "MYSQL_PASSWORD": PASSWORD}
    outside = {**UNJUDGED, "MARTS_POLICY": "policy.toml", "HOME": str(tmp_path / "home"), **secret}
    report = json.loads(run(script, tmp_path, outside))
    assert (report["outcome"], report["totals"]["clean"]) == ("published", 24)


def test_notifications(tmp_path: Path, hook: Hook) -> None:
    outside = {**UNJUDGED, "HOME": str(tmp_path / "home"), "MAIL_ADDRESS": hook.address}
    output = run(block("marts notify"), tmp_path, outside)
    assert "mail: sent" in output
    first, *others = [post["title"] for post in hook.posts]
    assert first == "Martwright: this is a test"
    assert [title for title in others if not re.search("new anomalies|Churn risk is newly high", title)] == []


def test_credentials(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MYSQL_PWD=plain\n")
    output = run(block("marts secrets list"), tmp_path, {"HOME": str(tmp_path / "home"), "EDITOR": "true"})
    assert "\nx\n" in output
    assert "is intact" in output
    assert "kind: Secret" in (tmp_path / "secret.yaml").read_text()


def test_as_a_ray_job(
    tmp_path: Path,
    in_s3: tuple[str, str],
    s3_server: S3Server,
    mariadb: MariaDB,
    start_ray_head: Callable[[dict[str, str]], RayHead],
) -> None:
    bucket, database = in_s3
    Path(tmp_path / "policy.toml").write_text("max_unknown_ratio = 0.2")
    inside = {
        **UNJUDGED,
        **s3_server.environment,
        "MARTS_MYSQL__PASSWORD": PASSWORD,
        "MARTS_POLICY": str(tmp_path / "policy.toml"),
        "MARTS_AS_OF": "2024-03-31",
        "MARTS_LOG__FORMAT": "auto",
    }
    head = start_ray_head(inside)
    address = database.replace(re.findall(r":[^:@/]+@", database)[0], "@")
    script = (
        block("ray job submit")
        .replace("s3://drops/", f"s3://{bucket}/")
        .replace("mysql://marts@db:3306/marts", address)
    )
    output = run(script, ROOT, head.environment)
    messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert messages[-1]["outcome"] == "published"
    run_id = messages[-1]["run_id"]
    # Whoever looks at the dashboard sees which run it is, and its workers' lines with step and drop.
    (job,) = head.ask("/api/jobs/")
    assert (job["metadata"]["run_id"], job["metadata"]["as_of"]) == (run_id, "2024-03-31")
    (started,) = [json.loads(line) for line in worker_lines(head) if "rows read" in line and "golden.csv" in line]
    assert (started["run_id"], started["step"], started["drop"]) == (run_id, "scan", "sales/golden.csv")
    # It gives a hundred unless asked for more, and the metrics of a run are tasks of an actor, each second some.
    tasks = head.ask("/api/v0/tasks?detail=0&limit=10000")["data"]["result"]["result"]
    names = {task["name"] for task in tasks}
    assert {"ReadScanDrops", "ReadRollUp", "ReadFinishMarts", "ReadLoadMarts"} <= names

    connection = mariadb.connect(bucket)
    cursor = connection.cursor()
    cursor.execute("SELECT COUNT(*), SUM(total_sales) FROM customers_data_mart")
    golden = (GOLDEN / "golden_customers.csv").read_text().count("\n") - 1
    assert [(count, str(total)) for count, total in cursor.fetchall()] == [(golden, "61999.46")]
    connection.close()


def worker_lines(head: RayHead) -> list[str]:
    """Read what workers wrote of themselves."""
    logs = Path(head.folder).glob("session_2*/logs/worker-*.err")
    return [line for log in logs for line in log.read_text().splitlines() if line.startswith("{")]
