"""The watchdog: Jobs that failed without a report or do not start, nights without a run. Each is notified once."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.charting import rights
from support.kit import Place, marts
from support.kube import KubeApi, kube_api
from support.kuberay import evicted, running, terminated, unschedulable, waiting
from support.post import Hook

SELECTOR = "app.kubernetes.io/name=martwright,app.kubernetes.io/instance=marts"
LABELS = {"app.kubernetes.io/name": "martwright", "app.kubernetes.io/instance": "marts"}


def ago(minutes: float) -> str:
    return f"{datetime.now(UTC) - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"


@dataclass
class Cluster:
    """A namespace with a release, its CronJobs, Jobs and pods."""

    api: KubeApi
    place: Place
    hook: Hook

    def cronjob(self, name: str = "marts-daily", success: float | None = 60, age: str = "93600", **spec: Any) -> None:
        status = {"lastSuccessfulTime": ago(success)} if success is not None else {}
        meta = {"name": name, "labels": {**LABELS, "martwright.io/command": "build"}}
        meta |= {"namespace": "marts", "annotations": {"martwright.io/max-age-seconds": age}}
        self._put("batch/v1", "CronJob", meta, {"schedule": "0 3 * * *", **spec}, status, 10_000)

    def job(
        self, name: str, failed: str = "", command: str = "build", minutes: float = 30, cron: str = "marts-daily"
    ) -> None:
        meta: dict[str, Any] = {"name": name, "labels": {**LABELS, "martwright.io/command": command}}
        cronjob = self.api.get("CronJob", cron)
        if cronjob:
            owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": cron, "uid": cronjob["metadata"]["uid"]}
            meta["ownerReferences"] = [{**owner, "controller": True}]
        condition = {"type": "Failed", "status": "True", "reason": failed, "message": "it failed"}
        status = {"conditions": [{**condition, "lastTransitionTime": ago(1)}]} if failed else {"active": 1}
        self._put("batch/v1", "Job", {**meta, "namespace": "marts"}, {}, status, minutes)

    def pod(self, job: str, state: Callable[[Any], None], minutes: float = 20, name: str = "") -> None:
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job, "controller": True}
        owner["uid"] = (self.api.get("Job", job) or {})["metadata"]["uid"]
        meta = {"name": name or f"{job}-pod", "labels": {"batch.kubernetes.io/job-name": job}}
        meta |= {"ownerReferences": [owner], "namespace": "marts"}
        spec = {"containers": [{"name": "marts", "image": "marts"}]}
        self._put("v1", "Pod", meta, spec, {}, minutes)
        self.api.edit("Pod", meta["name"], state)

    def _put(self, version: str, kind: str, meta: Any, spec: Any, status: Any, minutes: float) -> None:
        self.api.put({"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec, "status": status})

        def age(current: Any) -> None:
            current["metadata"]["creationTimestamp"] = ago(minutes)

        self.api.edit(kind, meta["name"], age)

    def watch(self, code: int = 0) -> list[str]:
        """Let the watchdog look. Return the notices since the last look."""
        known = len(self.hook.texts)
        marts("watchdog", "--selector", SELECTOR, code=code)
        return self.hook.texts[known:]

    def is_reported(self, job: str) -> bool:
        current = self.api.get("Job", job)
        return bool(current and "martwright.io/told" in current["metadata"].get("annotations", {}))


@pytest.fixture
def cluster(place: Place, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with kube_api() as api:
        outside = {"POD_NAMESPACE": "marts", "KUBECONFIG": str(api.kubeconfig(tmp_path / "kubeconfig"))}
        outside |= {"MARTS_SOURCE": str(place.source), "MARTS_TARGET": place.address}
        outside |= {"MARTS_STATE": str(place.folder / "state")}
        outside |= {"MARTS_NOTIFY__TO__OPS": f"json://127.0.0.1:{hook.port}/", "MARTS_NOTIFY__DEADLINE": "1"}
        for name, value in outside.items():
            monkeypatch.setenv(name, value)
        yield Cluster(api, place, hook)


def test_a_killed_launcher_is_notified_once(cluster: Cluster) -> None:
    cluster.cronjob()
    cluster.job("marts-daily-1", failed="BackoffLimitExceeded")
    cluster.pod("marts-daily-1", terminated("OOMKilled", 137))
    (text,) = cluster.watch()
    for word in (
        "The build failed: its pod ran out of memory",
        "Safe:",
        "launcher",
    ):
        assert word in text
    assert cluster.is_reported("marts-daily-1")
    assert cluster.watch() == []
    patched = [request for request in cluster.api.requests if request.verb == "patch"]
    assert [request.resource for request in patched] == ["jobs"]


def test_it_needs_the_rights_of_its_role_and_no_others(cluster: Cluster) -> None:
    cluster.cronjob()
    cluster.job("marts-daily-1", failed="BackoffLimitExceeded")
    cluster.pod("marts-daily-1", terminated("OOMKilled", 137))
    cluster.watch()
    used = {(request.verb, request.resource) for request in cluster.api.requests}
    assert used == rights("minimal", "watchdog")


@pytest.mark.parametrize("code", [2, 65, 69, 70])
def test_what_a_build_or_a_launcher_has_notified_is_not_notified_again(cluster: Cluster, code: int) -> None:
    cluster.job("marts-daily-1", failed="PodFailurePolicy")
    cluster.pod("marts-daily-1", terminated("Error", code))
    assert cluster.watch() == []
    assert cluster.is_reported("marts-daily-1")


def test_a_kill_is_no_word_even_if_a_pod_before_it_had_one(cluster: Cluster) -> None:
    cluster.job("marts-daily-1", failed="BackoffLimitExceeded")
    cluster.pod("marts-daily-1", terminated("Error", 69), minutes=20, name="first")
    cluster.pod("marts-daily-1", terminated("Error", 137), minutes=5, name="second")
    (text,) = cluster.watch()
    assert "Error (exit code 137)" in text
    assert "memory" not in text.partition("Report:")[0].replace("ran out of memory", "memory")


@pytest.mark.parametrize("removed", [True, False])
def test_a_deadline_is_notified_although_its_evidence_is_removed(cluster: Cluster, removed: bool) -> None:
    cluster.job("marts-daily-1", failed="DeadlineExceeded")
    if not removed:
        cluster.pod("marts-daily-1", terminated("Error", 75))
    (text,) = cluster.watch()
    assert "it exceeded its deadline" in text


def test_a_failed_vacuum_is_notified_by_the_watchdog(cluster: Cluster) -> None:
    cluster.job("marts-vacuum-1", failed="BackoffLimitExceeded", command="vacuum", cron="marts-vacuum")
    cluster.pod("marts-vacuum-1", terminated("Error", 69))
    (text,) = cluster.watch()
    assert "Job marts-vacuum-1" in text


def test_a_job_without_pods_is_notified_with_its_events(cluster: Cluster) -> None:
    cluster.job("marts-daily-1", minutes=11)
    job = cluster.api.get("Job", "marts-daily-1")
    assert job
    cluster.api.event(job, "FailedCreate", 'pods "x" is forbidden: exceeded quota: compute')
    (text,) = cluster.watch()
    assert "it does not start: FailedCreate: pods" in text
    assert "exceeded quota" in text


STUCK = {
    "no image": (waiting("ImagePullBackOff", 'Back-off pulling image "typo"'), "ImagePullBackOff: Back-off pulling"),
    "no node": (unschedulable(), "no node accepts its pod: 0/3 nodes are available"),
    "no Secret": (waiting("CreateContainerConfigError", 'secret "typo" not found'), "CreateContainerConfigError"),
}


@pytest.mark.parametrize("why", STUCK)
def test_a_pod_that_does_not_start_is_notified_before_the_deadline_removes_it(cluster: Cluster, why: str) -> None:
    state, message = STUCK[why]
    cluster.job("marts-daily-1", minutes=15)
    cluster.pod("marts-daily-1", state, minutes=15)
    (text,) = cluster.watch()
    assert message in text
    assert cluster.watch() == []

    def fail(current: Any) -> None:
        current["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}

    cluster.api.edit("Job", "marts-daily-1", fail)
    assert cluster.watch() == [], "once per Job"


def test_what_starts_or_runs_is_left_alone(cluster: Cluster) -> None:
    cluster.cronjob()
    cluster.job("young", minutes=5)
    cluster.pod("young", waiting("ImagePullBackOff"), minutes=5)
    cluster.job("at-work", minutes=300)
    cluster.pod("at-work", running(), minutes=300)
    cluster.job("second-try", minutes=300)
    cluster.pod("second-try", evicted(), minutes=300, name="evicted")
    cluster.pod("second-try", waiting(), minutes=2, name="new")
    assert cluster.watch() == []
    assert [name for name in ("young", "at-work", "second-try") if cluster.is_reported(name)] == []


def test_a_night_without_a_run_is_notified_until_there_is_one(cluster: Cluster) -> None:
    cluster.cronjob(success=27 * 60)
    (text,) = cluster.watch()
    assert (
        "CronJob marts-daily: no run has started for too long" in re.sub(r"\s+", " ", text)
        or "no run has started" in text
    )
    assert cluster.watch() == []
    cluster.place.put_golden()
    cluster.place.settings = {"notify": {"to": {"ops": f"json://127.0.0.1:{cluster.hook.port}/"}}}
    assert cluster.place.run().outcome == "published"
    assert cluster.hook.texts[-1].startswith("Martwright: Builds work again")
    assert cluster.watch() == [], "somebody built by hand; the schedule is as late as it was"

    def late_again(current: Any) -> None:
        current["status"]["lastSuccessfulTime"] = ago(26.5 * 60)

    cluster.api.edit("CronJob", "marts-daily", late_again)
    assert len(cluster.watch()) == 1


def test_no_schedule_is_missed_by_who_is_suspended_young_or_has_tried(cluster: Cluster) -> None:
    cluster.cronjob("suspended", success=27 * 60, suspend=True)
    cluster.cronjob("on-time", success=25 * 60)
    cluster.cronjob("no-limit", success=27 * 60, age="")
    cluster.cronjob("failing", success=27 * 60)
    cluster.job("failing-1", failed="PodFailurePolicy", minutes=60, cron="failing")
    cluster.pod("failing-1", terminated("Error", 65))
    assert cluster.watch() == [], "the build has notified of its failure itself"
    cluster.cronjob("never", success=None)
    assert len(cluster.watch()) == 1


def test_it_is_notified_once_even_if_no_place_can_remember_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARTS_TARGET", "mysql://marts@127.0.0.1:1/marts")
    monkeypatch.setenv("MARTS_MYSQL__DEADLINE", "0.1")
    monkeypatch.setenv("MARTS_STATE", "/proc/nowhere")
    cluster.job("marts-daily-1", failed="BackoffLimitExceeded")
    cluster.pod("marts-daily-1", terminated("OOMKilled", 137))
    assert len(cluster.watch()) == 1
    assert cluster.watch() == []


def test_jobs_of_others_and_of_a_cluster_that_refuses_are_not_touched(cluster: Cluster) -> None:
    cluster.job("marts-daily-1", failed="BackoffLimitExceeded")
    cluster.api.edit(
        "Job", "marts-daily-1", lambda current: current["metadata"]["labels"].pop("app.kubernetes.io/instance")
    )
    assert cluster.watch() == []
    cluster.api.deny("list", "jobs")
    assert cluster.watch(code=2) == []


LAST = '{"event": "ended", "exit_code": 75, "error": {"kind": "%s", "what": "%s", "where": "marts"}}'


def last_message(api: KubeApi, pod: str, text: str) -> None:
    """Let a container end with a last word, as Kubernetes keeps it."""

    def change(current: Any) -> None:
        current["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = text

    api.edit("Pod", pod, change)


def test_a_build_that_is_put_off_until_no_try_is_left_is_notified(cluster: Cluster) -> None:
    """Each try alone is nothing to notify: another build holds the lock."""
    cluster.job("marts-daily-1", failed="BackoffLimitExceeded")
    cluster.pod("marts-daily-1", terminated("Error", 75))
    last_message(
        cluster.api, "marts-daily-1-pod", f"cut in the mid\n{LAST % ('TryLater', 'another build holds the lock')}\n"
    )
    (text,) = cluster.watch()
    assert "all its attempts were deferred: another build holds the lock" in text
    assert cluster.watch() == []
    cluster.job("marts-daily-2", failed="BackoffLimitExceeded")
    cluster.pod("marts-daily-2", terminated("Error", 75))
    last_message(cluster.api, "marts-daily-2-pod", LAST % ("DeadlinePassed", "it exceeded its deadline"))
    assert cluster.watch() == [], "a launcher notifies of a deadline itself"


def test_the_ends_of_sidecars_are_ignored(cluster: Cluster) -> None:
    cluster.job("marts-daily-1", failed="BackoffLimitExceeded")
    cluster.pod("marts-daily-1", terminated("OOMKilled", 137))

    def more(current: Any) -> None:
        done = {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "restartCount": 0}
        current["status"]["initContainerStatuses"] = [{"name": "mesh", **done}]
        current["status"]["containerStatuses"].insert(0, {"name": "proxy", **done})

    cluster.api.edit("Pod", "marts-daily-1-pod", more)
    (text,) = cluster.watch()
    assert "ran out of memory" in text


def test_a_job_between_two_tries_in_a_queue_or_just_done_is_not_stuck(cluster: Cluster) -> None:
    cluster.job("trying", minutes=60)
    cluster.pod("trying", terminated("Error", 69), minutes=50)
    cluster.job("done", minutes=60)
    cluster.pod("done", terminated("Completed", 0), minutes=50)
    cluster.job("queued", minutes=60)
    cluster.api.edit("Job", "queued", lambda current: current["spec"].update(suspend=True))
    assert cluster.watch() == []


def test_a_job_that_starts_late_and_is_killed_then_is_notified_as_both(cluster: Cluster) -> None:
    cluster.job("marts-daily-1", minutes=15)
    cluster.pod("marts-daily-1", waiting("ImagePullBackOff"), minutes=15)
    assert len(cluster.watch()) == 1

    def fail(current: Any) -> None:
        current["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}

    cluster.api.edit("Job", "marts-daily-1", fail)
    cluster.api.edit("Pod", "marts-daily-1-pod", terminated("OOMKilled", 137))
    (text,) = cluster.watch()
    assert "ran out of memory" in text
    assert cluster.watch() == []


def test_a_job_that_cannot_be_marked_does_not_block_notices_of_the_others(cluster: Cluster) -> None:
    for number in range(3):
        cluster.job(f"marts-{'abc'[number]}", failed="BackoffLimitExceeded")
        cluster.pod(f"marts-{'abc'[number]}", terminated("OOMKilled", 137))
    cluster.api.deny("patch", "jobs")
    assert len(cluster.watch(code=2)) == 3


def test_a_wrong_policy_keeps_the_watchdog_from_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = cluster.place.folder / "policy.toml"
    policy.write_text("wrong = 1")
    monkeypatch.setenv("MARTS_POLICY", str(policy))
    cluster.job("marts-daily-1", failed="BackoffLimitExceeded")
    cluster.pod("marts-daily-1", terminated("OOMKilled", 137))
    assert len(cluster.watch()) == 1
