"""The launcher through every row of the table: a real client; an API server and a KubeRay that play their part.

Here Ray's own part, the log of a driver, is a script; test_launch_ray.py has a real cluster.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from support.kube import KubeApi, kube_api
from support.kuberay import (
    Absent,
    AppFailed,
    Fails,
    FakeOperator,
    Pod,
    Ready,
    Retrying,
    Running,
    Step,
    Stopped,
    Succeeded,
    ValidationFailed,
    disrupted,
    evicted,
    restarted,
    terminated,
    unschedulable,
    waiting,
)
from support.launching import HEAD, JOB, ME, put_launcher
from support.post import Hook

from jobs.adapters.kubernetes import Kube
from jobs.launch import diagnose
from jobs.launch.launcher import (
    BuildOutcome,
    LauncherPod,
    RayJobLauncher,
    Timeouts,
    manifest_of,
    owner_uid,
    scheduled_day,
    short_name,
)
from jobs.ports import kubernetes as observed
from jobs.ports.kubernetes import RayJobRun
from marts.errors import MartsError, ServiceError, Transient, UsageError
from marts.errors import Stopped as Signalled

DAY = date(2025, 11, 13)
QUICK = Timeouts(every=0.02, operator=0.4, grace=0.3, look=0.02)
WORKERS = {"groupName": "w", "replicas": 1, "template": {}}
TEMPLATE = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"name": "template", "labels": {"app.kubernetes.io/name": "martwright"}},
    "spec": {
        "entrypoint": "marts build --mart customers",
        "submissionMode": "HTTPMode",
        "backoffLimit": 1,
        "preRunningDeadlineSeconds": 1,
        "activeDeadlineSeconds": 30,
        "rayClusterSpec": {"rayVersion": "2.60.0", "headGroupSpec": HEAD, "workerGroupSpecs": [WORKERS]},
    },
}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:
    """A cluster with a Job, and the launcher's own pod."""
    with kube_api() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        put_launcher(server)
        yield server


def closing(code: int, kind: str = "DataError") -> str:
    """The last line of a build that failed."""
    error = {"what": "the data said no", "where": "sales", "hint": "look", "kind": kind}
    return json.dumps({"event": "run", "run_id": "r1", "outcome": "failed", "exit_code": code, "error": error})


@dataclass
class Logs:
    """The logs of Ray jobs, each as it was written at last, and what was asked of them."""

    lines: dict[int, Sequence[str]] = field(default_factory=dict)
    """By the number of the attempt."""
    names: list[str] = field(default_factory=list)
    down: bool = False

    def __call__(self, address: str) -> "Logs":
        if self.down:
            raise Transient("no Ray dashboard answers", address)
        return self

    def follow(self, name: str) -> Iterator[str]:
        if name not in self.names:
            self.names.append(name)
        for line in self.lines.get(self.names.index(name), ()):
            yield f"{line}\n"

    def submit(self, entrypoint: str, name: str, metadata: Mapping[str, str], working_dir: str | None = None) -> None:
        raise AssertionError("KubeRay submits")

    def look(self, name: str) -> RayJobRun | None:
        return None

    def log(self, name: str) -> str:
        raise Transient("no Ray dashboard answers", name)

    def stop(self, name: str) -> bool:
        return False


def launcher(logs: Logs | None = None, messages: list[str] | None = None, **spec: Any) -> RayJobLauncher:
    kube = Kube("marts", deadline=0.5)
    template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], **spec}}  # type: ignore[dict-item]
    manifest = manifest_of(template, ME, owner_uid(kube, ME), DAY)
    return RayJobLauncher(kube, ME, manifest, logs or Logs(), (messages if messages is not None else []).append, QUICK)


def run(
    api: KubeApi, script: Sequence[Step], logs: Logs | None = None, delay: float = 0.05, **spec: Any
) -> BuildOutcome:
    with FakeOperator(api, script, delay=delay):
        ended = launcher(logs, **spec).run()
    assert api.errors == []
    return ended


def reason(ended: BuildOutcome) -> tuple[int, str]:
    return (ended.error.exit_code, str(ended.error)) if ended.error else (0, "")


READY = Ready("http://head:8265")


def test_a_good_build_ends_without_an_error_and_its_log_is_passed_on(api: KubeApi) -> None:
    messages: list[str] = []
    with FakeOperator(api, [READY, Running(), Succeeded()], delay=0.05):
        assert launcher(Logs({0: ["one", "two"]}), messages).run().error is None
    assert messages == ["one", "two"]
    (job,) = api.objects("RayJob")
    assert job["metadata"]["name"] == JOB
    assert [owner["kind"] for owner in job["metadata"]["ownerReferences"]] == ["Job"]
    assert job["spec"]["entrypoint"] == "marts build --mart customers --as-of 2025-11-13"
    assert job["spec"]["metadata"] == {"as_of": "2025-11-13", "job": JOB}
    assert job["metadata"]["labels"] == {"app.kubernetes.io/name": "martwright"}
    assert {request.verb for request in api.requests if request.resource == "rayjobs"} == {"create", "get"}


@pytest.mark.parametrize("code", [2, 65, 70])
def test_what_another_attempt_would_not_mend_is_not_tried_again(api: KubeApi, code: int) -> None:
    script = [READY, Running(), AppFailed(exit_code=code), Retrying(), READY, Running(), Succeeded()]
    ended = run(api, script, Logs({0: [closing(code)]}))
    assert reason(ended) == (code, "sales: the data said no")
    assert ended.announced
    api.settle()
    assert api.objects("RayJob") == [], "or KubeRay would try again"


@pytest.mark.parametrize("code", [69, 75])
def test_what_another_attempt_may_mend_is_tried_again_by_kuberay(api: KubeApi, code: int) -> None:
    script = [READY, Running(), AppFailed(exit_code=code), Retrying(), READY, Running(), Succeeded()]
    logs = Logs({0: [closing(code, "ServiceError")], 1: ["fine"]})
    assert run(api, script, logs).error is None
    assert len(logs.names) == 2
    ended = run(api, [READY, Running(), AppFailed(exit_code=code)], Logs({0: [closing(code)]}), backoffLimit=0)
    assert ended.error is None, "it is done: the Job that is tried again finds that out"


def test_a_build_whose_log_is_lost_ends_with_the_exit_code_that_ray_knows(api: KubeApi) -> None:
    ended = run(api, [READY, Running(), AppFailed(exit_code=65)], Logs(down=True), backoffLimit=0)
    assert reason(ended)[0] == 65
    assert not ended.announced, "nobody knows whether the build could report it"


PULL = waiting("ImagePullBackOff", 'Back-off pulling image "marts:typo"')
QUOTA = 'pods "x" is forbidden: exceeded quota: compute'
ROWS: dict[str, tuple[list[Step], int, str]] = {
    "the image is not there": (
        [Pod(PULL), Fails("PreRunningDeadlineExceeded")],
        69,
        "did not start: the head waits: ImagePullBackOff: Back-off pulling",
    ),
    "no node has room": (
        [Pod(unschedulable(), "worker"), Fails("PreRunningDeadlineExceeded")],
        69,
        "did not start: no node accepts a worker: 0/3 nodes are available",
    ),
    "a Secret is not there": (
        [Pod(waiting("CreateContainerConfigError", 'secret "typo" not found')), Fails("PreRunningDeadlineExceeded")],
        2,
        'the head waits: CreateContainerConfigError: secret "typo" not found',
    ),
    "a volume is not there": (
        [
            Pod(waiting(), event=("FailedMount", 'MountVolume.SetUp failed: secret "typo" not found')),
            Fails("PreRunningDeadlineExceeded"),
        ],
        69,
        'did not start: FailedMount: MountVolume.SetUp failed: secret "typo" not found',
    ),
    "the head runs out of memory": (
        [READY, Running(), Pod(terminated("OOMKilled", 137)), Fails("JobStatusCheckTimeoutExceeded")],
        69,
        "the head ran out of memory: pod .* was OOMKilled",
    ),
    "the head was started again after it ran out of memory": (
        [READY, Running(), Pod(restarted("OOMKilled")), AppFailed("Unexpected error: the supervisor died")],
        69,
        "the head ran out of memory: pod .* was OOMKilled",
    ),
    "a worker runs out of memory": (
        [READY, Running(), Pod(terminated("OOMKilled", 137), "worker"), AppFailed("the job supervisor died")],
        69,
        "a worker ran out of memory: pod .* was OOMKilled",
    ),
    "a node is low on memory": (
        [
            READY,
            Running(),
            Pod(evicted("The node was low on resource: memory.")),
            Fails("JobStatusCheckTimeoutExceeded"),
        ],
        69,
        "the head was evicted: pod .*: The node was low on resource: memory.",
    ),
    "a kill that is not for memory": (
        [READY, Running(), Pod(terminated("Error", 137)), Fails("JobStatusCheckTimeoutExceeded")],
        69,
        r"the head of the Ray cluster is lost: its pod: Error \(exit code 137\)",
    ),
    "the head is drained": (
        [READY, Running(), Pod(disrupted()), Fails("JobStatusCheckTimeoutExceeded")],
        69,
        "the head of the Ray cluster is lost: the cluster evicted its pod: EvictionByEvictionAPI",
    ),
    "the head does not answer": (
        [READY, Running(), Fails("JobStatusCheckTimeoutExceeded")],
        69,
        "the head of the Ray cluster is lost: it does not answer",
    ),
    "the driver is killed": (
        [READY, Running(), AppFailed(exit_code=-9)],
        69,
        r"the driver was killed \(exit code -9\)",
    ),
    "the image has no Martwright": (
        [READY, Running(), AppFailed(exit_code=127)],
        2,
        "its command does not start",
    ),
    "it takes too long": ([READY, Running(), Fails("DeadlineExceeded")], 75, "it exceeded its deadline"),
    "KubeRay cannot submit it": (
        [Fails("SubmissionFailed", "submit: 500")],
        69,
        "its RayJob failed: SubmissionFailed: submit: 500",
    ),
    "KubeRay does not take it": ([ValidationFailed()], 2, "KubeRay rejects it: The RayJob spec is invalid"),
    "somebody stops the job": ([READY, Running(), Stopped()], 75, "its job on the cluster was stopped"),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_failure_is_reported_with_its_own_cause(api: KubeApi, row: str) -> None:
    script, code, text = ROWS[row]
    ended = run(api, script, backoffLimit=0)
    assert (reason(ended)[0], bool(re.search(text, reason(ended)[1]))) == (code, True), reason(ended)
    assert not ended.announced
    assert ended.error
    assert ended.error.hint or code == 2


def test_reasons_outlive_the_pods_that_had_them(api: KubeApi) -> None:
    script = [Pod(PULL), Fails("PreRunningDeadlineExceeded")]
    ended = run(api, script, backoffLimit=0, shutdownAfterJobFinishes=True, ttlSecondsAfterFinished=0, delay=0.15)
    api.settle()
    assert not [pod for pod in api.objects("Pod") if "ray.io/cluster" in pod["metadata"].get("labels", {})]
    assert "ImagePullBackOff" in reason(ended)[1]


def test_the_last_message_of_a_dead_head_is_reported(api: KubeApi) -> None:
    def crash(operator: FakeOperator, name: str) -> None:
        (head,) = operator.pods(name, "head")
        api.log(head["metadata"]["name"], "ray-head", "starting\nValueError: no such option: --nope\n")
        Pod(terminated("Error", 1))(operator, name)

    def crash_again(operator: FakeOperator, name: str) -> None:
        (head,) = operator.pods(name, "head")
        api.log(head["metadata"]["name"], "ray-head", "Aborted: no room on /tmp\n", previous=True)
        Pod(restarted("Error", 1))(operator, name)

    ended = run(api, [crash, Fails("PreRunningDeadlineExceeded")], backoffLimit=0, delay=0.1)
    assert 'the head ended with exit code 1, after "ValueError: no such option: --nope"' in reason(ended)[1]
    ended = run(api, [READY, Running(), crash_again, Fails("JobStatusCheckTimeoutExceeded")], backoffLimit=0, delay=0.1)
    assert 'it was restarted after Error, after "Aborted: no room on /tmp"' in reason(ended)[1]


def test_a_quota_is_seen_where_no_pod_is(api: KubeApi) -> None:
    def refuse(rayjob: dict[str, Any]) -> None:
        api.event(rayjob, "FailedToCreateHeadPod", f"Failed to create head Pod marts/x-head, {QUOTA}")

    with FakeOperator(api, [], delay=0.05) as operator:
        operator._make_pod = lambda *_: None  # type: ignore[method-assign]
        api.on_created("RayCluster", refuse)
        ended = launcher(preRunningDeadlineSeconds=0.3).run()
    assert (reason(ended)[0], "exceeded quota" in reason(ended)[1]) == (69, True), reason(ended)


def test_without_an_operator_it_does_not_wait_for_long(api: KubeApi) -> None:
    ended = run(api, [Absent()])
    assert reason(ended) == (69, f"Job {JOB}: no KubeRay operator has handled its RayJob in 0 s")
    assert api.objects("RayJob") == [], "or it would begin when nobody waits for it any more"


def test_an_operator_that_dies_is_not_waited_for(api: KubeApi) -> None:
    with FakeOperator(api, [Pod(PULL)], delay=0.05):
        ended = launcher(preRunningDeadlineSeconds=0.3).run()
    assert "did not start: the head waits: ImagePullBackOff" in reason(ended)[1]
    ended = run(api, [READY, Running()], Logs({0: [closing(65)]}))
    assert (reason(ended)[0], ended.announced) == (65, True)
    fine = json.dumps({"event": "run", "outcome": "published", "exit_code": 0})
    assert run(api, [READY, Running()], Logs({0: [fine]})).error is None
    ended = run(api, [READY, Running()], activeDeadlineSeconds=0.2)
    assert reason(ended)[0] == 75
    assert api.objects("RayJob") == []


def test_a_cluster_that_waits_its_turn_is_waited_for(api: KubeApi) -> None:
    def resume() -> None:
        time.sleep(0.8)
        api.edit("RayJob", JOB, lambda current: current["spec"].update(suspend=False))

    threading.Thread(target=resume).start()
    assert run(api, [READY, Running(), Succeeded()], suspend=True, preRunningDeadlineSeconds=0.3).error is None


def test_a_cluster_without_kuberay_or_without_rights_is_reported_at_once(api: KubeApi) -> None:
    api.deny("create", "rayjobs")
    with pytest.raises(UsageError, match='cannot create resource "rayjobs"') as caught:
        launcher().run()
    assert "Role" in caught.value.hint
    api.allow("create", "rayjobs")
    api.installed -= {"rayjobs", "rayclusters"}
    with pytest.raises(UsageError, match="the cluster has no RayJob CRD") as caught:
        launcher().run()
    assert "KubeRay" in caught.value.hint


@pytest.mark.parametrize("fault", [500, 503, 429, "reset"])
def test_an_api_server_that_fails_for_a_while_is_asked_again(api: KubeApi, fault: int | str) -> None:
    with FakeOperator(api, [READY, Running(), Succeeded()], delay=0.05):
        rayjob_launcher = launcher()
        rayjob_launcher._kube._deadline = 10  # type: ignore[attr-defined]
        api.fail(2, fault, resource="rayjobs")  # type: ignore[arg-type]
        assert rayjob_launcher.run().error is None
    assert len(api.objects("RayJob")) == 1


def test_an_api_server_that_is_down_is_given_up_after_its_deadline(api: KubeApi) -> None:
    rayjob_launcher = launcher()
    api.fail(1000, 503)
    with pytest.raises(ServiceError, match="the Kubernetes API fails") as caught:
        rayjob_launcher.run()
    assert caught.value.exit_code == 69


def test_an_answer_that_got_lost_makes_no_second_rayjob(api: KubeApi) -> None:
    with FakeOperator(api, [READY, Running(), Succeeded()], delay=0.05):
        rayjob_launcher = launcher()
        rayjob_launcher._kube._deadline = 10  # type: ignore[attr-defined]
        api.fail(1, "lost", verb="create", resource="rayjobs")
        assert rayjob_launcher.run().error is None
    assert [request.verb for request in api.requests if request.resource == "rayjobs"].count("create") == 2
    assert len(api.objects("RayJob")) == 1


def test_a_launcher_that_comes_back_goes_on_with_the_rayjob_that_is_there(api: KubeApi) -> None:
    with FakeOperator(api, [READY, Running(), Succeeded()]) as operator:
        first = launcher()
        first._claim()
        uid = api.objects("RayJob")[0]["metadata"]["uid"]
        operator.next(times=2)
        threading.Timer(0.3, operator.next).start()
        messages: list[str] = []
        assert launcher(Logs({0: ["from the beginning"]}), messages).run().error is None
    assert messages == ["from the beginning"]
    assert [rayjob["metadata"]["uid"] for rayjob in api.objects("RayJob")] == [uid]
    assert launcher().run().error is None, "it has succeeded while nobody looked"
    assert [rayjob["metadata"]["uid"] for rayjob in api.objects("RayJob")] == [uid]


def test_a_rayjob_that_has_failed_for_good_makes_way_for_another(api: KubeApi) -> None:
    assert reason(run(api, [Fails("SubmissionFailed")], backoffLimit=0))[0] == 69
    uid = api.objects("RayJob")[0]["metadata"]["uid"]
    assert run(api, [READY, Running(), Succeeded()]).error is None
    (job,) = api.objects("RayJob")
    assert job["metadata"]["uid"] != uid


def test_a_rayjob_of_another_job_makes_way(api: KubeApi) -> None:
    named = {"name": "another", "namespace": "marts"}
    other = api.put({"apiVersion": "batch/v1", "kind": "Job", "metadata": named, "spec": {}})["metadata"]

    def give(current: dict[str, Any]) -> None:
        current["metadata"]["ownerReferences"][0].update(name=other["name"], uid=other["uid"])

    with FakeOperator(api, [READY, Running(), Succeeded()], delay=0.05):
        launcher()._claim()
        api.edit("RayJob", JOB, give)
        assert launcher().run().error is None


def test_a_rayjob_that_somebody_deletes_is_not_waited_for(api: KubeApi) -> None:
    with FakeOperator(api, [READY, Running()], delay=0.05):
        threading.Timer(0.5, lambda: api.delete("RayJob", JOB)).start()
        ended = launcher().run()
    assert reason(ended) == (75, f"Job {JOB}: its RayJob was deleted")


def stopped_while_running(api: KubeApi, change: Callable[[], object]) -> FakeOperator:
    """Let a launcher see a SIGTERM while its build runs."""
    rayjob_launcher = launcher()

    def stop() -> None:
        change()
        raise Signalled("SIGTERM")

    with FakeOperator(api, [READY, Running()], delay=0.02) as operator:
        kube, looks = rayjob_launcher._kube, iter(range(1000))
        read_rayjob = kube.rayjob
        rayjob_launcher._kube.rayjob = lambda name: stop() if next(looks) == 20 else read_rayjob(name)  # type: ignore[method-assign]
        with pytest.raises(Signalled):
            rayjob_launcher.run()
        api.settle()
    return operator


def test_a_job_that_is_deleted_takes_its_build_along(api: KubeApi) -> None:
    operator = stopped_while_running(api, lambda: api.delete("Pod", ME.pod))
    assert api.objects("RayJob") == []
    assert len(operator.stopped) == 1, "KubeRay stopped its Ray job"


@pytest.mark.parametrize("why", ["drained", "node shut down", "nobody knows"])
def test_a_pod_that_is_taken_away_leaves_the_build_alone(api: KubeApi, why: str) -> None:
    def change() -> None:
        if why == "drained":
            api.edit("Pod", ME.pod, disrupted())
            api.delete("Pod", ME.pod)
        elif why == "nobody knows":
            api.fail(1000, 503, resource="pods")

    stopped_while_running(api, change)
    assert len(api.objects("RayJob")) == 1


def test_the_log_of_an_older_attempt_is_not_taken_for_that_of_the_last(api: KubeApi) -> None:
    failed = [READY, Running(), AppFailed(exit_code=75), Retrying(), Pod(PULL), Fails("PreRunningDeadlineExceeded")]
    ended = run(api, failed, Logs({0: [closing(75)]}))
    assert (reason(ended)[0], ended.announced, "ImagePullBackOff" in reason(ended)[1]) == (69, False, True)


def test_an_operator_that_is_gone_for_a_moment_in_mid_build_is_not_missed(api: KubeApi) -> None:
    def forget(operator: FakeOperator, name: str) -> None:
        time.sleep(2 * QUICK.operator)
        operator.update(name, jobDeploymentStatus=None, jobStatus=None)
        time.sleep(QUICK.operator / 4)
        operator.update(name, jobDeploymentStatus="Running", jobStatus="RUNNING")

    assert run(api, [READY, Running(), forget, Succeeded()]).error is None


def test_a_queue_is_no_part_of_the_time_that_a_build_may_take(api: KubeApi) -> None:
    def resume() -> None:
        time.sleep(1.2)
        api.edit("RayJob", JOB, lambda current: current["spec"].update(suspend=False))

    threading.Thread(target=resume).start()
    script = [READY, Running(), Succeeded()]
    assert run(api, script, suspend=True, activeDeadlineSeconds=0.3, backoffLimit=0).error is None


def test_a_right_that_is_lost_in_mid_build_is_left_to_the_next_pod(api: KubeApi) -> None:
    with FakeOperator(api, [READY, Running()], delay=0.02):
        threading.Timer(0.5, lambda: api.deny("get", "rayjobs")).start()
        with pytest.raises(ServiceError) as caught:
            launcher().run()
    assert (caught.value.exit_code, len(api.objects("RayJob"))) == (69, 1)


def test_a_token_that_is_renewed_is_waited_for(api: KubeApi) -> None:
    with FakeOperator(api, [READY, Running(), Succeeded()], delay=0.05):
        rayjob_launcher = launcher()
        rayjob_launcher._kube._deadline = 10  # type: ignore[attr-defined]
        api.fail(2, 401, resource="rayjobs")
        assert rayjob_launcher.run().error is None


def test_a_list_that_expires_is_read_anew(api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.adapters.kubernetes._PAGE", 2)
    for number in range(5):
        meta = {"name": f"pod-{number}", "namespace": "marts", "labels": {"ray.io/cluster": "c"}}
        spec = {"containers": [{"name": "x", "image": "x"}]}
        api.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    kube = Kube("marts", deadline=0.5)
    assert len(kube.pods("ray.io/cluster=c")) == 5
    first = kube._core.list_namespaced_pod
    pages = iter(range(100))

    def forgetful(**given: Any) -> Any:
        if next(pages) == 1:
            api.forget()
        return first(**given)

    kube._core.list_namespaced_pod = forgetful
    assert sorted(pod.name for pod in kube.pods("ray.io/cluster=c")) == [f"pod-{n}" for n in range(5)]


def test_an_answer_that_is_none_of_kubernetes_is_reported_as_that(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{hook.port}"}}]}
    config |= {"contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}], "current-context": "x"}
    (tmp_path / "proxy").write_text(json.dumps({**config, "users": [{"name": "x", "user": {"token": "t"}}]}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "proxy"))
    with pytest.raises(ServiceError, match="the answer is not from the Kubernetes API") as caught:
        Kube("marts", deadline=0.2).pod("x")
    assert "proxy" in caught.value.hint


def test_a_password_in_the_message_of_a_head_is_taken_out(api: KubeApi) -> None:
    def crash(operator: FakeOperator, name: str) -> None:
        (head,) = operator.pods(name, "head")
        api.log(head["metadata"]["name"], "ray-head", "cannot reach mysql://marts:opensesame@db:3306/marts\n")
        Pod(terminated("Error", 1))(operator, name)

    ended = run(api, [crash, Fails("PreRunningDeadlineExceeded")], backoffLimit=0, delay=0.1)
    assert 'after "cannot reach mysql://marts:***@db:3306/marts"' in reason(ended)[1]


def test_a_template_with_a_password_in_it_is_refused() -> None:
    for word in ("mysql://marts:opensesame@db/marts", "--target=mysql://marts@db/marts?password=opensesame"):
        template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "entrypoint": f"marts build {word}"}}  # type: ignore[dict-item]
        with pytest.raises(UsageError, match="visible in Ray's dashboard") as caught:
            manifest_of(template, ME, "uid", DAY)
        assert "opensesame" not in str(caught.value)


def test_the_day_of_a_scheduled_run_is_that_for_which_it_was_meant() -> None:
    now = datetime(2025, 11, 14, 0, 10, tzinfo=UTC)
    minutes = int(datetime(2025, 11, 13, 23, 30, tzinfo=UTC).timestamp()) // 60
    assert scheduled_day(f"marts-daily-{minutes}", now, ZoneInfo("UTC")) == date(2025, 11, 13)
    assert scheduled_day(f"marts-daily-{minutes}", now, ZoneInfo("Asia/Kolkata")) == date(2025, 11, 14)
    for job in ("by-hand", "rerun-20251101", "rerun-12345678", "daily-99999999"):
        assert scheduled_day(job, now, ZoneInfo("UTC")) == date(2025, 11, 14), job


def test_a_day_that_somebody_chose_wins() -> None:
    for entrypoint in ("marts build --as-of 2025-01-02", "marts build --as-of=2025-01-02"):
        template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "entrypoint": entrypoint}}  # type: ignore[dict-item]
        manifest = manifest_of(template, ME, "uid", DAY)
        assert (manifest["spec"]["entrypoint"], manifest["spec"]["metadata"]["as_of"]) == (entrypoint, "2025-01-02")


def test_a_word_of_the_template_counts_from_the_scheduled_day() -> None:
    """Whatever day the settings name: that is the default of builds without one."""
    for words, day in (("--as-of month-end", "2025-10-31"), ("--as-of=monday", "2025-11-10"), ("", "2024-01-01")):
        template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "entrypoint": f"marts build {words} --rescan"}}  # type: ignore[dict-item]
        spec = manifest_of(template, ME, "uid", date(2024, 1, 1), date(2025, 11, 13))["spec"]
        assert spec["entrypoint"] == f"marts build --rescan --as-of {day}"
        assert spec["metadata"]["as_of"] == day


def test_a_long_name_is_shortened_as_kuberay_wants_it() -> None:
    long = "marts-" + "x" * 57
    assert short_name(JOB) == JOB
    assert (len(short_name(long)), short_name(long) == short_name(long[:-1] + "y")) == (47, False)


def test_a_template_that_is_none_is_refused(api: KubeApi) -> None:
    for wrong in ({}, {"metadata": {}, "spec": {}}, {"metadata": {}, "spec": {"entrypoint": 'build "'}}):
        with pytest.raises(UsageError, match="is not a RayJob"):
            manifest_of(wrong, ME, "uid", DAY)
    with pytest.raises(UsageError, match="belongs to no Job"):
        owner_uid(Kube("marts"), LauncherPod("nobody", "marts", JOB))
    assert isinstance(MartsError("x"), Exception)


def test_an_autoscaler_out_of_memory_is_no_reason_and_a_group_of_workers_is_named() -> None:
    def pod(name: str, group: str, *containers: observed.Container) -> observed.Pod:
        return observed.Pod(name, role=name, group=group, containers=containers)

    starved = {"state": "terminated", "reason": "OOMKilled", "exit_code": 137}
    beside = observed.Container("autoscaler", **starved)
    assert diagnose.out_of_memory([pod("head", "headgroup", observed.Container("ray-head", "running"), beside)]) is None
    for group, place in (
        ("worker", "(ray.worker.resources)"),
        ("spot", "(resources of spot in ray.workerGroups, else"),
    ):
        error = diagnose.out_of_memory([pod("worker", group, observed.Container("ray-worker", **starved))])
        assert error
        assert place in error.hint
