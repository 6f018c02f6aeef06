"""The Kubernetes API: RayJobs, pods, events, Jobs and CronJobs. All errors are raised as MartsError."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml

from jobs.ports.kubernetes import Container, CronJob, Job, Pod, PodEvent, RayJob
from jobs.runtime.retries import retried
from jobs.runtime.scrub import scrub
from marts.errors import MartsError, ServiceError, Transient, UsageError

Result = TypeVar("Result")

COMMAND = "martwright.io/command"
TOLD = "martwright.io/told"
MAX_AGE = "martwright.io/max-age-seconds"
_RAY = {"group": "ray.io", "version": "v1", "plural": "rayjobs"}
_TIMEOUT = (5, 30)
"""Seconds to connect and to wait for an answer."""
_DEADLINE = 300.0
"""Seconds during which a failed request is retried: an upgrade of the control plane takes minutes."""
_PAGE = 500
_PART = 1 << 16
"""Maximum bytes of a log per read."""
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LINES, _BYTES, _WIDTH = 20, 16 << 10, 300
"""Lines and bytes read from the log of a terminated container; characters kept of its last line."""


class Exists(ServiceError):
    """An object with this name exists, or another one than expected."""


class _Expired(ServiceError):
    """The continue token of a list has expired."""


class Kube:
    """A namespace of a Kubernetes cluster."""

    def __init__(self, namespace: str = "", deadline: float = _DEADLINE) -> None:
        """Use the service account of this pod, else the context of kubectl. Raises UsageError if there is neither.

        The namespace is by default that of the pod or of the context.
        """
        import kubernetes

        configuration = kubernetes.client.Configuration()
        try:
            if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
                kubernetes.config.load_incluster_config(client_configuration=configuration)
            else:  # pass the variable: the client reads it only once, at import
                kubernetes.config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        except kubernetes.config.ConfigException as error:
            hint = "run it in a pod with a service account, or set KUBECONFIG"
            raise UsageError(f"cannot connect to the Kubernetes API: {error}", "kubernetes", hint) from error
        configuration.retries = 0  # `retried` logs its retries
        self._where = configuration.host
        self._api = kubernetes.client.ApiClient(configuration)
        self._core = kubernetes.client.CoreV1Api(self._api)
        self._batch = kubernetes.client.BatchV1Api(self._api)
        self._custom = kubernetes.client.CustomObjectsApi(self._api)
        self.namespace, self._deadline = namespace or _own_namespace(), deadline

    def create_rayjob(self, manifest: Mapping[str, Any]) -> RayJob:
        """Create a RayJob. Raises Exists; UsageError without KubeRay or if it rejects the manifest."""
        given = {**_RAY, "namespace": self.namespace, "body": dict(manifest)}
        built = self._asked(self._custom.create_namespaced_custom_object, **given)
        if built is None:
            hint = "install the KubeRay operator and its CRDs (docs/kubernetes.md), or set mode to local"
            raise UsageError("the cluster has no RayJob CRD", self._where, hint)
        return rayjob_of(built)

    def rayjob(self, name: str) -> RayJob | None:
        """Return a RayJob, or None if it does not exist."""
        given = {**_RAY, "namespace": self.namespace, "name": name}
        result = self._asked(self._custom.get_namespaced_custom_object, **given)
        return rayjob_of(result) if result else None

    def delete_rayjob(self, name: str, uid: str) -> None:
        """Delete a RayJob and its cluster, unless a new object has its name."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        given = {**_RAY, "namespace": self.namespace, "name": name, "body": body}
        try:
            self._asked(self._custom.delete_namespaced_custom_object, **given)
        except Exists:  # a conflict: it is a new object
            return

    def pod(self, name: str) -> Pod | None:
        """Return a pod, or None if it does not exist."""
        result = self._asked(self._core.read_namespaced_pod, name=name, namespace=self.namespace)
        return pod_of(result) if result else None

    def pods(self, selector: str) -> tuple[Pod, ...]:
        """Return the pods that match a label selector, ordered by name."""
        return self._listed(self._core.list_namespaced_pod, pod_of, selector)

    def last_words(self, pod: Pod) -> Pod:
        """Return the pod with the last log line of each terminated container."""
        return replace(
            pod, containers=tuple(replace(entry, last_line=self._last_line(pod, entry)) for entry in pod.containers)
        )

    def _last_line(self, pod: Pod, container: Container) -> str:
        failed = container.state == "terminated" and container.exit_code
        if not failed and not container.ended:
            return ""
        read = self._core.read_namespaced_pod_log
        given = {"container": container.name, "tail_lines": _LINES, "limit_bytes": _BYTES, "previous": not failed}
        try:
            text = self._asked(read, as_text, name=pod.name, namespace=self.namespace, **given)
        except MartsError:  # its node or log is missing: report the rest without it
            return ""
        lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
        return scrub(lines[-1])[:_WIDTH] if lines else ""

    def events(self, about: Iterable[str]) -> tuple[PodEvent, ...]:
        """Return the events of objects, oldest first."""
        results: list[PodEvent] = []
        for name in sorted(set(about) - {""}):
            fields = f"involvedObject.name={name}"
            results += self._listed(self._core.list_namespaced_event, event_of, "", field_selector=fields)
        return tuple(sorted(results, key=lambda event: str(event.at)))

    def jobs(self, selector: str) -> tuple[Job, ...]:
        """Return the Jobs that match a label selector."""
        return self._listed(self._batch.list_namespaced_job, job_of, selector)

    def cronjobs(self, selector: str) -> tuple[CronJob, ...]:
        """Return the CronJobs that match a label selector."""
        return self._listed(self._batch.list_namespaced_cron_job, cronjob_of, selector)

    def templates(self, selector: str, key: str, label: str) -> dict[str, dict[str, Any]]:
        """Return the YAML objects under a key of ConfigMaps, by the value of a label."""
        result = self._listed(self._core.list_namespaced_config_map, dict, selector)
        return {
            str(entry["metadata"]["labels"][label]): parse_manifest(entry["data"][key], str(entry["metadata"]["name"]))
            for entry in result
        }

    def create_job(self, manifest: Mapping[str, Any]) -> Job:
        """Create a Job."""
        built = self._asked(self._batch.create_namespaced_job, namespace=self.namespace, body=dict(manifest))
        if built is None:
            hint = "set another one with --namespace"
            raise UsageError(f"namespace {self.namespace} does not exist", self._where, hint)
        return job_of(built)

    def job(self, name: str) -> Job | None:
        """Return a Job, or None if it does not exist."""
        result = self._asked(self._batch.read_namespaced_job, name=name, namespace=self.namespace)
        return job_of(result) if result else None

    def follow(self, pod: str, container: str, skip: int) -> Iterator[bytes]:
        """Stream the log of a container without its first ``skip`` bytes, until the container ends.

        Raises Transient if the connection is lost: the caller repeats it and skips what it has received.
        """
        from urllib3.exceptions import HTTPError

        given = {"name": pod, "namespace": self.namespace, "container": container, "follow": True}
        answer = self._opened(self._core.read_namespaced_pod_log, given)
        try:
            for part in answer.stream(_PART) if answer else ():
                yield part[skip:]
                skip = max(0, skip - len(part))
        except (HTTPError, OSError) as error:
            raise Transient(f"the Kubernetes API does not answer: {type(error).__name__}", self._where) from error
        finally:
            if answer:
                answer.release_conn()

    def mark_announced(self, job: Job, what: str) -> None:
        """Annotate a Job with what was announced about it, unless a new object has its name."""
        body = {"metadata": {"uid": job.uid, "annotations": {TOLD: what}}}
        try:
            self._asked(self._batch.patch_namespaced_job, name=job.name, namespace=self.namespace, body=body)
        except Exists:
            return

    def _listed(
        self, listing: Callable[..., Any], read: Callable[[Mapping[str, Any]], Result], selector: str, **more: str
    ) -> tuple[Result, ...]:
        given = {"namespace": self.namespace, "label_selector": selector, "limit": _PAGE, **more}
        results: list[Result] = []
        after = ""
        while True:
            try:
                page = self._asked(listing, **given, **({"_continue": after} if after else {}))
            except _Expired:  # paging took too long: start over
                results, after = [], ""
                continue
            if page is None:
                return ()
            results += [read(item) for item in page["items"]]
            after = page["metadata"].get("continue") or ""
            if not after:
                return tuple(results)

    def _asked(self, ask: Callable[..., Any], read: Callable[[bytes], Any] = json.loads, /, **given: Any) -> Any:
        """Send a request, with retries. Return the parsed answer, or None for a missing object."""
        return retried(lambda: self._answer(ask, read, given), self._deadline)

    def _answer(self, ask: Callable[..., Any], read: Callable[[bytes], Any], given: Mapping[str, Any]) -> Any:
        answer = self._opened(ask, given)
        if answer is None:
            return None
        try:
            return read(answer.data)
        except ValueError as error:
            hint = "check for a proxy in between"
            raise Transient("the answer is not from the Kubernetes API", self._where, hint) from error

    def _opened(self, ask: Callable[..., Any], given: Mapping[str, Any]) -> Any:
        """Send a request once. Return the unread answer, or None for a missing object."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            # The client's models reject unknown values, such as those of a newer Kubernetes: parse the JSON instead.
            return ask(**given, _request_timeout=_TIMEOUT, _preload_content=False)
        except ApiException as error:
            message = _message_of(error)
            if error.status == 404:
                return None
            if error.status == 409:
                raise Exists(message, self._where) from error
            if error.status == 410:
                raise _Expired(message, self._where) from error
            if error.status in (401, 408, 429) or not error.status or error.status >= 500:  # 401: a token is renewed
                raise Transient(f"the Kubernetes API fails: {message}", self._where) from error
            hint = "the service account needs the chart's Role" if error.status == 403 else "check the chart's values"
            raise UsageError(f"the Kubernetes API rejects it: {message}", self._where, hint) from error
        except (HTTPError, OSError) as error:
            why = type(getattr(error, "reason", None) or error).__name__
            raise Transient(f"the Kubernetes API does not answer: {why}", self._where) from error


def as_text(data: bytes) -> str:
    """Decode an answer that is not JSON."""
    return data.decode(errors="replace")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a Kubernetes object from a YAML file. Raises UsageError if it contains none."""
    try:
        return parse_manifest(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", str(path)) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"is not YAML: {error}", str(path)) from error


def parse_manifest(text: str, where: str) -> dict[str, Any]:
    """Parse a Kubernetes object from YAML. Raises UsageError if it is none."""
    try:
        result = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"is not YAML: {error}", where) from error
    if not isinstance(result, dict):
        raise UsageError("contains no object", where)
    return result


def as_yaml(manifest: Mapping[str, Any]) -> str:
    """Format a Kubernetes object as YAML."""
    text: str = yaml.safe_dump(dict(manifest), sort_keys=False, allow_unicode=True)
    return text


def _own_namespace() -> str:
    """Return the namespace of this pod, or of the context of kubectl."""
    import kubernetes

    if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    _, context = kubernetes.config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
    return str(context["context"].get("namespace") or "default")


def _message_of(error: Any) -> str:
    """Return the message of the Status in an error."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def rayjob_of(results: Mapping[str, Any]) -> RayJob:
    """Parse a RayJob."""
    meta, status = results["metadata"], results.get("status") or {}
    return RayJob(
        name=meta["name"],
        uid=meta["uid"],
        owner_uid=_owner(meta).get("uid", ""),
        deleting=bool(meta.get("deletionTimestamp")),
        deployment=status.get("jobDeploymentStatus", ""),
        status=status.get("jobStatus", ""),
        job_id=status.get("jobId", ""),
        dashboard=status.get("dashboardURL", ""),
        cluster=status.get("rayClusterName", ""),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        failed=status.get("failed") or 0,
    )


def pod_of(results: Mapping[str, Any]) -> Pod:
    """Parse a pod."""
    meta, status = results["metadata"], results.get("status") or {}
    labels = meta.get("labels") or {}
    conditions = {entry["type"]: entry for entry in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    return Pod(
        name=meta["name"],
        owner_uid=_owner(meta).get("uid", ""),
        role=labels.get("ray.io/node-type", ""),
        group=labels.get("ray.io/group", ""),
        phase=status.get("phase", ""),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        created_at=_time(meta.get("creationTimestamp")),
        deleting=bool(meta.get("deletionTimestamp")),
        conditions={
            name: f"{entry.get('reason', '')}: {entry.get('message', '')}".strip(": ")
            for name, entry in conditions.items()
            if entry.get("status") == "True"
        },
        unscheduled=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        containers=tuple(
            _container(entry, init=key.startswith("init"))
            for key in ("initContainerStatuses", "containerStatuses")
            for entry in status.get(key) or ()
        ),
    )


def _container(results: Mapping[str, Any], init: bool) -> Container:
    state, last = results.get("state") or {}, (results.get("lastState") or {}).get("terminated") or {}
    kind = next((name for name in ("waiting", "running", "terminated") if state.get(name) is not None), "")
    now = state.get(kind) or {}
    return Container(
        name=results["name"],
        state=kind,  # type: ignore[arg-type]
        reason=now.get("reason", ""),
        message=now.get("message", ""),
        exit_code=now.get("exitCode"),
        ended=last.get("reason", ""),
        ended_at=_time(now.get("finishedAt")),
        init=init,
    )


def event_of(results: Mapping[str, Any]) -> PodEvent:
    """Parse an event."""
    about = results.get("involvedObject") or {}
    at = results.get("lastTimestamp") or results.get("eventTime") or results["metadata"].get("creationTimestamp")
    return PodEvent(
        about=f"{about.get('kind', '')} {about.get('name', '')}",
        reason=results.get("reason", ""),
        message=results.get("message", ""),
        warning=results.get("type") == "Warning",
        at=_time(at),
    )


def job_of(results: Mapping[str, Any]) -> Job:
    """Parse a Job."""
    meta, status = results["metadata"], results.get("status") or {}
    conditions = [entry for entry in status.get("conditions") or () if entry.get("status") == "True"]
    failed: Mapping[str, Any] = next((entry for entry in conditions if entry.get("type") == "Failed"), {})
    return Job(
        name=meta["name"],
        uid=meta["uid"],
        command=(meta.get("labels") or {}).get(COMMAND, ""),
        owner=_owner(meta).get("name", ""),
        created_at=_time(meta.get("creationTimestamp")),
        active=not any(entry.get("type") in ("Failed", "Complete", "SuccessCriteriaMet") for entry in conditions),
        suspended=bool((results.get("spec") or {}).get("suspend")),
        failed=failed.get("reason", "failed") if failed else "",
        failed_at=_time(failed.get("lastTransitionTime")),
        message=failed.get("message", ""),
        announced=(meta.get("annotations") or {}).get(TOLD, ""),
    )


def cronjob_of(results: Mapping[str, Any]) -> CronJob:
    """Parse a CronJob."""
    meta, spec, status = results["metadata"], results.get("spec") or {}, results.get("status") or {}
    age = (meta.get("annotations") or {}).get(MAX_AGE, "")
    return CronJob(
        name=meta["name"],
        command=(meta.get("labels") or {}).get(COMMAND, ""),
        created_at=_time(meta.get("creationTimestamp")),
        suspended=bool(spec.get("suspend")),
        schedule=spec.get("schedule", ""),
        last_success=_time(status.get("lastSuccessfulTime")),
        max_age=float(age) if age.isdigit() else None,
    )


def _owner(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    owners: list[Mapping[str, Any]] = meta.get("ownerReferences") or []
    return next((entry for entry in owners if entry.get("controller")), owners[0] if owners else {})


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
