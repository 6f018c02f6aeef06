"""The fake API server and the fake KubeRay behave as the real ones do, as the official client sees it."""

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from support import charting
from support.kube import KubeApi, kube_api
from support.kuberay import (
    Absent,
    AppFailed,
    Fails,
    FakeOperator,
    Pending,
    Pod,
    Ready,
    Retrying,
    Running,
    Stopped,
    Succeeded,
    ValidationFailed,
    disrupted,
    evicted,
    restarted,
    running,
    terminated,
    unschedulable,
    waiting,
)

from jobs.launch.one_off import manifest_of

ROOT = Path(__file__).parents[3]
CRDS = Path(os.environ.get("KUBERAY_CRDS", ROOT.parent / "shared" / "kuberay-crds"))
RAY = ("ray.io", "v1", "marts", "rayjobs")
MERGE = "application/merge-patch+json"
GROUP = {"groupName": "small", "replicas": 2, "rayStartParams": {}, "template": {"spec": {"containers": []}}}


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api() as server:
        yield server


@pytest.mark.parametrize("name", charting.SETS)
def test_defaults_are_written_into_what_is_created_as_the_real_server_does(name: str, api: KubeApi) -> None:
    """The strict schemas of Kubernetes check what comes out."""
    pods = [{"apiVersion": "v1", "kind": "Pod", **pod} for _, pod in charting.pods(charting.golden(name))]
    job = manifest_of(charting.one_off(charting.golden(name)), ["status"])
    objects = [*charting.of_kind(charting.golden(name), "CronJob").values(), job]
    objects += [pod | {"metadata": {**pod["metadata"], "name": f"pod-{n}"}} for n, pod in enumerate(pods)]
    for each in objects:
        each["metadata"]["namespace"] = "marts"
        kept = api.create(each)
        assert charting.invalid([kept], "1.36") == []
    (kept,) = api.objects("Job")
    assert (kept["spec"]["completions"], kept["spec"]["podReplacementPolicy"]) == (1, "TerminatingOrFailed")
    assert kept["spec"]["selector"]["matchLabels"].items() <= kept["spec"]["template"]["metadata"]["labels"].items()
    for cron in api.objects("CronJob"):
        spec = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert (spec["dnsPolicy"], spec["schedulerName"]) == ("ClusterFirst", "default-scheduler")
        assert "labels" in cron["spec"]["jobTemplate"]["metadata"]


@pytest.fixture
def rays(api: KubeApi) -> Any:
    return client.CustomObjectsApi(api.client())


@pytest.fixture
def core(api: KubeApi) -> Any:
    return client.CoreV1Api(api.client())


@pytest.fixture
def batch(api: KubeApi) -> Any:
    return client.BatchV1Api(api.client())


def rayjob(name: str = "nightly", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "ray-worker", "image": "marts:1"}]
    cluster = {"workerGroupSpecs": [{**GROUP, "template": {"spec": {"containers": containers}}}]}
    job_spec = {"entrypoint": "marts build", "submissionMode": "HTTPMode", "rayClusterSpec": cluster, **spec}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": name}, "spec": job_spec}


def pod(name: str = "p", node: str = "node-1", **metadata: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": "marts:1"}], **({"nodeName": node} if node else {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def job(name: str = "nightly-1", **metadata: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "marts:1"}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, **metadata},
        "spec": {"template": template},
    }


def owned_by(owner: dict[str, Any], block: bool = True) -> list[dict[str, Any]]:
    names = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
    return [{**names, "uid": owner["metadata"]["uid"], "blockOwnerDeletion": block}]


def refusal(call: Callable[..., Any], *arguments: Any, **more: Any) -> tuple[int, str, str]:
    """Return code, reason and message of what a call is refused with."""
    with pytest.raises(ApiException) as caught:
        call(*arguments, **more)
    status = json.loads(caught.value.body)
    assert status["kind"] == "Status"
    assert status["code"] == caught.value.status
    return status["code"], status["reason"], status["message"]


def names(listing: Any) -> list[str]:
    return [each.metadata.name for each in listing.items]


# Who may ask


def test_no_token_or_a_wrong_one_is_unauthorized(api: KubeApi) -> None:
    for key in ({}, {"BearerToken": "Bearer wrong"}):
        stranger = client.CoreV1Api(client.ApiClient(client.Configuration(host=api.url, api_key=key)))
        assert refusal(stranger.list_namespaced_pod, "marts") == (401, "Unauthorized", "Unauthorized")


def test_a_kubeconfig_leads_to_the_server(api: KubeApi, tmp_path: Path) -> None:
    api.put(pod())
    api_client = config.new_client_from_config(str(api.kubeconfig(tmp_path / "config")))
    assert names(client.CoreV1Api(api_client).list_namespaced_pod("marts")) == ["p"]


def test_a_missing_right_is_reported_as_by_the_real_server(api: KubeApi, rays: Any, core: Any) -> None:
    api.deny("create", "rayjobs")
    api.deny("get", "pods/log")
    user = 'User "system:serviceaccount:marts:launcher" cannot'
    message = (
        f'rayjobs.ray.io is forbidden: {user} create resource "rayjobs" in API group "ray.io" in the namespace "marts"'
    )
    assert refusal(rays.create_namespaced_custom_object, *RAY, rayjob()) == (403, "Forbidden", message)
    message = f'pods "p" is forbidden: {user} get resource "pods/log" in API group "" in the namespace "marts"'
    assert refusal(core.read_namespaced_pod_log, "p", "marts") == (403, "Forbidden", message)
    api.allow("create", "rayjobs")
    rays.create_namespaced_custom_object(*RAY, rayjob())


def test_a_right_in_all_namespaces_is_a_right_of_its_own(api: KubeApi, batch: Any) -> None:
    api.deny("list", "jobs")
    assert refusal(batch.list_job_for_all_namespaces)[2].endswith('in API group "batch" at the cluster scope')


# Paths


def test_a_cluster_without_the_crd_answers_in_plain_text(api: KubeApi, rays: Any) -> None:
    api.installed -= {"rayjobs", "rayclusters"}
    with pytest.raises(ApiException) as caught:
        rays.list_namespaced_custom_object(*RAY)
    assert (caught.value.status, caught.value.body) == (404, "404 page not found\n")
    assert caught.value.headers["Content-Type"].startswith("text/plain")


def test_an_unknown_resource_of_a_known_group_is_a_status(api: KubeApi) -> None:
    answer = refusal(client.CoreV1Api(api.client()).list_namespaced_service, "marts")
    assert answer == (404, "NotFound", "the server could not find the requested resource")


def test_the_server_reports_its_version_and_resources(api: KubeApi, rays: Any) -> None:
    assert client.VersionApi(api.client()).get_code().major == "1"
    listed = rays.get_api_resources("ray.io", "v1")
    assert [each.name for each in listed.resources] == ["rayjobs", "rayclusters"]


def test_requests_are_kept_with_verb_path_and_agent(api: KubeApi, core: Any) -> None:
    core.api_client.user_agent = "martwright/1"
    core.list_namespaced_pod("marts", label_selector="a=b")
    seen = api.requests[-1]
    assert (seen.verb, seen.agent, seen.resource) == ("list", "martwright/1", "pods")
    assert seen.path == "/api/v1/namespaces/marts/pods?labelSelector=a%3Db"


# Create


def test_a_new_object_has_what_the_server_gives(rays: Any) -> None:
    given = rayjob() | {"status": {"jobStatus": "SUCCEEDED"}}
    created, code, _ = rays.create_namespaced_custom_object_with_http_info(*RAY, given)
    assert code == 201
    metadata = created["metadata"]
    assert {"uid", "creationTimestamp", "resourceVersion"} <= set(metadata)
    assert (metadata["namespace"], metadata["generation"]) == ("marts", 1)
    assert "status" not in created


def test_a_name_is_generated(core: Any) -> None:
    created = core.create_namespaced_pod("marts", {**pod(), "metadata": {"generateName": "build-"}})
    assert created.metadata.name.startswith("build-")
    assert len(created.metadata.name) == len("build-") + 5
    assert created.status.phase == "Pending"


def test_a_second_one_already_exists(rays: Any) -> None:
    rays.create_namespaced_custom_object(*RAY, rayjob())
    answer = refusal(rays.create_namespaced_custom_object, *RAY, rayjob())
    assert answer == (409, "AlreadyExists", 'rayjobs.ray.io "nightly" already exists')


def test_a_bad_name_is_invalid(rays: Any, batch: Any) -> None:
    code, reason, message = refusal(rays.create_namespaced_custom_object, *RAY, rayjob("Not_good"))
    assert (code, reason) == (422, "Invalid")
    assert message.startswith(
        'RayJob.ray.io "Not_good" is invalid: metadata.name: Invalid value: "Not_good": a lowercase'
    )
    assert "253 bytes" in refusal(rays.create_namespaced_custom_object, *RAY, rayjob("a" * 254))[2]
    rays.create_namespaced_custom_object(*RAY, rayjob("a" * 253))
    assert "63 bytes" in refusal(batch.create_namespaced_job, "marts", job("a" * 64))[2]
    labelled = job(labels={"run": "a" * 64})
    assert "63 bytes" in refusal(batch.create_namespaced_job, "marts", labelled)[2]


def test_a_document_of_another_version_or_namespace_is_a_bad_request(rays: Any) -> None:
    other = rayjob() | {"apiVersion": "ray.io/v1alpha1"}
    assert refusal(rays.create_namespaced_custom_object, *RAY, other)[:2] == (400, "BadRequest")
    other = rayjob()
    other["metadata"]["namespace"] = "elsewhere"
    assert refusal(rays.create_namespaced_custom_object, *RAY, other)[:2] == (400, "BadRequest")


@pytest.fixture
def strict() -> Iterator[Any]:
    if not CRDS.is_dir():
        pytest.skip(f"KubeRay's CRDs are not in {CRDS}; KUBERAY_CRDS names their folder")
    with kube_api(crds=CRDS) as server:
        yield client.CustomObjectsApi(server.client())


def full_rayjob(**spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "marts"}},
        "spec": {"containers": [{"name": "ray-head", "image": "ray"}]},
    }
    return rayjob(**{"rayClusterSpec": {"headGroupSpec": {"rayStartParams": {}, "template": template}}, **spec})


def test_a_document_that_breaks_the_crd_is_invalid(strict: Any) -> None:
    broken = full_rayjob(backoffLimit="two", preRunningDeadlineSeconds=0, rayClusterSpec={"rayVersion": "2"})
    code, reason, message = refusal(strict.create_namespaced_custom_object, *RAY, broken)
    assert (code, reason) == (422, "Invalid")
    assert 'spec.backoffLimit: Invalid value: "string": spec.backoffLimit in body must be of type integer' in message
    assert "spec.preRunningDeadlineSeconds: Invalid value: 0" in message
    assert "spec.rayClusterSpec.headGroupSpec: Required value" in message


def test_unknown_fields_are_pruned_with_a_warning_and_defaults_are_set(strict: Any) -> None:
    given = full_rayjob(backofLimit=3)
    created, _, headers = strict.create_namespaced_custom_object_with_http_info(*RAY, given)
    assert "backofLimit" not in created["spec"]
    assert created["spec"]["backoffLimit"] == 0
    assert created["metadata"]["name"] == "nightly"
    assert headers["Warning"] == r'299 - "unknown field \"spec.backofLimit\""'
    head = created["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    assert head["metadata"] == {"labels": {"app": "marts"}}


def test_unknown_fields_are_refused_where_that_is_asked_for(strict: Any) -> None:
    answer = refusal(
        strict.create_namespaced_custom_object, *RAY, full_rayjob(backofLimit=3), field_validation="Strict"
    )
    assert answer == (400, "BadRequest", 'strict decoding error: unknown field "spec.backofLimit"')


# Read


def test_what_is_not_there_is_not_found(rays: Any, core: Any) -> None:
    answer = refusal(rays.get_namespaced_custom_object, *RAY, "none")
    assert answer == (404, "NotFound", 'rayjobs.ray.io "none" not found')
    assert refusal(core.read_namespaced_pod, "none", "marts") == (404, "NotFound", 'pods "none" not found')


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=a", "one"),
        ("app==a", "one"),
        ("app!=a", "two three"),
        ("app in (a, b)", "one two"),
        ("app notin (a,b)", "three"),
        ("app", "one two"),
        ("!app", "three"),
        ("app in (a,b),tier!=x", "two"),
    ],
)
def test_labels_select(api: KubeApi, core: Any, selector: str, expected: str) -> None:
    for name, labels in {"one": {"app": "a", "tier": "x"}, "two": {"app": "b"}, "three": {"tier": "y"}}.items():
        api.put(pod(name, labels=labels))
    assert sorted(names(core.list_namespaced_pod("marts", label_selector=selector))) == sorted(expected.split())


def test_fields_select(api: KubeApi, core: Any) -> None:
    first, second = api.put(pod("one")), api.put({**pod("two"), "status": {"phase": "Failed"}})
    api.event(first, "Failed", "no image")
    api.event(second, "OOMKilling", "too much")
    assert names(core.list_namespaced_pod("marts", field_selector="metadata.name=one")) == ["one"]
    assert names(core.list_namespaced_pod("marts", field_selector="status.phase!=Pending")) == ["two"]
    for selector in ("involvedObject.name=two", f"involvedObject.uid={second['metadata']['uid']}"):
        events = core.list_namespaced_event("marts", field_selector=selector).items
        assert [(each.reason, each.message, each.type) for each in events] == [("OOMKilling", "too much", "Warning")]


def test_a_field_that_cannot_select_is_a_bad_request(core: Any, rays: Any) -> None:
    answer = refusal(core.list_namespaced_pod, "marts", field_selector="spec.color=red")
    assert answer == (400, "BadRequest", "field label not supported: spec.color")
    answer = refusal(rays.list_namespaced_custom_object, *RAY, field_selector="status.jobStatus=FAILED")
    assert answer[2].startswith('"status.jobStatus" is not a known field selector')


def test_a_list_comes_in_pages_until_the_history_is_forgotten(api: KubeApi, core: Any) -> None:
    for number in range(5):
        api.put(pod(f"p{number}"))
    first = core.list_namespaced_pod("marts", limit=2)
    assert (names(first), first.metadata.remaining_item_count) == (["p0", "p1"], 3)
    second = core.list_namespaced_pod("marts", limit=2, _continue=first.metadata._continue)
    third = core.list_namespaced_pod("marts", limit=2, _continue=second.metadata._continue)
    assert names(second) + names(third) == ["p2", "p3", "p4"]
    assert third.metadata._continue is None
    api.put(pod("later"))
    api.forget()
    answer = refusal(core.list_namespaced_pod, "marts", limit=2, _continue=second.metadata._continue)
    assert answer[:2] == (410, "Expired")


def test_items_of_a_typed_list_have_no_kind_as_with_the_real_server(api: KubeApi, core: Any) -> None:
    api.put(pod())
    assert core.list_namespaced_pod("marts").items[0].kind is None


# Change


def test_a_stale_version_is_a_conflict(rays: Any) -> None:
    old = rays.create_namespaced_custom_object(*RAY, rayjob())
    new = json.loads(json.dumps(old))
    new["spec"]["entrypoint"] = "marts doctor"
    replaced = rays.replace_namespaced_custom_object(*RAY, "nightly", new)
    assert replaced["metadata"]["generation"] == 2
    message = (
        'Operation cannot be fulfilled on rayjobs.ray.io "nightly": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert refusal(rays.replace_namespaced_custom_object, *RAY, "nightly", old) == (409, "Conflict", message)
    stale = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"], "labels": {"a": "b"}}}
    assert refusal(rays.patch_namespaced_custom_object, *RAY, "nightly", stale) == (409, "Conflict", message)
    del new["metadata"]["resourceVersion"]
    assert "must be specified for an update" in refusal(rays.replace_namespaced_custom_object, *RAY, "nightly", new)[2]


def test_a_patch_merges_and_changes_the_version_only_if_something_changes(batch: Any) -> None:
    batch.create_namespaced_job("marts", job(annotations={"kept": "yes", "dropped": "yes"}))
    patch = {"metadata": {"annotations": {"added": "now", "dropped": None}}}
    first = batch.patch_namespaced_job("nightly-1", "marts", patch, _content_type=MERGE)
    assert first.metadata.annotations == {"kept": "yes", "added": "now"}
    assert first.metadata.generation == 1
    again = batch.patch_namespaced_job(
        "nightly-1", "marts", patch, _content_type="application/strategic-merge-patch+json"
    )
    assert again.metadata.resource_version == first.metadata.resource_version


def test_a_json_patch_tests_and_changes(batch: Any) -> None:
    batch.create_namespaced_job("marts", job(annotations={"a/b": "1"}))
    steps = [
        {"op": "test", "path": "/metadata/annotations/a~1b", "value": "1"},
        {"op": "replace", "path": "/metadata/annotations/a~1b", "value": "2"},
        {"op": "add", "path": "/metadata/annotations/new", "value": "3"},
        {"op": "copy", "from": "/metadata/annotations/new", "path": "/metadata/annotations/copied"},
        {"op": "remove", "path": "/metadata/annotations/new"},
    ]
    kind = "application/json-patch+json"
    patched = batch.patch_namespaced_job("nightly-1", "marts", steps, _content_type=kind)
    assert patched.metadata.annotations == {"a/b": "2", "copied": "3"}
    assert refusal(batch.patch_namespaced_job, "nightly-1", "marts", steps, _content_type=kind)[:2] == (422, "Invalid")


def test_an_object_is_merged_where_no_type_is_given_but_is_no_json_patch(api: KubeApi, batch: Any) -> None:
    batch.create_namespaced_job("marts", job())
    patch = {"metadata": {"annotations": {"added": "now"}}}
    assert batch.patch_namespaced_job("nightly-1", "marts", patch).metadata.annotations == {"added": "now"}
    headers = {"Authorization": f"Bearer {api.token}", "Content-Type": "application/json-patch+json"}
    address = f"{api.url}/apis/batch/v1/namespaces/marts/jobs/nightly-1"
    response = requests.patch(address, json=patch, headers=headers, timeout=5)
    assert response.status_code == 400
    assert "cannot unmarshal object into Go value of type jsonpatch.Patch" in response.json()["message"]


def test_another_type_of_patch_is_unsupported(rays: Any) -> None:
    rays.create_namespaced_custom_object(*RAY, rayjob())
    for kind in ("application/strategic-merge-patch+json", "application/json"):
        answer = refusal(rays.patch_namespaced_custom_object, *RAY, "nightly", {"spec": {}}, _content_type=kind)
        assert answer[:2] == (415, "UnsupportedMediaType")


def test_the_status_changes_by_its_subresource_only(rays: Any, batch: Any) -> None:
    rays.create_namespaced_custom_object(*RAY, rayjob())
    both = {"status": {"jobStatus": "RUNNING"}, "spec": {"entrypoint": "other"}}
    patched = rays.patch_namespaced_custom_object_status(*RAY, "nightly", both)
    assert (patched["status"], patched["spec"]["entrypoint"]) == ({"jobStatus": "RUNNING"}, "marts build")
    patched = rays.patch_namespaced_custom_object(*RAY, "nightly", {**both, "status": {"jobStatus": "FAILED"}})
    assert (patched["status"], patched["spec"]["entrypoint"]) == ({"jobStatus": "RUNNING"}, "other")
    patched["status"] = {"jobStatus": "STOPPED"}
    assert rays.replace_namespaced_custom_object_status(*RAY, "nightly", patched)["status"] == {"jobStatus": "STOPPED"}
    batch.create_namespaced_job("marts", job())
    done = batch.patch_namespaced_job_status("nightly-1", "marts", {"status": {"failed": 1}}, _content_type=MERGE)
    assert done.status.failed == 1


# Delete


def test_what_nothing_holds_is_gone_at_once(api: KubeApi, rays: Any) -> None:
    rays.create_namespaced_custom_object(*RAY, rayjob())
    assert rays.delete_namespaced_custom_object(*RAY, "nightly")["status"] == "Success"
    assert refusal(rays.delete_namespaced_custom_object, *RAY, "nightly")[0] == 404


def test_a_finalizer_holds_until_it_is_removed(api: KubeApi, rays: Any) -> None:
    given = rayjob()
    given["metadata"]["finalizers"] = ["ray.io/rayjob-finalizer"]
    rays.create_namespaced_custom_object(*RAY, given)
    assert "deletionTimestamp" in rays.delete_namespaced_custom_object(*RAY, "nightly")["metadata"]
    more = {"metadata": {"finalizers": ["ray.io/rayjob-finalizer", "more"]}}
    assert "no new finalizers can be added" in refusal(rays.patch_namespaced_custom_object, *RAY, "nightly", more)[2]
    rays.patch_namespaced_custom_object(*RAY, "nightly", {"metadata": {"finalizers": None}})
    assert api.objects("RayJob") == []


def test_a_precondition_that_fails_is_a_conflict(rays: Any) -> None:
    rays.create_namespaced_custom_object(*RAY, rayjob())
    options = {"preconditions": {"uid": "another"}}
    code, reason, message = refusal(rays.delete_namespaced_custom_object, *RAY, "nightly", body=options)
    assert (code, reason) == (409, "Conflict")
    assert "the UID in the precondition (another) does not match the UID in record" in message


def test_a_pod_on_a_node_ends_gracefully_and_another_at_once(api: KubeApi, core: Any) -> None:
    api.put(pod("runs"))
    api.put(pod("waits", node=""))
    ending = core.delete_namespaced_pod("runs", "marts")
    assert ending.metadata.deletion_grace_period_seconds == 30
    core.delete_namespaced_pod("waits", "marts")
    assert [each["metadata"]["name"] for each in api.objects("Pod")] == ["runs"]
    api.settle()
    assert api.objects("Pod") == []
    api.put(pod("runs"))
    core.delete_namespaced_pod("runs", "marts", grace_period_seconds=0)
    assert api.objects("Pod") == []


def family(api: KubeApi, held: bool = False) -> None:
    """A Job, its RayJob, and a pod of that one."""
    top = api.put(job())
    middle = rayjob()
    middle["metadata"] |= {"ownerReferences": owned_by(top), **({"finalizers": ["held"]} if held else {})}
    api.put(pod(ownerReferences=owned_by(api.put(middle))))
    api.settle()
    assert len(api.objects("Pod")) == 1


def test_background_deletion_takes_dependents_soon_after(api: KubeApi, batch: Any) -> None:
    family(api)
    batch.delete_namespaced_job("nightly-1", "marts", propagation_policy="Background")
    assert api.objects("Job") == []
    api.settle()
    assert (api.objects("RayJob"), api.objects("Pod")) == ([], [])


def test_foreground_deletion_takes_dependents_before(api: KubeApi, batch: Any) -> None:
    family(api, held=True)
    api.delete("Job", "nightly-1", "Foreground")
    api.settle()
    assert api.objects("Job")[0]["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert api.objects("Pod") == []
    api.edit("RayJob", "nightly", lambda current: current["metadata"].update(finalizers=[]))
    api.settle()
    assert (api.objects("Job"), api.objects("RayJob")) == ([], [])


def test_a_job_leaves_its_dependents_by_default(api: KubeApi, batch: Any) -> None:
    family(api)
    batch.delete_namespaced_job("nightly-1", "marts")
    api.settle()
    assert api.objects("Job") == []
    assert api.objects("RayJob")[0]["metadata"]["ownerReferences"] == []


def test_what_names_an_owner_that_is_not_there_is_collected(api: KubeApi, core: Any) -> None:
    owners = owned_by({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "gone", "uid": "0-0"}})
    core.create_namespaced_pod("marts", pod("orphan", ownerReferences=owners))
    unknown = owned_by({"apiVersion": "x/v1", "kind": "Other", "metadata": {"name": "x", "uid": "1-1"}})
    core.create_namespaced_pod("marts", pod("kept", ownerReferences=unknown))
    api.settle()
    assert [each["metadata"]["name"] for each in api.objects("Pod")] == ["kept"]


# Watch


def test_a_watch_reports_what_happens_after_a_version(api: KubeApi, core: Any) -> None:
    api.put(pod("before", labels={"app": "a"}))
    version = core.list_namespaced_pod("marts").metadata.resource_version

    def change() -> None:
        api.put(pod("one", labels={"app": "a"}))
        api.put(pod("other", labels={"app": "b"}))
        api.edit("Pod", "one", running())
        api.edit("Pod", "one", lambda current: current["metadata"].update(labels={}))

    thread = threading.Timer(0.05, change)
    thread.start()
    stream = watch.Watch().stream(
        core.list_namespaced_pod, "marts", label_selector="app=a", resource_version=version, timeout_seconds=5
    )
    events = [
        (event["type"], event["object"].metadata.name, event["object"].status.phase)
        for event in itertools.islice(stream, 3)
    ]
    thread.join()
    assert events == [("ADDED", "one", "Pending"), ("MODIFIED", "one", "Running"), ("DELETED", "one", "Running")]


def test_a_watch_ends_after_the_time_it_asked_for(core: Any) -> None:
    start = time.monotonic()
    assert list(watch.Watch().stream(core.list_namespaced_pod, "marts", timeout_seconds=1)) == []
    assert time.monotonic() - start >= 1


def test_a_watch_without_a_version_begins_with_what_there_is(api: KubeApi, rays: Any) -> None:
    rays.create_namespaced_custom_object(*RAY, rayjob())
    for event in watch.Watch().stream(rays.list_namespaced_custom_object, *RAY, timeout_seconds=5):
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "nightly")
        break


def test_a_watch_from_a_forgotten_version_is_gone(api: KubeApi, core: Any) -> None:
    api.put(pod())
    api.forget()
    with pytest.raises(ApiException, match="too old resource version: 1") as caught:
        list(watch.Watch().stream(core.list_namespaced_pod, "marts", resource_version="1", timeout_seconds=1))
    assert caught.value.status == 410


# Logs


def test_a_log_is_read_whole_by_lines_and_by_bytes(api: KubeApi, core: Any) -> None:
    api.put(pod())
    api.edit("Pod", "p", restarted("Error", 1))
    api.log("p", "main", "one\ntwo\n")
    api.log("p", "main", "three\n")
    api.log("p", "main", "before\n", previous=True)
    assert core.read_namespaced_pod_log("p", "marts") == "one\ntwo\nthree\n"
    assert core.read_namespaced_pod_log("p", "marts", container="main", tail_lines=2) == "two\nthree\n"
    assert core.read_namespaced_pod_log("p", "marts", limit_bytes=5) == "one\nt"
    assert core.read_namespaced_pod_log("p", "marts", previous=True) == "before\n"


def test_a_container_that_has_not_started_has_no_log(api: KubeApi, core: Any) -> None:
    api.put(pod())
    words = {
        "ContainerCreating": "ContainerCreating",
        "CreateContainerConfigError": "CreateContainerConfigError",
        "ErrImagePull": "image can't be pulled",
        "ImagePullBackOff": "trying and failing to pull image",
    }
    for reason, detail in words.items():
        api.edit("Pod", "p", waiting(reason))
        message = f'container "main" in pod "p" is waiting to start: {detail}'
        assert refusal(core.read_namespaced_pod_log, "p", "marts") == (400, "BadRequest", message)
    message = 'previous terminated container "main" in pod "p" not found'
    assert refusal(core.read_namespaced_pod_log, "p", "marts", previous=True) == (400, "BadRequest", message)


def test_a_container_has_to_be_named_where_there_are_two(api: KubeApi, core: Any) -> None:
    new_pod = pod()
    new_pod["spec"]["containers"].append({"name": "side", "image": "x"})
    api.put(new_pod)
    message = "a container name must be specified for pod p, choose one of: [main side]"
    assert refusal(core.read_namespaced_pod_log, "p", "marts") == (400, "BadRequest", message)
    message = "container other is not valid for pod p"
    assert refusal(core.read_namespaced_pod_log, "p", "marts", container="other") == (400, "BadRequest", message)


def test_a_pod_without_a_node_has_an_empty_log(api: KubeApi, core: Any) -> None:
    api.put(pod(node=""))
    assert core.read_namespaced_pod_log("p", "marts") == ""


def test_a_followed_log_ends_with_the_pod(api: KubeApi, core: Any) -> None:
    api.put(pod())
    api.edit("Pod", "p", running())
    api.log("p", "main", "one\n")

    def go_on() -> None:
        api.log("p", "main", "two\n")
        api.edit("Pod", "p", terminated("Completed", 0))

    thread = threading.Timer(0.05, go_on)
    thread.start()
    answer = core.read_namespaced_pod_log("p", "marts", follow=True, _preload_content=False)
    assert answer.read() == b"one\ntwo\n"
    thread.join()


# Faults


@pytest.mark.parametrize(("status", "reason"), [(500, "InternalError"), (503, "ServiceUnavailable"), (504, "Timeout")])
def test_requests_fail_as_often_as_asked_for(api: KubeApi, core: Any, status: int, reason: str) -> None:
    api.fail(2, status)
    for _ in range(2):
        assert refusal(core.list_namespaced_pod, "marts")[:2] == (status, reason)
    core.list_namespaced_pod("marts")


def test_a_fault_meets_the_verb_and_resource_it_is_for(api: KubeApi, core: Any, rays: Any) -> None:
    api.fail(1, 500, verb="create", resource="rayjobs")
    core.list_namespaced_pod("marts")
    rays.list_namespaced_custom_object(*RAY)
    assert refusal(rays.create_namespaced_custom_object, *RAY, rayjob())[0] == 500


def test_too_many_requests_are_answered_with_a_time_to_retry(api: KubeApi, core: Any) -> None:
    api.fail(1, 429, seconds=3)
    with pytest.raises(ApiException) as caught:
        core.list_namespaced_pod("marts")
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "3")


def test_a_connection_is_reset_hangs_or_loses_its_answer(api: KubeApi, rays: Any) -> None:
    from urllib3.exceptions import HTTPError

    api.fail(1, "reset")
    with pytest.raises(HTTPError):
        rays.list_namespaced_custom_object(*RAY)
    api.fail(1, "hang", seconds=60)
    start = time.monotonic()
    with pytest.raises(HTTPError):
        rays.list_namespaced_custom_object(*RAY, _request_timeout=0.1)
    assert time.monotonic() - start < 50
    api.fail(1, "lost", verb="create")
    with pytest.raises(HTTPError):
        rays.create_namespaced_custom_object(*RAY, rayjob())
    assert refusal(rays.create_namespaced_custom_object, *RAY, rayjob())[1] == "AlreadyExists"


# What a test plays


def test_a_test_can_play_a_controller(api: KubeApi, rays: Any) -> None:
    changes: list[tuple[bool, bool]] = []
    api.on_created(
        "RayJob", lambda created: api.edit("RayJob", created["metadata"]["name"], lambda o: o.update(status={"x": 1}))
    )
    api.on_changed("RayJob", lambda before, after: changes.append((before is not None, after is not None)))
    rays.create_namespaced_custom_object(*RAY, rayjob())
    api.wait(lambda: rays.get_namespaced_custom_object(*RAY, "nightly").get("status") == {"x": 1})
    api.delete("RayJob", "nightly")
    api.settle()
    assert changes == [(False, True), (True, True), (True, False)]


def test_what_a_callback_raises_is_raised_at_the_end() -> None:
    def broken(_: Any) -> None:
        raise LookupError("broken")

    def play() -> None:
        with kube_api() as api:
            api.on_created("Pod", broken)
            api.put(pod())
            api.settle()

    with pytest.raises(LookupError, match="broken"):
        play()


# KubeRay


def begin(api: KubeApi, **spec: Any) -> dict[str, Any]:
    client.CustomObjectsApi(api.client()).create_namespaced_custom_object(*RAY, rayjob(**spec))
    api.settle()
    return status(api)


def status(api: KubeApi) -> dict[str, Any]:
    stored = client.CustomObjectsApi(api.client()).get_namespaced_custom_object(*RAY, "nightly")
    return stored.get("status", {})


def test_a_rayjob_goes_from_initializing_to_complete(api: KubeApi, core: Any) -> None:
    with FakeOperator(api, [Ready("http://head:8265"), Pending(), Running(), Succeeded()]) as operator:
        first = begin(api)
        assert first["jobDeploymentStatus"] == "Initializing"
        assert first["jobId"].startswith("nightly-")
        assert {"startTime", "rayClusterName"} <= set(first)
        assert api.objects("RayJob")[0]["metadata"]["finalizers"] == ["ray.io/rayjob-finalizer"]
        selector = f"ray.io/cluster={first['rayClusterName']},ray.io/node-type"
        pods = core.list_namespaced_pod("marts", label_selector=selector).items
        kinds = sorted(
            (each.metadata.labels["ray.io/node-type"], each.metadata.labels["ray.io/group"]) for each in pods
        )
        assert kinds == [("head", "headgroup"), ("worker", "small"), ("worker", "small")]
        assert {each.metadata.owner_references[0].kind for each in pods} == {"RayCluster"}
        operator.next()
        ready = status(api)
        assert (ready["jobDeploymentStatus"], ready["dashboardURL"]) == ("Running", "http://head:8265")
        assert "jobStatus" not in ready
        operator.next(times=2)
        assert status(api)["jobStatus"] == "RUNNING"
        operator.next()
        last = status(api)
        assert (last["jobDeploymentStatus"], last["jobStatus"], last["succeeded"]) == ("Complete", "SUCCEEDED", 1)
        assert "endTime" in last


def test_a_failure_is_retried_with_a_new_cluster_until_the_limit(api: KubeApi) -> None:
    failure = [Ready(), Running(), AppFailed(exit_code=65)]
    with FakeOperator(api, [*failure, Retrying(), *failure]) as operator:
        first = begin(api, backoffLimit=1)
        operator.next(times=3)
        between = status(api)
        assert (between["jobDeploymentStatus"], between["failed"]) == ("Retrying", 1)
        assert between["message"].startswith("Job entrypoint command failed with exit code 65, last available logs")
        assert "endTime" not in between
        operator.next()
        second = status(api)
        assert (second["jobDeploymentStatus"], second["failed"]) == ("Initializing", 1)
        assert {"message", "reason", "dashboardURL", "jobStatus"}.isdisjoint(second)
        assert second["jobId"] != first["jobId"]
        clusters = {each["metadata"]["labels"]["ray.io/cluster"] for each in api.objects("Pod")}
        assert clusters == {second["rayClusterName"]} != {first["rayClusterName"]}
        operator.next(times=3)
        last = status(api)
        assert (last["jobDeploymentStatus"], last["reason"], last["failed"]) == ("Failed", "AppFailed", 2)
        assert "endTime" in last


def test_a_given_job_id_stays(api: KubeApi) -> None:
    with FakeOperator(api, [Ready(), Fails("SubmissionFailed")]) as operator:
        assert begin(api, jobId="run-7", backoffLimit=1)["jobId"] == "run-7"
        operator.next(times=3)
        assert status(api)["jobId"] == "run-7"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("DeadlineExceeded", "Failed"),
        ("PreRunningDeadlineExceeded", "Retrying"),
        ("SubmissionFailed", "Retrying"),
        ("JobStatusCheckTimeoutExceeded", "Retrying"),
    ],
)
def test_every_failure_but_the_deadline_is_retried(api: KubeApi, reason: str, expected: str) -> None:
    with FakeOperator(api, [Fails(reason, "too late")]) as operator:
        begin(api, backoffLimit=1)
        operator.next()
        job_status = status(api)
        assert (job_status["jobDeploymentStatus"], job_status["reason"], job_status["message"]) == (
            expected,
            reason,
            "too late",
        )


def test_a_stopped_job_is_complete(api: KubeApi) -> None:
    with FakeOperator(api, [Ready(), Stopped()]) as operator:
        begin(api)
        operator.next(times=2)
        assert (status(api)["jobDeploymentStatus"], status(api)["jobStatus"]) == ("Complete", "STOPPED")


def test_a_rayjob_can_be_refused_by_script_or_for_its_long_name(api: KubeApi, rays: Any) -> None:
    with FakeOperator(api, [ValidationFailed("no cluster")]):
        job_status = begin(api)
        assert job_status == {
            "jobDeploymentStatus": "ValidationFailed",
            "reason": "ValidationFailed",
            "message": "no cluster",
        }
        assert api.objects("Pod") == []
    with FakeOperator(api):
        rays.create_namespaced_custom_object(*RAY, rayjob("a" * 48))
        api.settle()
        long = rays.get_namespaced_custom_object(*RAY, "a" * 48)
        assert "no more than 47 characters" in long["status"]["message"]


def test_without_an_operator_there_is_never_a_status(api: KubeApi) -> None:
    with FakeOperator(api, [Absent()], delay=0.01):
        assert begin(api) == {}
        assert api.objects("RayCluster") == []


def test_a_rayjob_is_suspended_and_resumed(api: KubeApi, rays: Any) -> None:
    with FakeOperator(api, [Ready(), Running()]) as operator:
        first = begin(api)
        operator.next(times=2)
        rays.patch_namespaced_custom_object(*RAY, "nightly", {"spec": {"suspend": True}})
        api.settle()
        assert status(api)["jobDeploymentStatus"] == "Suspended"
        assert (api.objects("RayCluster"), api.objects("Pod")) == ([], [])
        rays.patch_namespaced_custom_object(*RAY, "nightly", {"spec": {"suspend": False}})
        api.settle()
        assert status(api)["jobDeploymentStatus"] == "Initializing"
        assert status(api)["jobId"] != first["jobId"]


def test_a_rayjob_that_begins_suspended_has_no_cluster(api: KubeApi) -> None:
    with FakeOperator(api):
        assert begin(api, suspend=True)["jobDeploymentStatus"] == "Suspended"
        assert api.objects("RayCluster") == []


def test_a_deleted_rayjob_stops_its_job_and_takes_its_pods(api: KubeApi, rays: Any) -> None:
    with FakeOperator(api, [Ready(), Running()]) as operator:
        job_id = begin(api)["jobId"]
        operator.next(times=2)
        rays.delete_namespaced_custom_object(*RAY, "nightly")
        api.settle()
        assert operator.stopped == [job_id]
        assert [api.objects(kind) for kind in ("RayJob", "RayCluster", "Pod")] == [[], [], []]


def test_a_job_that_has_ended_is_not_stopped_again(api: KubeApi, rays: Any) -> None:
    with FakeOperator(api, [Ready(), Succeeded()]) as operator:
        begin(api)
        operator.next(times=2)
        rays.delete_namespaced_custom_object(*RAY, "nightly")
        api.settle()
        assert (operator.stopped, api.objects("RayJob")) == ([], [])


def test_the_cluster_goes_with_the_end_or_after_a_while(api: KubeApi, rays: Any) -> None:
    with FakeOperator(api, [Ready(), Succeeded()]) as operator:
        begin(api, shutdownAfterJobFinishes=True, ttlSecondsAfterFinished=600)
        operator.next(times=2)
        assert len(operator.pods("nightly")) == 3
        operator.expire("nightly")
        assert operator.pods("nightly") == []
        rays.delete_namespaced_custom_object(*RAY, "nightly")
        api.settle()
        begin(api, shutdownAfterJobFinishes=True)
        operator.next(times=2)
        assert (status(api)["jobDeploymentStatus"], operator.pods("nightly")) == ("Complete", [])


def test_pods_are_given_states_by_the_script(api: KubeApi, core: Any) -> None:
    states = [
        Pod(waiting("ImagePullBackOff", "no such image"), event=("Failed", "Failed to pull image")),
        Pod(unschedulable(), "worker"),
        Pod(terminated("OOMKilled", 137)),
        Pod(evicted(), "worker"),
        Pod(disrupted()),
    ]
    with FakeOperator(api, states) as operator:
        begin(api)

        def seen(node: str) -> Any:
            operator.next()
            return core.list_namespaced_pod("marts", label_selector=f"ray.io/node-type={node}").items[0]

        head = seen("head")
        assert head.status.container_statuses[0].state.waiting.reason == "ImagePullBackOff"
        selector = f"involvedObject.name={head.metadata.name}"
        assert core.list_namespaced_event("marts", field_selector=selector).items[0].message == "Failed to pull image"
        assert [(each.type, each.reason) for each in seen("worker").status.conditions] == [
            ("PodScheduled", "Unschedulable")
        ]
        ended = seen("head").status.container_statuses[0].state.terminated
        assert (ended.reason, ended.exit_code) == ("OOMKilled", 137)
        worker = seen("worker").status
        assert (worker.phase, worker.reason, worker.conditions[0].type) == ("Failed", "Evicted", "DisruptionTarget")
        assert seen("head").status.conditions[0].reason == "EvictionByEvictionAPI"


def test_steps_can_go_by_themselves(api: KubeApi) -> None:
    with FakeOperator(api, [Ready(), AppFailed("boom"), Ready(), Succeeded()], delay=0.01):
        begin(api, backoffLimit=1)
        api.wait(lambda: status(api).get("jobDeploymentStatus") == "Complete")
        assert (status(api)["failed"], status(api)["succeeded"]) == (1, 1)


class RealJobs:
    """A cluster with jobs that end as a test sets."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], str]] = []
        self.stops: list[str] = []
        self.answer: tuple[str, str] | None = ("RUNNING", "")

    def submit(self, entrypoint: str, metadata: dict[str, str], job_id: str) -> Any:
        self.asked.append((entrypoint, metadata, job_id))
        return self.status, lambda: self.stops.append(job_id)

    def status(self) -> tuple[str, str]:
        if self.answer is None:
            raise OSError("head lost")
        return self.answer


def test_a_real_job_is_submitted_and_its_status_copied(api: KubeApi) -> None:
    jobs = RealJobs()
    with FakeOperator(api, submit=jobs.submit, delay=0.01):
        first = begin(api, metadata={"run": "7"}, backoffLimit=1)
        api.wait(lambda: status(api).get("jobStatus") == "RUNNING")
        assert jobs.asked == [("marts build", {"run": "7"}, first["jobId"])]
        jobs.answer = ("FAILED", "Job entrypoint command failed with exit code 65")
        api.wait(lambda: len(jobs.asked) == 2)
        jobs.answer = ("SUCCEEDED", "Job finished successfully.")
        api.wait(lambda: status(api).get("jobDeploymentStatus") in ("Complete", "Failed"))
        assert jobs.asked[1][2] != first["jobId"]


def test_a_real_job_is_stopped_with_its_rayjob(api: KubeApi, rays: Any) -> None:
    jobs = RealJobs()
    with FakeOperator(api, submit=jobs.submit, delay=0.01):
        begin(api)
        api.wait(lambda: status(api).get("jobStatus") == "RUNNING")
        rays.delete_namespaced_custom_object(*RAY, "nightly")
        api.wait(lambda: api.objects("RayJob") == [])
        assert jobs.stops == [jobs.asked[0][2]]


def test_a_status_that_cannot_be_had_fails_the_rayjob(api: KubeApi) -> None:
    from support.kuberay import Mirror

    jobs = RealJobs()
    with FakeOperator(api, [Ready(), Mirror(check_timeout=0.1)], submit=jobs.submit, delay=0.01):
        begin(api)
        api.wait(lambda: status(api).get("jobStatus") == "RUNNING")
        jobs.answer = None
        api.wait(lambda: status(api).get("jobDeploymentStatus") == "Failed")
        job_status = status(api)
        assert (job_status["reason"], job_status["jobStatus"]) == ("JobStatusCheckTimeoutExceeded", "RUNNING")
