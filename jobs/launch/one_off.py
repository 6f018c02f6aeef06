"""One-off Jobs: a `marts` command in a pod of a release, with its image, settings and credentials."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jobs.launch import diagnose
from jobs.ports.kubernetes import Container, Job, Pod, PodEvent
from marts.errors import MartsError, ServiceError, Transient, UsageError

TEMPLATES = "app.kubernetes.io/name=martwright,app.kubernetes.io/component=one-off"
"""Label selector of the ConfigMaps with the templates; the chart creates one per release."""
TEMPLATE = "job.yaml"
"""Key of the template in its ConfigMap."""
INSTANCE = "app.kubernetes.io/instance"
_CONTAINER = "marts"


class Kube(Protocol):
    """Requests of a one-off Job to Kubernetes."""

    def job(self, name: str) -> Job | None: ...

    def pods(self, selector: str) -> tuple[Pod, ...]: ...

    def events(self, about: Iterable[str]) -> tuple[PodEvent, ...]: ...

    def follow(self, pod: str, container: str, skip: int) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Timeouts:
    """Timeouts of a one-off Job, in seconds."""

    every: float = 1.0
    """Between two polls."""
    start: float = 300.0
    """For the container to start."""


def choose(templates: Mapping[str, Any], release: str, namespace: str) -> Any:
    """Return the template of a release; ``templates`` are keyed by release. Raises UsageError for none or several."""
    names = ", ".join(sorted(templates))
    if release and release in templates:
        return templates[release]
    if release or not templates:
        what = f"no release {release}" if release else "no release of Martwright"
        hint = f"name one of {names} with --release" if templates else "name its namespace with --namespace"
        raise UsageError(f"there is {what} in the namespace {namespace}", "kubernetes", hint)
    if len(templates) > 1:
        what = f"the namespace {namespace} has several releases: {names}"
        raise UsageError(what, "kubernetes", "name one with --release")
    return next(iter(templates.values()))


def manifest_of(template: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return the Job that runs `marts` with these arguments. Kubernetes generates its name."""
    try:
        built = copy.deepcopy(dict(template))
        (container,) = built["spec"]["template"]["spec"]["containers"]
        prefix = str(built["metadata"]["generateName"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"is not a Job: {error!r}", "template", "use that of the chart's ConfigMap") from error
    built["metadata"]["generateName"] = f"{prefix}{words[0]}-"
    # Escape $(NAME): Kubernetes would expand it as a variable.
    container["args"] = [word.replace("$(", "$$(") for word in words]
    return built


def follow(
    kube: Kube, name: str, write: Callable[[bytes], None], say: Callable[[str], None], timeouts: Timeouts = Timeouts()
) -> int:
    """Stream the log of a Job's pod and return the exit code of its command.

    Raises ServiceError if it does not start or its pod is lost: the Job is never retried.
    """
    seen, message, began = 0, set[str](), time.monotonic()
    last: Pod | None = None
    while True:
        pod = _newest(kube, name)
        last = pod or last
        container = _container(pod)
        if pod and container and container.state in ("running", "terminated"):
            began = time.monotonic()
            try:
                for part in kube.follow(pod.name, _CONTAINER, seen):
                    write(part)
                    seen += len(part)
            except Transient as error:
                say(f"the log is interrupted: {error}")
            if container.state == "terminated" and container.exit_code is not None:
                return container.exit_code
        elif problem := _lost(kube, name, last):
            raise problem
        else:
            reasons = diagnose.waiting([pod]) if pod else [*diagnose.warnings(kube.events([name]))]
            for reason in reasons:
                if reason not in message:
                    message.add(reason)
                    say(reason)
            if time.monotonic() - began > timeouts.start:
                what = "; ".join(reasons) or ("no reason given" if pod else "it has no pod")
                hint = f"it is still waiting: `kubectl delete job {name}` ends it"
                raise ServiceError(f"it did not start in {timeouts.start:.0f} s: {what}", f"Job {name}", hint)
        time.sleep(timeouts.every)


def _newest(kube: Kube, name: str) -> Pod | None:
    """Return the last created pod of a Job; None if it has none."""
    pods = kube.pods(f"batch.kubernetes.io/job-name={name}")
    return max(pods, key=lambda item: str(item.created_at), default=None)


def _lost(kube: Kube, name: str, last: Pod | None) -> MartsError | None:
    """Return why the pod of a Job will never run; None if it still may."""
    job = kube.job(name)
    hint = "check what it has done: `marts job -- status`"
    if job is None:
        return ServiceError("it was deleted", f"Job {name}", hint)
    if not job.failed:
        return None
    # Read the pod again: it may have ended between the reads of pod and Job.
    pod = _newest(kube, name)
    how = diagnose.ended(pod) if pod else job.message or (diagnose.ended(last) if last else "")
    return ServiceError(f"its pod was lost: {job.failed}{f': {how}' if how else ''}", f"Job {name}", hint)


def _container(pod: Pod | None) -> Container | None:
    return next((item for item in pod.containers if item.name == _CONTAINER), None) if pod else None
