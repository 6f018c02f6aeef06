"""`marts launch` as the chart's pods run it: a real Ray head, real builds, real notices, and heads that die."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.kit import Place, as_golden, golden, marts
from support.kube import KubeApi, kube_api
from support.kuberay import Absent, AppFailed, Fails, FakeOperator, Mirror, Pod, Ready, Running, terminated, waiting
from support.launching import HEAD, JOB, ME, put_launcher
from support.post import Hook
from support.retail import CUSTOMERS_MART
from support.servers import RayHead

from jobs.adapters.ray.jobs import RayJobs

ROOT = Path(__file__).parents[3]
QUICK = ["--every", "0.1", "--operator", "1", "--grace", "1"]


@pytest.fixture(scope="module")
def head(start_shared_ray_head: Callable[..., RayHead]) -> RayHead:
    return start_shared_ray_head({"PYTHONPATH": str(ROOT)}, cpus=1)


@dataclass
class Release:
    """What the chart makes of its values: settings and a template in files, and a launcher's environment."""

    place: Place
    api: KubeApi
    hook: Hook
    arguments: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place.put_golden()
        (self.place.folder / "policy.toml").write_text("max_unknown_ratio = 0.2")
        lines = [f'source = "{self.place.source}"', f'target = "{self.place.address}"', 'policy = "policy.toml"']
        lines += [f'state = "{self.place.folder / "state"}"', "analytics = false"]
        lines += ["[quality]", "judge = false"]
        lines += ["[notify]", "deadline = 1.0", "[notify.to]", f'ops = "json://127.0.0.1:{self.hook.port}/"']
        self.config.write_text("\n".join(lines))

    @property
    def config(self) -> Path:
        return self.place.folder / "marts.toml"

    def template(self, **spec: Any) -> str:
        entrypoint = f"{sys.executable} -m jobs.build --config {self.config} {' '.join(self.arguments)}"
        cluster = {"rayVersion": "2.60.0", "headGroupSpec": HEAD, "workerGroupSpecs": []}
        spec = {"entrypoint": entrypoint, "submissionMode": "HTTPMode", "rayClusterSpec": cluster, **spec}
        manifest = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "daily"}, "spec": spec}
        path = self.place.folder / "rayjob.yaml"
        path.write_text(yaml.safe_dump(manifest))
        return str(path)

    def launch(self, code: int = 0, **spec: Any) -> str:
        """Run a launcher as the first of its Job. Returns what it wrote."""
        done = marts("launch", "rayjob", "--template", self.template(**spec), *QUICK, code=code)
        return done.output

    def titles(self) -> list[str]:
        return [text.splitlines()[0].removeprefix("Martwright: ") for text in self.hook.texts]


@pytest.fixture
def release(place: Place, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Release]:
    with kube_api() as api:
        put_launcher(api)
        new_release = Release(place, api, hook)
        outside = {"POD_NAME": ME.pod, "POD_NAMESPACE": ME.namespace, "JOB_NAME": JOB, "MARTS_AS_OF": "2024-03-31"}
        outside |= {"KUBECONFIG": str(api.kubeconfig(tmp_path / "kubeconfig")), "MARTS_CONFIG": str(new_release.config)}
        for name, value in {**outside, "MARTS_LOG__FORMAT": "json"}.items():
            monkeypatch.setenv(name, value)
        yield new_release


def on(head: RayHead) -> Callable[..., Any]:
    """Submit for real, as KubeRay does in HTTPMode."""
    jobs = RayJobs(head.dashboard)

    def submit(entrypoint: str, metadata: dict[str, str], name: str) -> Any:
        jobs.submit(entrypoint, name, metadata)

        def status() -> tuple[str, str]:
            job_info = jobs.look(name)
            assert job_info
            return job_info.status, job_info.message

        return status, lambda: jobs.stop(name)

    return submit


def operated(release: Release, head: RayHead) -> FakeOperator:
    return FakeOperator(release.api, submit=on(head), dashboard_url=head.dashboard, delay=0.1)


def test_a_build_is_launched_on_a_cluster_of_its_own_and_notified_once_if_it_fails(
    release: Release, head: RayHead
) -> None:
    with operated(release, head):
        strict = release.place.folder / "policy.toml"
        strict.write_text("max_unknown_ratio = 0.0")
        output = release.launch(code=65)
        assert '"outcome": "failed"' in output
        assert "ended with exit code 65" in output
        assert len(release.titles()) == 1, release.titles()
        assert release.titles()[0].startswith("The build stopped: too many people are unknown")

        strict.write_text("max_unknown_ratio = 0.2")
        output = release.launch()
        assert '"outcome": "published"' in output
        assert release.titles()[1:] == ["Builds work again"]
    wanted = golden("customers")
    names = [column.name for column in CUSTOMERS_MART.columns]
    assert as_golden(release.place.mart("customers"), names, list(wanted[0])) == wanted
    (job,) = release.api.objects("RayJob")
    with closing(release.place.warehouse(read_only=True)) as warehouse:
        run = warehouse.runs(1)[0]
    (ray_job,) = [entry for entry in head.ask("/api/jobs/") if entry["submission_id"] == job["status"]["jobId"]]
    assert ray_job["metadata"] == {**ray_job["metadata"], "run_id": run.run_id, "as_of": "2024-03-31", "job": JOB}
    assert json.loads(run.report)["submission"] == job["status"]["jobId"]


def test_a_cluster_that_never_starts_is_notified_once_and_then_the_recovery(release: Release) -> None:
    pull = waiting("ImagePullBackOff", 'Back-off pulling image "marts:typo"')
    for _ in range(2):
        with FakeOperator(release.api, [Pod(pull)], delay=0.05):
            output = release.launch(code=69, preRunningDeadlineSeconds=1)
        assert "did not start: the head waits: ImagePullBackOff" in output
    (text,) = release.hook.texts
    for word in ("The build failed", "ImagePullBackOff", "Safe:", "Do:", JOB):
        assert word in text
    release.place.policy = release.place.policy.model_copy(update={"max_unknown_ratio": 0.2})
    release.place.settings = {"notify": {"to": {"ops": f"json://127.0.0.1:{release.hook.port}/"}}}
    assert release.place.run().outcome == "published"
    assert release.titles()[1:] == ["Builds work again"]
    with closing(release.place.warehouse(read_only=True)) as warehouse:
        assert ("failed", JOB) in [(run.outcome, run.run_id) for run in warehouse.runs(5)]


def test_no_operator_no_rights_and_no_template_are_notified_too(release: Release) -> None:
    with FakeOperator(release.api, [Absent()]):
        assert "no KubeRay operator" in release.launch(code=69)
    release.api.deny("create", "rayjobs")
    assert "cannot create resource" in release.launch(code=2)
    assert [title.partition(":")[0] for title in release.titles()] == ["The build failed"] * 2
    marts("launch", "rayjob", "--template", str(release.place.folder / "none.yaml"), code=2)
    assert len(release.titles()) == 3


def test_one_cause_is_notified_once_whatever_the_names_of_pods(release: Release) -> None:
    crash = [Ready("http://127.0.0.1:9"), Running(), Pod(terminated("OOMKilled", 137))]
    for _ in range(3):
        with FakeOperator(release.api, [*crash, Fails("JobStatusCheckTimeoutExceeded")], delay=0.05):
            release.launch(code=69)
    assert len(release.titles()) == 1
    for _ in range(2):
        with FakeOperator(release.api, [*crash[:2], AppFailed(exit_code=-9)], delay=0.05):
            release.launch(code=69)
    assert len(release.titles()) == 2


def test_a_wrong_policy_and_a_defect_of_the_product_are_notified_too(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    (release.place.folder / "policy.toml").write_text("business_timezone = 'Mars/Olympus'")
    release.launch(code=2)
    assert "Mars/Olympus" in release.hook.texts[0]
    (release.place.folder / "policy.toml").write_text("max_unknown_ratio = 0.2")
    monkeypatch.setattr("jobs.launch.launcher.RayJobLauncher.run", lambda self: {}["oops"])
    with pytest.raises(KeyError):
        release.launch()
    assert "KeyError: 'oops'" in release.hook.texts[1]


def test_a_head_that_is_gone_before_its_log_was_read_changes_nothing(release: Release, head: RayHead) -> None:
    """The build has failed and reported it; its dashboard is gone before anybody could read that: the ledger knows."""
    (release.place.folder / "policy.toml").write_text("max_unknown_ratio = 0.0")
    out_of_reach = Ready("http://127.0.0.1:9")
    with FakeOperator(release.api, [out_of_reach, Mirror()], submit=on(head), delay=0.1):
        output = release.launch(code=65)
    assert "the log cannot be followed yet" in output
    assert "ended with exit code 65" in output
    assert len(release.titles()) == 1


def launch_on(release: Release, head: RayHead, *arguments: str, code: int = 0) -> str:
    words = ["launch", "submit", "--address", head.dashboard, "--", "--config", str(release.config), *arguments]
    return marts(*words, code=code).output


def test_a_long_lived_cluster_gets_the_build_and_a_launcher_that_comes_back_goes_on(
    release: Release, head: RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another Job than that of the other tests: submission ids are taken for ever on a cluster that lives on.
    monkeypatch.setenv("JOB_NAME", "marts-weekly-29384401")
    (release.place.folder / "policy.toml").write_text("max_unknown_ratio = 0.0")
    assert "job marts-weekly-29384401 is submitted" in launch_on(release, head, code=65)
    assert len(release.titles()) == 1
    (release.place.folder / "policy.toml").write_text("max_unknown_ratio = 0.2")
    assert "job marts-weekly-29384401-2 is submitted" in launch_on(release, head)
    assert "job marts-weekly-29384401-2 exists already" in launch_on(release, head)
    assert release.titles()[1:] == ["Builds work again"]


def test_a_job_that_is_deleted_stops_its_build_on_a_long_lived_cluster_too(
    release: Release, head: RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_NAME", "marts-stopped-29384402")
    command = [str(Path(sys.executable).parent / "marts"), "launch", "submit", "--address", head.dashboard]
    command += ["--", "--config", str(release.config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stderr
    output = ""
    while "start Ray" not in output:
        output += process.stderr.readline()
    release.api.delete("Pod", ME.pod)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    job = RayJobs(head.dashboard).look("marts-stopped-29384402")
    assert job
    assert job.status == "STOPPED"
    assert release.titles() == []


def test_a_small_build_needs_no_cluster(release: Release) -> None:
    """Its day is that of the Job's name, also on a day after."""
    minutes = int(time.time()) // 60 - 2 * 24 * 60
    command = [str(Path(sys.executable).parent / "marts"), "launch", "local", "--", "--config", str(release.config)]
    outside = {**os.environ, "JOB_NAME": f"marts-daily-{minutes}", "MARTS_RAY__CPUS": "1"}
    del outside["MARTS_AS_OF"]
    done = subprocess.run([*command, "--json"], env=outside, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    scheduled = datetime.fromtimestamp(minutes * 60, UTC).date()
    assert json.loads(done.stdout)["as_of"] == scheduled.isoformat()
    words = [*command, "--as-of", "yesterday", "--json"]
    done = subprocess.run(words, env=outside, capture_output=True, text=True, timeout=120, check=False)
    assert json.loads(done.stdout)["as_of"] == (scheduled - timedelta(days=1)).isoformat()


def test_wrong_settings_are_reported_by_the_exit_code(release: Release) -> None:
    release.config.write_text("sorce = 1")
    assert "sorce" in str(marts("launch", "rayjob", "--template", "x.yaml", code=2).exception)


def test_a_head_that_dies_while_the_build_runs_is_notified_once(release: Release, head: RayHead) -> None:
    """The last test of this file: it ends the cluster that all of them have."""

    def dies(operator: FakeOperator, name: str) -> bool:
        if operator.status(name).get("jobStatus") != "RUNNING":
            return False
        head.kill()
        Pod(terminated("OOMKilled", 137))(operator, name)
        return True

    started = time.monotonic()
    mirror = Mirror(check_timeout=0.5)

    def both(operator: FakeOperator, name: str) -> bool:
        done = mirror(operator, name)
        if not killed and dies(operator, name):
            killed.append(name)
        return done

    killed: list[str] = []
    submit = on(head)
    with FakeOperator(release.api, [Ready(head.dashboard), both], submit=submit, delay=0.1):
        output = release.launch(code=69)
    assert killed == [JOB]
    assert "the head ran out of memory" in output
    assert [title.partition(":")[0] for title in release.titles()] == ["The build failed"]
    assert "ray.head.resources" in release.hook.texts[0]
    assert time.monotonic() - started < 200
