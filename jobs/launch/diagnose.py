"""Diagnose why a build on Kubernetes failed, from the objects of the cluster. Pure functions."""

from collections.abc import Iterable, Iterator, Sequence

from jobs.ports.kubernetes import DISRUPTED, Container, Pod, PodEvent, RayJob
from marts.errors import DeadlinePassed, MartsError, ServiceError, UsageError

_AUTOSCALER = "autoscaler"
"""KubeRay's name of the autoscaler container in the head's pod."""
_OOM = "OOMKilled"
_OUR_FAULT = ("CreateContainerConfigError", "CreateContainerError", "InvalidImageName", "RunContainerError")
"""Reasons of a waiting container that do not pass by themselves."""
_STARTING = ("ContainerCreating", "PodInitializing", "")
_TOLD_EVENTS = (
    "FailedMount",
    "FailedAttachVolume",
    "FailedCreate",
    "FailedCreatePodSandBox",
    "FailedToCreateHeadPod",
    "FailedToCreateWorkerPod",
)
"""Events of Kubernetes and KubeRay about problems that no pod status shows: a missing volume, a quota."""
_MOST = 5
"""Maximum number of reasons in an error: a cluster of 100 pods has the same one 100 times."""


def failure(job: RayJob, where: str, pods: Sequence[Pod], events: Sequence[PodEvent]) -> MartsError:
    """Return why a RayJob failed, if its driver has not reported it; ``where`` is the name of the build in errors."""
    starved = out_of_memory(pods, where)
    if starved:
        return starved
    if job.reason == "PreRunningDeadlineExceeded":
        return not_started(where, pods, events)
    if job.reason == "DeadlineExceeded":
        return late(where)
    if job.deployment == "ValidationFailed":
        what = job.message or "; ".join(event.message for event in events if event.warning)
        return UsageError(f"KubeRay rejects it: {what or 'no reason given'}", where, "check the values of the chart")
    if job.reason == "JobStatusCheckTimeoutExceeded":
        what = "; ".join(_lost(pods)) or "it does not answer"
        hint = "check whether its node was drained or lost"
        return ServiceError(f"the head of the Ray cluster is lost: {what}", where, hint)
    what = ": ".join(filter(None, (job.reason, _first(job.message)))) or "no reason given"
    return ServiceError(f"its RayJob failed: {what}", where, f"`kubectl describe rayjob {job.name}`")


def no_operator(where: str, seconds: float) -> MartsError:
    """Return the error for a RayJob that no operator handles."""
    hint = "check that the KubeRay operator is running and watches this namespace (docs/kubernetes.md)"
    return ServiceError(f"no KubeRay operator has handled its RayJob in {seconds:.0f} s", where, hint)


def not_started(where: str, pods: Sequence[Pod], events: Sequence[PodEvent]) -> MartsError:
    """Return why a Ray cluster does not start: what its pods wait for."""
    starved = out_of_memory(pods, where)
    if starved:
        return starved
    reasons = [*dict.fromkeys([*waiting(pods), *warnings(events)])]
    what = "; ".join(reasons[:_MOST]) or ("its pods give no reason" if pods else "it has no pods, and no event why")
    kind = UsageError if any(item.reason in _OUR_FAULT for pod in pods for item in pod.containers) else ServiceError
    hint = "`kubectl describe pods -l ray.io/cluster` shows details"
    return kind(f"the Ray cluster did not start: {what}", where, hint)


def late(where: str) -> MartsError:
    """Return the error for a passed deadline."""
    hint = "run it again, or give it more time (activeDeadlineSeconds) or more workers"
    return DeadlinePassed("it exceeded its deadline", where, hint)


def out_of_memory(pods: Iterable[Pod], where: str = "") -> MartsError | None:
    """Return which pod ran out of memory. Only the reason OOMKilled counts: exit code 137 alone may be any kill."""
    for pod in pods:
        role = _role(pod)
        for item in pod.containers:
            # Without its autoscaler a cluster only stops growing.
            if _OOM in (item.reason, item.ended) and item.name != _AUTOSCALER:
                hint = f"give it more memory ({_place(pod)})"
                return ServiceError(f"{role} ran out of memory: pod {pod.name} was OOMKilled", where, hint)
        if pod.reason == "Evicted" and "memory" in pod.message:
            hint = f"raise its memory request ({_place(pod)})"
            return ServiceError(f"{role} was evicted: pod {pod.name}: {pod.message}", where, hint)
    return None


def waiting(pods: Iterable[Pod]) -> list[str]:
    """Describe what pods wait for. Pods that run or are starting are left out."""
    results = []
    for pod in pods:
        if pod.unscheduled and pod.phase in ("Pending", ""):
            results.append(f"no node accepts {_role(pod)}: {pod.unscheduled}")
        for item in pod.containers:
            if item.state == "waiting" and item.reason not in _STARTING:
                results.append(
                    f"{_role(pod)} waits: {item.reason}{f': {item.message}' if item.message else ''}{_last_words(item)}"
                )
            elif item.state == "terminated" and item.exit_code:
                results.append(f"{_role(pod)} ended with exit code {item.exit_code}{_last_words(item)}")
    return [*dict.fromkeys(results)]


def ended(pod: Pod) -> str:
    """Describe how a pod ended."""
    for item in pod.containers:
        if item.state == "terminated" and item.exit_code:
            return f"{item.reason or 'it ended'} (exit code {item.exit_code}){_last_words(item)}"
    if pod.reason or pod.message:
        return ": ".join(filter(None, (pod.reason, pod.message)))
    return next(iter(waiting([pod])), "")


def _last_words(container: Container) -> str:
    return f', after "{container.last_line}"' if container.last_line else ""


def _lost(pods: Iterable[Pod]) -> Iterator[str]:
    heads = [pod for pod in pods if pod.role == "head"]
    if not heads:
        yield "its pod is missing"
    for pod in heads:
        if DISRUPTED in pod.conditions:
            yield f"the cluster evicted its pod: {pod.conditions[DISRUPTED]}"
        how = ended(pod)
        if how:
            yield f"its pod: {how}"
        yield from (f"it was restarted after {item.ended}{_last_words(item)}" for item in pod.containers if item.ended)


def warnings(events: Iterable[PodEvent]) -> Iterator[str]:
    """Return warnings about problems that no pod status shows: a missing volume, a quota."""
    for event in events:
        if event.warning and event.reason in _TOLD_EVENTS:
            yield f"{event.reason}: {event.message}"


def _role(pod: Pod) -> str:
    return {"head": "the head", "worker": "a worker"}.get(pod.role, "its pod")


def _place(pod: Pod) -> str:
    """Return the chart value that sets the resources of a pod."""
    workers = "ray.worker.resources"
    if pod.group not in ("", "worker"):
        workers = f"resources of {pod.group} in ray.workerGroups, else ray.worker.resources"
    places = {"head": "ray.head.resources", "worker": workers}
    return places.get(pod.role, "resources of its entry in jobs, else launcher, local or vacuum.resources")


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
