"""A real Prometheus sees what a run gives: by a Pushgateway, by node_exporter, and among Ray's own metrics."""

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from support.monitoring import (
    DOCS,
    ROOT,
    RULES,
    Asked,
    expressions,
    full_report,
    node_exporter,
    prometheus,
    promtool,
    pushgateway,
    rules,
)
from support.servers import RayHead

from jobs.adapters.prometheus import push, write_textfile
from jobs.config.settings import Settings
from jobs.ports.metrics import of_pipeline
from jobs.report.metrics import samples
from jobs.report.publish_metrics import publish_metrics
from jobs.report.run_report import RunReport
from marts.errors import ServiceError

NOTICES = {"sent": 3, "pending": 1}


@dataclass(frozen=True)
class Watched:
    prometheus: Asked
    gateway: str
    textfiles: Path


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A Prometheus that looks at a Pushgateway and at a node_exporter."""
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        gateway = stack.enter_context(pushgateway(folder / "gateway"))
        node = stack.enter_context(node_exporter(folder / "node"))
        scrapes: list[dict[str, Any]] = [
            {
                "job_name": "gateway",
                "honor_labels": True,
                "static_configs": [{"targets": [gateway.rpartition("/")[2]]}],
            },
            {"job_name": "node", "static_configs": [{"targets": [node]}]},
        ]
        yield Watched(stack.enter_context(prometheus(folder / "prometheus", scrapes)), gateway, folder / "node")


def failed(after: RunReport) -> RunReport:
    """Return the report of a run that failed a day later, because a service did not answer."""
    known = ("run_id", "as_of", "source", "target", "state")
    day = timedelta(days=1)
    return RunReport(
        **{name: getattr(after, name) for name in known},
        started_at=after.started_at + day,
        ended_at=after.ended_at + day,
        outcome="failed",
        exit_code=69,
    )


def test_what_a_run_pushes_is_seen_and_the_last_success_outlives_a_failure(watched: Watched) -> None:
    settings, report = Settings(metrics={"pipeline": "pushed", "pushgateway": watched.gateway}), full_report()
    assert publish_metrics(settings, samples(report, None, NOTICES), None) == []
    watched.prometheus.wait('pipeline_state:martwright_notices:last{pipeline="pushed"}')
    at = '{pipeline="pushed"}'
    assert of(watched, "martwright_run_success", at) == 1
    assert of(watched, "martwright_last_success_timestamp_seconds", at) == report.ended_at.timestamp()
    lines = watched.prometheus.values(f"pipeline_outcome:martwright_lines:last{at}", "outcome")
    assert lines == {("clean",): 960, ("quarantined",): 30, ("repeated",): 7, ("replaced",): 3, ("held",): 50}
    steps = watched.prometheus.values(f"pipeline_step:martwright_step_duration_seconds:last{at}", "step")
    assert steps == {("plan",): 1.5, ("scan",): 60.25, ("roll up",): 10}
    assert publish_metrics(settings, samples(failed(report), None, {}), None) == []
    watched.prometheus.wait(f"pipeline:martwright_run_exit_code:last{at} == 69")
    assert of(watched, "martwright_run_success", at) == 0
    assert of(watched, "martwright_last_success_timestamp_seconds", at) == report.ended_at.timestamp()
    assert of(watched, "martwright_read_lines", at) == 1000


def of(watched: Watched, name: str, at: str) -> float:
    """Return what is recorded of a gauge without labels of its own."""
    return watched.prometheus.values(f"pipeline:{name}:last{at}")[()]


def test_what_a_run_writes_is_seen_by_node_exporter_for_each_pipeline(watched: Watched) -> None:
    for number, name in enumerate(("north", "south")):
        settings = Settings(metrics={"pipeline": name, "textfile": str(watched.textfiles / f"{name}.prom")})
        report = full_report(exit_code=number)
        assert publish_metrics(settings, samples(report, None, NOTICES), None) == []
        text = Path(settings.metrics.textfile or "").read_text()
        promtool("check", "metrics", text=text)
    query = 'pipeline:martwright_run_exit_code:last{pipeline=~"north|south"}'
    watched.prometheus.wait(query, lambda result: len(result) == 2)
    assert watched.prometheus.values(query, "pipeline") == {("north",): 0, ("south",): 1}
    rows = 'pipeline_mart:martwright_mart_rows:last{pipeline="north"}'
    assert watched.prometheus.values(rows, "mart") == {("customers",): 400, ("sales_team",): 20}
    errors = watched.prometheus.values("node_textfile_scrape_error")
    assert errors == {(): 0}


def test_each_expression_of_the_dashboard_gives_something(watched: Watched) -> None:
    settings = Settings(metrics={"pipeline": "shown", "pushgateway": watched.gateway})
    publish_metrics(settings, samples(full_report(), None, NOTICES), None)
    for expression in expressions():
        watched.prometheus.wait(expression.replace('".*"', '"shown"'))


def test_alerts_report_what_is_wrong(watched: Watched) -> None:
    settings = Settings(metrics={"pipeline": "alarming", "pushgateway": watched.gateway})
    publish_metrics(settings, samples(full_report(), datetime(2024, 1, 1, tzinfo=UTC), NOTICES), None)
    watched.prometheus.wait('ALERTS{pipeline="alarming"}', lambda result: len(result) >= 6)
    answer = requests.get(f"{watched.prometheus.url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
    summaries = {alert["annotations"]["summary"] for alert in answer if alert["labels"].get("pipeline") == "alarming"}
    assert "1 drops of alarming are held" in summaries
    assert "2% of the lines of alarming are in quarantine" in summaries
    assert "1 notices of alarming are not sent" in summaries
    assert not any("{{" in text or "<no value>" in text or "error" in text for text in summaries)


def test_a_gateway_that_refuses_or_does_not_answer_is_an_error_that_helps(watched: Watched) -> None:
    collected = of_pipeline(samples(full_report(), None, {}), "refused")
    for wrong in (f"{watched.gateway}/nowhere", f"http://{watched.gateway.rpartition('/')[2]}.invalid:1"):
        with pytest.raises(ServiceError, match="does not accept the metrics") as caught:
            push(wrong, "refused", collected, 5)
        assert "metrics.pushgateway" in caught.value.hint


JOB = """
import json, sys
from jobs.adapters.ray.cluster import Cluster
from jobs.report.publish_metrics import publish_metrics
from jobs.report.metrics import samples
from jobs.report.run_report import RunReport
from jobs.config.settings import Settings

report = RunReport.model_validate_json(open(sys.argv[1]).read())
settings = Settings(metrics={"pipeline": "on-ray", "ray": 15})
with Cluster(settings.ray) as cluster:
    print(publish_metrics(settings, samples(report, None, {"pending": 1}), cluster))
"""


def test_a_job_on_a_cluster_is_seen_after_its_end(start_ray_head: Any, tmp_path: Path) -> None:
    # Ray updates its exporter every second here instead of every ten, and so forgets a gauge after two instead of 20.
    head: RayHead = start_ray_head({"PYTHONPATH": str(ROOT), "RAY_metrics_report_interval_ms": "1000"})
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "report.json").write_text(full_report().model_dump_json())
    nodes = {"files": [f"{head.folder}/prom_metrics_service_discovery.json"], "refresh_interval": "1s"}
    scrape_config = {"job_name": "ray", "file_sd_configs": [nodes]}
    with prometheus(tmp_path / "prometheus", [scrape_config]) as watching:
        assert head.job(f"{sys.executable} {tmp_path}/job.py {tmp_path}/report.json") == "[]"
        ended = time.monotonic()
        ((raw),) = watching.wait("ray_martwright_run_exit_code")
        assert raw["metric"]["pipeline"] == "on-ray"
        assert {"SessionName", "NodeAddress", "WorkerId", "Component"} <= set(raw["metric"])
        watching.wait('pipeline_state:martwright_notices:last{pipeline="on-ray"}')
        rows = watching.values("ray_martwright_mart_rows", "mart")
        assert rows == {("customers",): 400, ("sales_team",): 20}
        last = watching.values("pipeline:martwright_last_run_timestamp_seconds:last", "pipeline")
        assert last == {("on-ray",): full_report().ended_at.timestamp()}
        time.sleep(max(ended + 5 - time.monotonic(), 0))
        assert watching.query("ray_martwright_run_exit_code"), "longer than a gauge lives that nobody sets again"
        watching.wait("ray_martwright_run_exit_code", lambda result: not result)
        assert watching.values("pipeline:martwright_run_exit_code:last", "pipeline") == {("on-ray",): 65}
        actors = requests.get(
            f"{head.dashboard}/api/v0/actors", headers={"Authorization": f"Bearer {head.token}"}, timeout=10
        ).json()["data"]["result"]["result"]
        assert {(actor["class_name"], actor["state"]) for actor in actors if "Gauges" in actor["class_name"]} == {
            ("Gauges", "DEAD")
        }


def test_the_rules_are_right_to_promtool() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


HOUR = 3600
DAY = 24 * HOUR
P = 'pipeline="marts"'
AT = 10 * DAY
"""When the alerts are looked at; series begin at 0 and have a value every six hours."""


def steady(value: float) -> str:
    return f"{value}+0x40"


def then(before: float, after: float, last: int) -> str:
    """Return a value that changed some values ago."""
    return f"{before}x{40 - last} {after}x{last}"


RUN = {f"martwright_last_run_timestamp_seconds{{{P}}}": steady(1)}
"""What every run gives."""
LINES = {f'martwright_lines{{{P},outcome="clean"}}': steady(1000)}
CASES: list[tuple[str, dict[str, str], bool]] = [
    ("BuildFailed", {f"martwright_run_success{{{P}}}": "0x40", f"martwright_run_exit_code{{{P}}}": steady(69)}, True),
    ("BuildFailed", {f"martwright_run_success{{{P}}}": "0x40", f"martwright_run_exit_code{{{P}}}": steady(75)}, False),
    ("BuildFailed", {f"martwright_run_success{{{P}}}": "1x40", f"martwright_run_exit_code{{{P}}}": steady(65)}, False),
    ("NoRecentSuccess", {f"martwright_last_success_timestamp_seconds{{{P}}}": steady(AT - 27 * HOUR)}, True),
    ("NoRecentSuccess", {f"martwright_last_success_timestamp_seconds{{{P}}}": steady(AT - 25 * HOUR)}, False),
    ("NewestRowOld", {f"martwright_newest_row_timestamp_seconds{{{P}}}": steady(AT - 4 * DAY)}, True),
    ("NewestRowOld", {f"martwright_newest_row_timestamp_seconds{{{P}}}": steady(AT - 2 * DAY)}, False),
    ("QuarantineHigh", {f"martwright_new_quarantine_ratio{{{P}}}": steady(0.015)}, True),
    ("QuarantineHigh", {f"martwright_new_quarantine_ratio{{{P}}}": steady(0.003)}, False),
    ("QuarantineHigh", {f"martwright_quarantine_ratio{{{P}}}": then(0.003, 0.007, 2)}, True),
    ("QuarantineHigh", {f"martwright_quarantine_ratio{{{P}}}": then(0.003, 0.005, 2)}, False),
    ("QuarantineHigh", {f"martwright_quarantine_ratio{{{P}}}": then(0, 0.0005, 2)}, False),
    ("DropsNotLive", {f'martwright_run_drops{{{P},state="held"}}': steady(1)}, True),
    ("DropsNotLive", {f'martwright_run_drops{{{P},state="rejected"}}': steady(2)}, True),
    ("DropsNotLive", {f'martwright_run_drops{{{P},state="withdrawn"}}': steady(1)}, False),
    ("UnknownPeople", {**LINES, f'martwright_unknown_lines{{{P},kind="stores"}}': steady(30)}, True),
    ("UnknownPeople", {**LINES, f'martwright_unknown_lines{{{P},kind="stores"}}': steady(15)}, False),
    ("BuildSlow", {f"martwright_run_duration_seconds{{{P}}}": then(200, 500, 2)}, True),
    ("BuildSlow", {f"martwright_run_duration_seconds{{{P}}}": then(300, 500, 2)}, False),
    ("BuildSlow", {f"martwright_run_duration_seconds{{{P}}}": then(10, 250, 2)}, False),
    ("BuildSlow", {f"martwright_run_duration_seconds{{{P}}}": steady(9000)}, False),
    ("NoticesPending", {f'martwright_notices{{{P},state="pending"}}': steady(1)}, True),
    ("NoticesPending", {f'martwright_notices{{{P},state="sent"}}': steady(1)}, False),
    ("NoticesPending", {f'martwright_notices{{{P},state="pending"}}': then(0, 1, 1)}, False),
    ("PagesStale", {"martwright_pages_answered_timestamp_seconds": steady(AT - 12 * HOUR)}, True),
    ("PagesStale", {"martwright_pages_answered_timestamp_seconds": steady(AT - 60)}, False),
    ("MetricsAbsent", {}, True),
    ("MetricsAbsent", {f"martwright_run_success{{{P}}}": "1x40"}, False),
]
"""An alert, what is given of the last run, and whether it fires. What is absent is a case of its own."""


def try_rules(folder: Path, interval: str, tests: list[dict[str, Any]]) -> None:
    """Let promtool try the rules. It evaluates groups in any order, unless one is set."""
    order = ["martwright-last-run", "martwright-alerts"]
    head = {"rule_files": [str(RULES)], "group_eval_order": order, "evaluation_interval": interval}
    (folder / "tests.yaml").write_text(json.dumps({**head, "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", str(folder / "tests.yaml"))


def case(alert: str, series: dict[str, str], fires: bool, *, ray: bool) -> dict[str, Any]:
    """Make a unit test of promtool."""
    given = {**RUN, **series} if series else {"up": "1x40"}
    named = ["ray_" + name.replace("}", ',WorkerId="w"}') if ray else name for name in given]
    expression = f'ALERTS{{alertname="Martwright{alert}",alertstate="firing"}}'
    return {
        "interval": "6h",
        "input_series": [
            {"series": name, "values": values} for name, values in zip(named, given.values(), strict=True)
        ],
        "promql_expr_test": [
            {"expr": f"count({expression})", "eval_time": "240h", "exp_samples": [{"labels": "{}", "value": 1}] * fires}
        ],
    }


def test_each_alert_fires_when_it_should_and_is_silent_when_not(tmp_path: Path) -> None:
    for name in (rule["alert"].removeprefix("Martwright") for rule in rules() if "alert" in rule):
        assert {fires for alert, _, fires in CASES if alert == name} == {True, False}, name
    tests = [
        case(*given, ray=ray) for given in CASES for ray in (False, True) if not (ray and given[0] == "PagesStale")
    ]
    try_rules(tmp_path, "6h", tests)


def gap(series: dict[str, str], expected: dict[str, float | None], at: str) -> dict[str, Any]:
    """Make a unit test of what the recording rules give."""
    return {
        "interval": "1h",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f"sum({name})",
                "eval_time": at,
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }
            for name, value in expected.items()
        ],
    }


def test_the_rules_bridge_gaps_follow_the_latest_run_and_forget_after_two_days(tmp_path: Path) -> None:
    code, run = "ray_martwright_run_exit_code", "ray_martwright_last_run_timestamp_seconds"
    seen = {
        f'{run}{{{P},WorkerId="a"}}': "1000 _x99",
        f'{code}{{{P},WorkerId="a"}}': "69 _x99",
        f'ray_martwright_run_drops{{{P},WorkerId="a",state="held"}}': "1 _x99",
        f'{run}{{{P},WorkerId="b"}}': "_x24 90000 _x75",
        f'{code}{{{P},WorkerId="b"}}': "_x24 0 _x75",
        f'martwright_last_run_timestamp_seconds{{{P},instance="an old host"}}': "500x100",
        f'martwright_run_exit_code{{{P},instance="an old host"}}': "70x100",
    }
    exit_code, held = "pipeline:martwright_run_exit_code:last", "pipeline_state:martwright_run_drops:last"
    absent = 'ALERTS{alertname="MartwrightMetricsAbsent",alertstate="firing"}'
    without_host = {name: values for name, values in seen.items() if "host" not in name}
    tests = [
        gap(seen, {exit_code: 69, held: 1}, "20h"),
        gap(seen, {exit_code: 0, held: None}, "30h"),
        gap(without_host, {exit_code: 0, absent: None}, "70h"),
        gap(without_host, {exit_code: None, absent: 1}, "76h"),
    ]
    try_rules(tmp_path, "1h", tests)


def test_the_configuration_of_the_runbook_is_right_to_promtool(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.+?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(block)
    (tmp_path / "alerts.yaml").write_bytes(RULES.read_bytes())
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_a_textfile_of_a_whole_report_pleases_promtool(tmp_path: Path) -> None:
    for report in (full_report(), failed(full_report())):
        write_textfile(str(tmp_path / "x.prom"), of_pipeline(samples(report, None, NOTICES), "marts"))
        assert promtool("check", "metrics", text=(tmp_path / "x.prom").read_text()) == ""
