"""What Prometheus receives of a run: each figure once, in base units, and nothing that the run does not know."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.monitoring import DOCS, RULES, expressions, full_report, recorded, rules

from jobs.adapters.prometheus import write_textfile
from jobs.adapters.ray.cluster import Cluster
from jobs.config.load import load
from jobs.config.settings import RaySettings, Settings
from jobs.pages import metrics as pages
from jobs.pages.live import State
from jobs.ports.metrics import Sample, of_pipeline
from jobs.report import publish_metrics as meter
from jobs.report.metrics import LAST_SUCCESS, samples
from jobs.report.run_report import DropReport, RunReport
from marts.errors import ServiceError

NOTICES = {"sent": 3, "pending": 1}


def values(report: RunReport, last_success: datetime | None = None, **notices: int) -> dict[str, float]:
    """Return the name of each figure with its labels, as Prometheus does."""
    collected = samples(report, last_success, notices)
    named = [
        (sample.name + "".join(f" {value}" for value in sample.labels.values()), sample.value) for sample in collected
    ]
    assert len(named) == len(dict(named))
    return dict(named)


def failed(**more: Any) -> RunReport:
    """Return the report of a run whose database was down."""
    full = full_report()
    known = ("run_id", "as_of", "source", "target", "state", "started_at", "ended_at", "seconds")
    return RunReport(**{name: getattr(full, name) for name in known}, outcome="failed", exit_code=69, **more)


def test_a_run_reports_how_it_ended_and_how_long_it_took() -> None:
    metrics = values(full_report())
    assert metrics["martwright_run_success"] == 1
    assert metrics["martwright_run_exit_code"] == 65
    assert metrics["martwright_run_duration_seconds"] == 90.5
    assert metrics["martwright_step_duration_seconds scan"] == 60.25
    assert metrics["martwright_last_run_timestamp_seconds"] == full_report().ended_at.timestamp()


def test_lines_are_counted_once_and_those_read_add_up() -> None:
    metrics = values(full_report())
    lines = {name.split()[1]: value for name, value in metrics.items() if name.startswith("martwright_lines ")}
    assert lines == {"clean": 960, "quarantined": 30, "repeated": 7, "replaced": 3, "held": 50}
    assert (
        metrics["martwright_read_lines"]
        == lines["clean"] + lines["quarantined"] + lines["repeated"] + lines["replaced"]
    )
    assert metrics["martwright_quarantine_ratio"] == 0.03


def test_the_ratio_of_new_lines_leaves_old_and_held_drops_and_dimensions_out() -> None:
    assert values(full_report())["martwright_new_quarantine_ratio"] == 2 / 100
    assert values(full_report(drops=()))["martwright_new_quarantine_ratio"] == 0


def test_each_state_of_drops_is_there_even_if_no_drop_is_in_it() -> None:
    metrics = {name.split()[1]: value for name, value in values(full_report()).items() if "run_drops" in name}
    assert metrics == {"live": 2, "duplicate": 0, "rejected": 1, "held": 1, "deferred": 0, "withdrawn": 0} | {
        "missing": 0,
        "older": 0,
    }


def test_marts_unknown_people_the_newest_day_and_notices_are_reported() -> None:
    metrics = values(full_report(), **NOTICES)
    assert metrics["martwright_mart_rows customers"] == 400
    assert (metrics["martwright_mart_changed customers"], metrics["martwright_mart_changed sales_team"]) == (1, 0)
    assert metrics["martwright_unknown_lines stores"] == 4
    assert metrics["martwright_newest_row_timestamp_seconds sales"] == datetime(2024, 3, 30, tzinfo=UTC).timestamp()
    assert (metrics["martwright_notices sent"], metrics["martwright_notices pending"]) == (3, 1)


def test_the_last_success_is_this_run_or_an_earlier_one() -> None:
    full, earlier = full_report(), datetime(2024, 1, 1, tzinfo=UTC)
    assert values(full)[LAST_SUCCESS] == full.ended_at.timestamp()
    assert values(full, earlier)[LAST_SUCCESS] == full.ended_at.timestamp()
    assert values(failed(), earlier)[LAST_SUCCESS] == earlier.timestamp()
    assert LAST_SUCCESS not in values(failed())


def test_a_failed_run_reports_nothing_of_what_it_does_not_know() -> None:
    names = {name.partition(" ")[0].removeprefix("martwright_") for name in values(failed())}
    assert names == {
        *("run_success", "run_exit_code", "run_duration_seconds", "step_duration_seconds"),
        "last_run_timestamp_seconds",
    }
    held = DropReport(kind="sales", key="sales/a.csv", change="new", state="held")
    assert values(failed(drops=(held,)))["martwright_run_drops held"] == 1


def test_a_textfile_keeps_what_the_new_samples_do_not_know_of_the_same_pipeline(tmp_path: Path) -> None:
    file = tmp_path / "marts.prom"
    write_textfile(str(file), of_pipeline(samples(full_report(), None, NOTICES), "marts"))
    whole = file.read_text()
    later = failed().model_copy(update={"ended_at": full_report().ended_at + timedelta(days=1)})
    write_textfile(str(file), of_pipeline(samples(later, None, {}), "marts"))
    text = file.read_text()
    for name in (LAST_SUCCESS, "martwright_newest_row_timestamp_seconds", "martwright_mart_rows"):
        assert lines_of(name, text) == lines_of(name, whole) != []
    assert lines_of("martwright_run_success", text) == ['martwright_run_success{pipeline="marts"} 0.0']
    write_textfile(str(file), of_pipeline(samples(later, None, {}), "another"))
    assert lines_of(LAST_SUCCESS, file.read_text()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["marts.prom"]


def lines_of(name: str, text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(name)]


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"martwright_run_success{", b"", b"something else 1\n2 3 4 5\n"])
def test_a_damaged_textfile_is_written_anew(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "marts.prom"
    file.write_bytes(damage)
    write_textfile(str(file), [Sample("martwright_x", "X.", 1, {"pipeline": "marts"})])
    assert file.read_text().splitlines()[-1] == 'martwright_x{pipeline="marts"} 1.0'


def test_a_label_may_hold_anything(tmp_path: Path) -> None:
    file, odd = tmp_path / "marts.prom", 'a "b" \\ c\nd'
    for _ in range(2):
        write_textfile(str(file), [Sample("martwright_x", 'X "y" \\ z.\nw', 1, {"step": odd, "pipeline": "marts"})])
        write_textfile(str(file), [Sample("martwright_y", "Y.", 1, {"pipeline": "marts"})])
    assert 'step="a \\"b\\" \\\\ c\\nd"' in file.read_text()


def test_a_textfile_that_cannot_be_written_is_a_warning_that_helps(tmp_path: Path) -> None:
    where = str(tmp_path / "nowhere" / "marts.prom")
    settings = Settings(metrics={"textfile": where, "pushgateway": "http://127.0.0.1:1"})
    warnings = meter.publish_metrics(settings, samples(full_report(), None, {}), None)
    assert len(warnings) == 2
    assert where in warnings[0]
    assert "No such file" in warnings[0]
    assert "refused" in warnings[1]
    assert "metrics.pushgateway" in warnings[1]


def test_nothing_is_published_if_nothing_is_set() -> None:
    settings = Settings(ray={"address": "local"})
    assert meter.publish_metrics(settings, samples(full_report(), None, {}), Cluster(settings.ray)) == []


def test_the_cluster_of_a_run_is_asked_only_if_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float]] = []
    monkeypatch.setattr(
        Cluster, "report", lambda _, collected, seconds: asked.append((collected[0].labels["pipeline"], seconds))
    )
    for seconds in (0, 30):
        settings = Settings(metrics={"pipeline": "mine", "ray": seconds})
        meter.publish_metrics(settings, samples(full_report(), None, {}), Cluster(RaySettings()))
    assert asked == [("mine", 30)]


def test_a_cluster_that_is_lost_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any) -> None:
        raise ServiceError("Ray does not accept the metrics", "Ray", "metrics.ray = 0 turns it off")

    monkeypatch.setattr(Cluster, "report", lost)
    (warning,) = meter.publish_metrics(Settings(), samples(full_report(), None, {}), Cluster(RaySettings()))
    assert warning.startswith("the metrics of this run were not published: Ray: Ray does not accept")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1"])
def test_a_cluster_that_does_not_answer_is_not_waited_for(address: str) -> None:
    settings = Settings(ray={"address": address})
    (warning,) = meter.publish_metrics(settings, samples(full_report(), None, {}), Cluster(settings.ray))
    assert "no Ray cluster answers" in warning


@pytest.mark.parametrize(
    "wrong",
    [
        {"pipeline": ""},
        {"pipeline": "a/b"},
        {"textfile": "x.txt"},
        {"pushgateway": "host:9091"},
        {"pushgateway": "http://me:secret@host"},
        {"ray": -1},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="metrics"):
        Settings(metrics=wrong)


def test_the_rules_record_what_a_run_gives_and_nothing_else() -> None:
    given = {sample.name for sample in samples(full_report(), None, NOTICES)}
    read = set(re.findall(r"\(ray_\)\?(martwright_\w+)", RULES.read_text()))
    assert read == given
    assert {name.split(":")[1] for name in recorded()} == given


def test_alerts_and_dashboard_read_what_the_rules_record() -> None:
    alerts = [rule["expr"] for rule in rules() if "alert" in rule]
    used = {name for text in [*alerts, *expressions()] for name in re.findall(r"[a-z_]+:martwright_\w+:last", text)}
    assert used <= recorded()
    assert len(expressions()) >= 15
    for text in [*alerts, *expressions()]:
        assert "martwright_" not in re.sub(r"[a-z_]+:martwright_\w+:last|martwright_pages_\w+", "", text)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    of_pages = {sample.name for sample in pages.samples(State(answered_at=moment, looked_at=moment))}
    assert {name for text in alerts for name in re.findall(r"martwright_pages_\w+", text)} <= of_pages


def test_labels_in_alerts_and_dashboard_are_those_of_the_run() -> None:
    known = {(name, value) for sample in samples(full_report(), None, NOTICES) for name, value in sample.labels.items()}
    texts = [*(rule["expr"] for rule in rules()), *expressions()]
    used = {
        (name, value)
        for text in texts
        for name, given in re.findall(r'(?<!_)\b(state|outcome|step|mart|kind)=~?"([^"]+)"', text)
        for value in given.split("|")
    }
    assert used
    assert used <= known


def test_each_alert_has_a_section_in_the_runbook() -> None:
    text = DOCS.read_text()
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    for rule in (rule for rule in rules() if "alert" in rule):
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (DOCS.as_posix().endswith(page), anchor) == (True, rule["alert"].lower())
        assert anchor in anchors


def test_the_figures_of_the_runbook_are_those_of_the_settings() -> None:
    text, metrics = DOCS.read_text(), Settings().metrics
    assert f"`metrics.ray` ({metrics.ray} s)" in text
    assert f"{meter.TIMEOUT:.0f} seconds to respond" in text


def test_the_settings_of_the_runbook_are_right() -> None:
    blocks = re.findall(r"```toml\n(\[metrics\].+?)```", DOCS.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        Path("marts.toml").write_text(block)
        assert load(None, {}).metrics.pipeline == "retail"
