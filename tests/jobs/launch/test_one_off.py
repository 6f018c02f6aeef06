"""`marts job -- COMMAND`: a command in a pod of a release, which is played by a process that runs the real command."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import charting
from support.charting import golden, of_kind, one_off
from support.kit import Place, line, marts, sales
from support.kube import KubeApi, kube_api
from support.kuberay import evicted, running, terminated, unschedulable

from jobs.adapters.kubernetes import Kube
from jobs.launch.one_off import INSTANCE, TEMPLATE, TEMPLATES, Timeouts, choose, follow, manifest_of
from marts.errors import ServiceError, UsageError

WATCHED = "app.kubernetes.io/name=martwright,app.kubernetes.io/instance=martwright"
QUICK = Timeouts(every=0.02, start=0.5)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:
    """A namespace with a release."""
    with kube_api() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        server.create(template())
        yield server


def template(release: str = "martwright") -> dict[str, Any]:
    job_template = of_kind(golden("minimal"), "ConfigMap")["martwright-one-off"]
    job_template["metadata"]["namespace"] = "marts"
    job_template["metadata"]["name"] = f"{release}-one-off"
    job_template["metadata"]["labels"][INSTANCE] = release
    return job_template


class Kubelet:
    """Makes a pod for each Job, and runs in it what a test sets."""

    def __init__(self, api: KubeApi, work: Callable[[str, list[str]], None]) -> None:
        self.api, self._work, self._threads = api, work, list[threading.Thread]()
        api.on_created("Job", self._start)

    def _start(self, job: dict[str, Any]) -> None:
        meta, pod = job["metadata"], job["spec"]["template"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        named = {"generateName": f"{meta['name']}-", "namespace": "marts", "ownerReferences": [owner]}
        created = self.api.create({**pod, "apiVersion": "v1", "kind": "Pod", "metadata": {**pod["metadata"], **named}})
        words = (created["metadata"]["name"], pod["spec"]["containers"][0]["args"])
        thread = threading.Thread(target=self._work, args=words)
        thread.start()
        self._threads.append(thread)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)


@pytest.fixture
def release(api: KubeApi, place: Place) -> Iterator[KubeApi]:
    """A release whose pods really run `marts`, on two drops."""
    place.put_dimensions()
    place.put("sales/a.csv", sales(line("A1"), line("A2")))
    place.build()
    settings = {"SOURCE": str(place.source), "TARGET": place.address, "STATE": str(place.folder / "state")}
    outside = {**os.environ, **{f"MARTS_{name}": value for name, value in settings.items()}}

    def work(pod: str, args: list[str]) -> None:
        api.edit("Pod", pod, running())
        words = [sys.executable, "-c", "from jobs.cli.app import main; main()", *args]
        process = subprocess.Popen(words, env=outside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout
        for text in process.stdout:
            api.log(pod, "marts", text)
        code = process.wait()
        api.edit("Pod", pod, terminated("Error" if code else "Completed", code))

    kubelet = Kubelet(api, work)
    yield api
    kubelet.join()


def test_a_command_runs_in_the_cluster_and_ends_here_as_there(release: KubeApi) -> None:
    done = marts("job", "--", "history", "--json", code=0)
    assert '"sales/a.csv"' in done.stdout
    (job,) = release.objects("Job")
    assert job["metadata"]["name"].startswith("martwright-history-")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["history", "--json"]
    wrong = marts("job", "--", "quarantine", "show", "nothing.csv", code=2)
    assert "nothing.csv" in wrong.stdout


def test_it_is_done_once_and_is_none_of_the_watchdogs_nor_of_the_vacuums_history(api: KubeApi) -> None:
    created = Kube("marts").create_job(manifest_of(one_off(golden("minimal")), ["rollback", "--why", "it's wrong"]))
    job = api.get("Job", created.name) or {}
    assert (job["spec"]["backoffLimit"], job["spec"]["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert "ownerReferences" not in job["metadata"], "the history limits of a CronJob count what belongs to it"
    assert Kube("marts").jobs(WATCHED) == ()
    # A Job without labels would get those of its pod, and the watchdog would notify people of a typing error.
    bare = manifest_of(one_off(golden("minimal")), ["rollback"])
    del bare["metadata"]["labels"]
    assert api.create({**bare, "metadata": {**bare["metadata"], "namespace": "marts"}})["metadata"]["labels"]
    assert len(Kube("marts").jobs(WATCHED)) == 1
    # But its pod belongs to the release: the NetworkPolicy lets it in.
    assert job["spec"]["template"]["metadata"]["labels"][INSTANCE] == "martwright"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stauts"], "unknown command 'stauts'; did you mean 'status'?"),
        (["build"], "builds have their own Jobs: `kubectl create job --from=cronjob/NAME RUN`"),
        (["submit"], "run it locally"),
    ],
)
def test_what_cannot_run_creates_no_job(api: KubeApi, words: list[str], message: str) -> None:
    error = marts("job", "--", *words, code=2).exception
    assert isinstance(error, UsageError)
    assert message in f"{error.what} {error.hint}"
    assert api.objects("Job") == []


def test_an_argument_is_what_it_is(api: KubeApi) -> None:
    text = marts("job", "--dry-run", "--", "quarantine", "accept", "$(HOME) 'a\"b'.csv", "--why", "x: y").output
    container = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["quarantine", "accept", "$$(HOME) 'a\"b'.csv", "--why", "x: y"]
    assert container["command"] == ["marts"]
    assert api.objects("Job") == []


def test_the_release_is_named_where_there_are_several(api: KubeApi) -> None:
    def chosen(name: str = "", namespace: str = "marts") -> Any:
        return choose(Kube(namespace).templates(TEMPLATES, TEMPLATE, INSTANCE), name, namespace)

    assert chosen() == chosen("martwright")
    with pytest.raises(UsageError, match="no release of Martwright in the namespace other"):
        chosen(namespace="other")
    api.create(template("retail"))
    assert chosen("retail")
    with pytest.raises(UsageError, match="several releases: martwright, retail"):
        chosen()
    with pytest.raises(UsageError, match="no release retial"):
        chosen("retial")


def test_without_a_namespace_it_is_that_of_the_context(api: KubeApi) -> None:
    assert Kube().namespace == "marts"


def job_of(api: KubeApi) -> str:
    return Kube("marts").create_job(manifest_of(one_off(golden("minimal")), ["status"])).name


def followed(name: str) -> tuple[bytes, list[str], int]:
    parts, messages = [], list[str]()
    code = follow(Kube("marts"), name, parts.append, messages.append, QUICK)
    return b"".join(parts), messages, code


def test_a_log_that_is_interrupted_goes_on_where_it_was(api: KubeApi) -> None:
    def work(pod: str, _: list[str]) -> None:
        api.log(pod, "marts", "one\n")
        api.edit("Pod", pod, running())
        api.wait(lambda: any(seen.resource == "pods/log" for seen in api.requests))
        api.log(pod, "marts", "zwei ü\n")
        api.edit("Pod", pod, terminated("Error", 65))

    api.fail(1, "reset", resource="pods/log")
    kubelet = Kubelet(api, work)
    text, messages, code = followed(job_of(api))
    kubelet.join()
    assert (text.decode(), code) == ("one\nzwei ü\n", 65)
    assert len(messages) == 1
    (pod,) = api.objects("Pod")
    assert b"".join(Kube("marts").follow(pod["metadata"]["name"], "marts", 4)).decode() == "zwei ü\n"


def test_what_it_waits_for_is_reported_once_and_then_given_up(api: KubeApi) -> None:
    kubelet = Kubelet(api, lambda pod, _: api.edit("Pod", pod, unschedulable()) and None)
    messages = list[str]()
    with pytest.raises(ServiceError, match="did not start in 0 s: no node accepts its pod") as error:
        follow(Kube("marts"), job_of(api), lambda _: None, messages.append, QUICK)
    kubelet.join()
    assert messages == ["no node accepts its pod: 0/3 nodes are available: 3 Insufficient memory."]
    assert "kubectl delete job martwright-status-" in error.value.hint


def test_a_quota_that_refuses_its_pod_is_reported(api: KubeApi) -> None:
    name = job_of(api)
    api.event(api.get("Job", name) or {}, "FailedCreate", "exceeded quota: small, requested: limits.cpu=2")
    with pytest.raises(ServiceError, match="exceeded quota: small"):
        followed(name)


def test_a_lost_pod_and_a_deleted_job_are_reported_and_not_retried(api: KubeApi) -> None:
    def fail(job: dict[str, Any]) -> None:
        job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}

    def lose(pod: str, _: list[str]) -> None:
        api.edit("Pod", pod, evicted())
        (job,) = api.objects("Job")
        api.edit("Job", job["metadata"]["name"], fail)

    kubelet = Kubelet(api, lose)
    name = job_of(api)
    with pytest.raises(ServiceError, match=r"its pod was lost: BackoffLimitExceeded: .*low on resource: memory"):
        followed(name)
    kubelet.join()
    api.delete("Job", name)
    with pytest.raises(ServiceError, match="it was deleted"):
        followed(name)


@pytest.mark.parametrize("name", charting.SETS)
def test_every_version_of_kubernetes_takes_the_job(name: str) -> None:
    manifest = manifest_of(one_off(golden(name)), ["status"])
    assert [wrong for version in charting.VERSIONS for wrong in charting.invalid([manifest], version)] == []
