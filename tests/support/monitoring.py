"""Prometheus, its Pushgateway and node_exporter as tests start them; a whole report; the rules and the dashboard."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import requests
import yaml

from jobs.report.run_report import DropReport, MartReport, RunReport, Totals
from support.servers import Daemon, free_port, missing

ROOT = Path(__file__).parents[2]
FILES = ROOT / "helm" / "martwright" / "files"
RULES, DASHBOARD = FILES / "alerts.yaml", FILES / "dashboard.json"
DOCS = ROOT / "docs" / "operations.md"


def full_report(**changed: Any) -> RunReport:
    """Return the report of a run that met everything."""
    drops = (
        DropReport(
            kind="sales", is_fact=True, key="sales/new.csv", change="new", state="live", rows_read=100, quarantined=2
        ),
        DropReport(
            kind="sales", is_fact=True, key="sales/old.csv", change="known", state="live", rows_read=900, quarantined=28
        ),
        DropReport(
            kind="sales", is_fact=True, key="sales/held.csv", change="new", state="held", rows_read=50, quarantined=40
        ),
        DropReport(kind="stores", key="stores/a.csv", change="new", state="rejected", rows_read=10, quarantined=9),
    )
    report = RunReport(
        run_id="run",
        outcome="published",
        exit_code=65,
        as_of="2024-03-31",
        source="drops",
        target="mysql://db/marts",
        state="state",
        started_at=datetime(2024, 3, 31, 2, 0, 0, tzinfo=UTC),
        ended_at=datetime(2024, 3, 31, 2, 1, 30, 500_000, tzinfo=UTC),
        totals=Totals(
            drops=12,
            held_rows=50,
            scanned=2,
            rows_read=1000,
            clean=960,
            quarantined=30,
            duplicates=10,
            repeated=7,
            replaced=3,
        ),
        drops=drops,
        marts=(
            MartReport(name="customers", table="customers_data_mart", rows=400, total="1.00", changed=True),
            MartReport(name="sales_team", table="sales_team_data_mart", rows=20, total="1.00", changed=False),
        ),
        unknown={"customers": 0, "sales_team": 0, "stores": 4},
        newest={"sales": date(2024, 3, 30)},
        seconds={"plan": 1.5, "scan": 60.25, "roll up": 10.0},
    )
    return report.model_copy(update=changed)


def rules() -> list[dict[str, Any]]:
    """Return all rules, those that record and those that alert."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def recorded() -> set[str]:
    """Return a name for what the rules record of a run."""
    return {rule["record"] for rule in rules() if "record" in rule}


def expressions() -> list[str]:
    """Return the expressions of the dashboard, for all pipelines."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"].replace("$pipeline", ".*") for panel in panels for target in panel["targets"]]


class Asked:
    """A Prometheus to ask."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression now."""
        answer = requests.get(f"{self.url}/api/v1/query", {"query": expression}, timeout=10).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def values(self, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the values of an expression by some labels."""
        series = self.query(expression)
        return {
            tuple(sample["metric"].get(label, "") for label in labels): float(sample["value"][1]) for sample in series
        }

    def wait(self, expression: str, wanted: Callable[[list[Any]], bool] = bool, seconds: float = 30) -> list[Any]:
        """Ask until the answer is as wanted."""
        end = time.monotonic() + seconds
        while not wanted(result := self.query(expression)):
            assert time.monotonic() < end, f"{expression} gives {result} after {seconds} s"
            time.sleep(0.2)
        return result


@contextmanager
def prometheus(folder: Path, scrapes: Sequence[Mapping[str, Any]]) -> Iterator[Asked]:
    """Start a Prometheus with our rules that looks at its targets every second."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": list(scrapes),
    }
    folder.mkdir()
    (folder / "prometheus.yml").write_text(json.dumps(config))
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    arguments += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with _running("prometheus", folder, arguments, f"http://127.0.0.1:{port}/-/ready") as url:
        yield Asked(url.removesuffix("/-/ready"))


@contextmanager
def pushgateway(folder: Path) -> Iterator[str]:
    """Start a Pushgateway; returns its URL."""
    folder.mkdir()
    port = free_port()
    with _running("pushgateway", folder, [f"--web.listen-address=127.0.0.1:{port}"], f"http://127.0.0.1:{port}"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def node_exporter(folder: Path) -> Iterator[str]:
    """Start a node_exporter that collects the text files of a folder; returns its address."""
    folder.mkdir()
    address = f"127.0.0.1:{free_port()}"
    arguments = ["--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={folder}"]
    arguments += [f"--web.listen-address={address}"]
    with _running("node-exporter", folder, arguments, f"http://{address}/metrics"):
        yield address


@contextmanager
def _running(what: str, folder: Path, arguments: Sequence[str], url: str) -> Iterator[str]:
    daemon = Daemon(what, [program(what), *arguments], folder, lambda: _answers(url))
    daemon.start()
    try:
        yield url
    finally:
        daemon.kill()


def program(name: str) -> str:
    """Find a program of Prometheus, by Debian's name or its own."""
    places = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin"
    names = (f"prometheus-{name}", name, name.replace("-", "_"))
    executable = next((path for candidate in names if (path := shutil.which(candidate, path=places))), None)
    return executable or missing(name) or ""


def promtool(*arguments: str, text: str | None = None) -> str:
    """Run promtool; return its output. It must succeed."""
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, check=False, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False
