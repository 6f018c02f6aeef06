"""KubeRay v1.7 for tests: plays the operator on a fake API server (kube.py), in HTTPMode, by a script of steps.

    with kube_api() as api, FakeOperator(api, [Ready(url), Running(), Succeeded()]) as ray:
        ...             # a RayJob is created: Initializing at once
        ray.next()      # one step of the newest RayJob; FakeOperator(…, delay=0.05) does all of them by itself

A step is a function of the operator and the RayJob's name; False means "not yet, again". After a failure that KubeRay
would try again, the status is Retrying until the next step; the script goes on with the next attempt.
States of pods (waiting, terminated, …) are functions that change a pod: for `Pod` steps, and for `api.edit`.
"""

import copy
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from support.kube import KubeApi
from support.kubestore import Object, Refused, now, suffix

FINALIZER = "ray.io/rayjob-finalizer"
TERMINAL = ("STOPPED", "SUCCEEDED", "FAILED")
EXIT_MESSAGE = "Job entrypoint command failed with exit code {code}, last available logs (truncated to 20,000 chars):\n"
"""What Ray puts before the last lines of a driver that failed."""

Step = Callable[["FakeOperator", str], Any]
State = Callable[[Object], None]
Submit = Callable[[str, dict[str, str], str], tuple[Callable[[], tuple[str, str]], Callable[[], Any]]]
"""Submit a real job, by entrypoint, metadata and job id: gives how to ask for status and message, and how to stop."""


# --- States of pods


def _set(state: Object, last: Object | None = None, ready: bool = False, phase: str = "") -> State:
    def change(pod: Object) -> None:
        pod["spec"]["nodeName"] = pod["spec"].get("nodeName") or "node-1"
        status = pod.setdefault("status", {})
        status["phase"] = phase or status.get("phase", "Pending")
        status["containerStatuses"] = [
            {
                "name": container["name"],
                "image": container.get("image", ""),
                "imageID": "",
                "ready": ready,
                "restartCount": 1 if last else 0,
                "state": state,
                **({"lastState": last} if last else {}),
            }
            for container in pod["spec"]["containers"]
        ]

    return change


def _condition(kind: str, status: str, reason: str, message: str) -> State:
    def change(pod: Object) -> None:
        condition = {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now()}
        kept = [each for each in pod.setdefault("status", {}).get("conditions", []) if each["type"] != kind]
        pod["status"]["conditions"] = [*kept, condition]

    return change


def running() -> State:
    return _set({"running": {"startedAt": now()}}, ready=True, phase="Running")


def waiting(reason: str = "ContainerCreating", message: str = "") -> State:
    """ImagePullBackOff, ErrImagePull, CreateContainerConfigError, ContainerCreating, …"""
    return _set({"waiting": {"reason": reason, "message": message}}, phase="Pending")


def unschedulable(message: str = "0/3 nodes are available: 3 Insufficient memory.") -> State:
    return _condition("PodScheduled", "False", "Unschedulable", message)


def terminated(reason: str = "Error", exit_code: int = 1, message: str = "") -> State:
    """End a pod that is not restarted: Error, OOMKilled (137), Completed (0)."""
    ended = {"reason": reason, "exitCode": exit_code, "message": message, "startedAt": now(), "finishedAt": now()}
    return _set({"terminated": ended}, phase="Failed" if exit_code else "Succeeded")


def restarted(reason: str = "OOMKilled", exit_code: int = 137) -> State:
    """A container that ended and runs again."""
    ended = {"reason": reason, "exitCode": exit_code, "startedAt": now(), "finishedAt": now()}
    return _set({"running": {"startedAt": now()}}, {"terminated": ended}, ready=True, phase="Running")


def evicted(message: str = "The node was low on resource: memory.") -> State:
    def change(pod: Object) -> None:
        pod["status"] = {"phase": "Failed", "reason": "Evicted", "message": message}
        disrupted("TerminationByKubelet", message)(pod)

    return change


def disrupted(reason: str = "EvictionByEvictionAPI", message: str = "Eviction API: evicting") -> State:
    return _condition("DisruptionTarget", "True", reason, message)


# --- Steps


@dataclass(frozen=True)
class Ready:
    """The cluster is there: its pods run, the dashboard has an address, the job is submitted."""

    dashboard_url: str = "http://127.0.0.1:8265"

    def __call__(self, operator: "FakeOperator", name: str) -> None:
        cluster = operator.status(name)["rayClusterName"]
        operator.set_pods(name, running())
        operator.api.edit("RayCluster", cluster, lambda current: current["status"].update(state="ready"))
        operator.update(
            name,
            dashboardURL=self.dashboard_url,
            jobDeploymentStatus="Running",
            rayClusterStatus=operator.api.get("RayCluster", cluster, operator.api.namespace)["status"],  # type: ignore[index]
        )


@dataclass(frozen=True)
class Pending:
    def __call__(self, operator: "FakeOperator", name: str) -> None:
        operator.update(name, jobStatus="PENDING")


@dataclass(frozen=True)
class Running:
    def __call__(self, operator: "FakeOperator", name: str) -> None:
        operator.update(name, jobStatus="RUNNING", rayJobInfo={"startTime": now()})


@dataclass(frozen=True)
class Succeeded:
    message: str = "Job finished successfully."

    def __call__(self, operator: "FakeOperator", name: str) -> None:
        operator.finish(name, "Complete", jobStatus="SUCCEEDED", message=self.message)


@dataclass(frozen=True)
class Stopped:
    """Somebody stopped the Ray job."""

    message: str = "Job was intentionally stopped."

    def __call__(self, operator: "FakeOperator", name: str) -> None:
        operator.finish(name, "Complete", jobStatus="STOPPED", message=self.message)


@dataclass(frozen=True)
class AppFailed:
    """The driver failed: a message, or the exit code with which Ray makes one."""

    message: str = ""
    exit_code: int = 1

    def __call__(self, operator: "FakeOperator", name: str) -> None:
        message = self.message or EXIT_MESSAGE.format(code=self.exit_code)
        operator.finish(name, "Failed", jobStatus="FAILED", reason="AppFailed", message=message)


@dataclass(frozen=True)
class Fails:
    """PreRunningDeadlineExceeded, DeadlineExceeded, JobStatusCheckTimeoutExceeded, SubmissionFailed, …"""

    reason: str
    message: str = ""

    def __call__(self, operator: "FakeOperator", name: str) -> None:
        operator.finish(name, "Failed", reason=self.reason, message=self.message or f"{self.reason} of RayJob {name}")


@dataclass(frozen=True)
class Retrying:
    """Only reports what happens: the next attempt begins."""

    def __call__(self, operator: "FakeOperator", name: str) -> None:
        """Begun before each step that finds Retrying."""


@dataclass(frozen=True)
class Pod:
    """Change the pods of the head or of the workers by a state; an event can go with it."""

    state: State
    node: str = "head"
    event: tuple[str, str] | None = None

    def __call__(self, operator: "FakeOperator", name: str) -> None:
        operator.set_pods(name, self.state, self.node)
        for pod in operator.pods(name, self.node) if self.event else []:
            operator.api.event(pod, *self.event)  # type: ignore[misc]


@dataclass(frozen=True)
class ValidationFailed:
    """As the first step: the operator refuses the RayJob before anything else."""

    message: str = "The RayJob spec is invalid: one of RayClusterSpec or ClusterSelector must be set"

    def __call__(self, operator: "FakeOperator", name: str) -> None:
        operator.update(name, jobDeploymentStatus="ValidationFailed", reason="ValidationFailed", message=self.message)


@dataclass(frozen=True)
class Absent:
    """As the first step: there is no operator, nothing ever happens."""

    def __call__(self, operator: "FakeOperator", name: str) -> bool:
        return False


@dataclass
class Mirror:
    """Submit a real job and copy its status, until it has ended."""

    check_timeout: float = 1
    """Seconds for which the status may not be had; KubeRay has 300."""

    def __call__(self, operator: "FakeOperator", name: str) -> bool:
        job = operator.real.get(name)
        if job is None:
            operator.submit_real(name)
            return False
        try:
            status, message = job.status()
        except Exception as error:  # noqa: BLE001 - whatever a client raises
            job.silent_since = job.silent_since or time.monotonic()
            if time.monotonic() - job.silent_since < self.check_timeout:
                return False
            del operator.real[name]
            Fails("JobStatusCheckTimeoutExceeded", f"Failed to get the status of the Ray job: {error}")(operator, name)
            return True
        job.silent_since = 0
        if status not in TERMINAL:
            operator.update(name, jobStatus=status, message=message)
            return False
        del operator.real[name]
        if status == "FAILED":
            AppFailed(message)(operator, name)
        else:
            operator.finish(name, "Complete", jobStatus=status, message=message)
        return True


@dataclass
class RealJob:
    status: Callable[[], tuple[str, str]]
    stop: Callable[[], Any]
    silent_since: float = 0


# --- The operator


@dataclass
class FakeOperator:
    """Watches RayJobs; keeps the order of KubeRay's status machine."""

    api: KubeApi
    script: Sequence[Step] = ()
    submit: Submit | None = None
    delay: float | None = None
    """Seconds between steps that happen by themselves; None: when `next` is called."""
    dashboard_url: str = "http://127.0.0.1:8265"
    """Of the cluster whose jobs are mirrored."""
    stopped: list[str] = field(default_factory=list)
    """Job ids that were stopped, for their RayJob was deleted."""
    real: dict[str, RealJob] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._steps: dict[str, deque[Step]] = {}
        self._closing = threading.Event()
        self._turn = threading.RLock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        if self.submit and not self.script:
            self.script = [Ready(self.dashboard_url), Mirror()]
            self.delay = self.delay or 0.05

    def __enter__(self) -> Self:
        self.api.on_created("RayJob", self._created)
        self.api.on_changed("RayJob", self._changed)
        if self.delay is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.api.settle()
        self._closing.set()
        if self.delay is not None:
            self._thread.join(5)

    # What a test calls

    def next(self, name: str = "", times: int = 1) -> None:
        """Do the next steps of a RayJob, by default of the one that came last."""
        for _ in range(times):
            self.api.settle()
            self._step(name or list(self._steps)[-1])
            self.api.settle()

    def pods(self, name: str, node: str = "") -> list[Object]:
        """Return the pods of the present cluster of a RayJob."""
        cluster = self.status(name).get("rayClusterName")
        members = [pod for pod in self.api.objects("Pod") if _label(pod, "cluster") == cluster]
        return [pod for pod in members if node in ("", _label(pod, "node-type"))]

    def expire(self, name: str) -> None:
        """Delete the cluster of a RayJob that has ended, as KubeRay does after ttlSecondsAfterFinished."""
        self._delete_cluster(name)
        self.api.settle()

    # What steps call

    def status(self, name: str) -> Object:
        job = self.api.get("RayJob", name)
        return dict((job or {}).get("status") or {})

    def update(self, name: str, **status: Any) -> None:
        """Set parts of the status; None removes one."""

        def change(current: Object) -> None:
            merged = {**(current.get("status") or {}), **status}
            current["status"] = {name: value for name, value in merged.items() if value is not None}

        self.api.edit("RayJob", name, change)

    def finish(self, name: str, deployment: str, **status: Any) -> None:
        """End an attempt: Complete, Failed, or Retrying if another attempt is left."""
        job = self.api.get("RayJob", name) or {}
        was, spec = job.get("status") or {}, job["spec"]
        failed = was.get("failed", 0) + (deployment == "Failed")
        succeeded = was.get("succeeded", 0) + (status.get("jobStatus") == "SUCCEEDED")
        left = failed < spec.get("backoffLimit", 0) + 1 and status.get("reason") != "DeadlineExceeded"
        retries = deployment == "Failed" and left
        if status.get("jobStatus") in TERMINAL:
            status["rayJobInfo"] = {**was.get("rayJobInfo", {}), "endTime": now()}
        end = {} if retries else {"endTime": now()}
        state = "Retrying" if retries else deployment
        self.update(name, **status, **end, jobDeploymentStatus=state, failed=failed, succeeded=succeeded)
        if not retries and spec.get("shutdownAfterJobFinishes") and not spec.get("ttlSecondsAfterFinished"):
            self._delete_cluster(name)

    def set_pods(self, name: str, state: State, node: str = "") -> None:
        for pod in self.pods(name, node):
            self.api.edit("Pod", pod["metadata"]["name"], state, pod["metadata"]["namespace"])

    def submit_real(self, name: str) -> None:
        """Submit; KubeRay tries again for ever when that fails."""
        assert self.submit is not None
        job = self.api.get("RayJob", name) or {}
        try:
            status, stop = self.submit(
                job["spec"]["entrypoint"], job["spec"].get("metadata", {}), job["status"]["jobId"]
            )
        except Exception:  # noqa: BLE001 - whatever a client raises
            return
        self.real[name] = RealJob(status, stop)

    # What the operator does by itself

    def _created(self, job: Object) -> None:
        with self._turn:
            if self._closing.is_set():
                return
            name = job["metadata"]["name"]
            self._steps.pop(name, None)
            steps = self._steps[name] = deque(self.script)
            if steps and isinstance(steps[0], Absent | ValidationFailed):
                steps[0](self, name)
                return
            if len(name) > 47:
                ValidationFailed("The RayJob metadata is invalid: RayJob name should be no more than 47 characters")(
                    self, name
                )
                return
            self._begin(name)

    def _begin(self, name: str) -> None:
        """Take a new RayJob, or a new attempt of one."""
        job = self.api.get("RayJob", name)
        if job is None or job["metadata"].get("deletionTimestamp"):
            return
        if job["spec"].get("suspend"):
            self.api.edit("RayJob", name, _hold)
            self.update(name, jobDeploymentStatus="Suspended", startTime=now())
            return
        self.api.edit("RayJob", name, _hold)
        self.update(
            name,
            jobId=job["spec"].get("jobId") or f"{name}-{suffix()}",
            rayClusterName=f"{name}-{suffix()}",
            jobDeploymentStatus="Initializing",
            startTime=now(),
        )
        self._make_cluster(self.api.get("RayJob", name) or {})

    def _make_cluster(self, job: Object) -> None:
        metadata, spec = job["metadata"], job["spec"].get("rayClusterSpec") or {}
        name = job["status"]["rayClusterName"]
        labels = {"ray.io/originated-from-cr-name": metadata["name"], "ray.io/originated-from-crd": "RayJob"}
        document: Object = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": spec, "status": {}}
        document["metadata"] = {"name": name, "namespace": metadata["namespace"], "ownerReferences": [_owner(job)]}
        document["metadata"]["labels"] = {**(metadata.get("labels") or {}), **labels}
        cluster = self.api.put(document)
        message = f"Created RayCluster {metadata['namespace']}/{name}"
        self.api.event(job, "CreatedRayCluster", message, "Normal", "rayjob-controller")
        self._make_pod(cluster, _with_autoscaler(spec), "head", "headgroup")
        for group in spec.get("workerGroupSpecs") or []:
            for _ in range(group.get("replicas", group.get("minReplicas", 0))):
                self._make_pod(cluster, group, "worker", group["groupName"])

    def _make_pod(self, cluster: Object, group: Object, node: str, name: str) -> None:
        template, owner = group.get("template") or {}, cluster["metadata"]["name"]
        labels = dict((template.get("metadata") or {}).get("labels") or {})
        labels |= {"ray.io/cluster": owner, "ray.io/node-type": node, "ray.io/group": name, "ray.io/is-ray-node": "yes"}
        labels |= {"ray.io/identifier": f"{owner}-{node}", "app.kubernetes.io/created-by": "kuberay-operator"}
        metadata = {"name": f"{owner}-{node if node == 'head' else f'{name}-worker'}-{suffix()}", "labels": labels}
        metadata |= {"namespace": cluster["metadata"]["namespace"], "ownerReferences": [_owner(cluster)]}
        spec = {"containers": [{"name": f"ray-{node}", "image": "ray"}], **(template.get("spec") or {})}
        self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def _changed(self, before: Object | None, job: Object | None) -> None:
        with self._turn:
            job = self.api.get("RayJob", job["metadata"]["name"]) if job else None  # it may have changed since
            if job is None or self._closing.is_set():
                return
            name, status = job["metadata"]["name"], job.get("status") or {}
            if job["metadata"].get("deletionTimestamp"):
                self._let_go(job)
            elif job["spec"].get("suspend") and status.get("jobDeploymentStatus") in ("Initializing", "Running"):
                self.update(name, jobDeploymentStatus="Suspending")
                self._reset(name, "Suspended")
            elif not job["spec"].get("suspend") and status.get("jobDeploymentStatus") == "Suspended":
                self._reset(name, None)
                self._begin(name)

    def _let_go(self, job: Object) -> None:
        """Stop the job of a RayJob that is being deleted, then let it go whatever the result."""
        if FINALIZER not in job["metadata"].get("finalizers", []):
            return
        name, status = job["metadata"]["name"], job.get("status") or {}
        if status.get("jobStatus") not in TERMINAL:
            self.stopped.append(status.get("jobId", ""))
            if real := self.real.pop(name, None):
                _ignoring(real.stop)
        self._steps.pop(name, None)
        _ignoring(
            lambda: self.api.edit("RayJob", name, lambda current: current["metadata"]["finalizers"].remove(FINALIZER))
        )

    def _delete_cluster(self, name: str) -> None:
        cluster = self.status(name).get("rayClusterName", "")
        if self.api.get("RayCluster", cluster):
            self.api.delete("RayCluster", cluster)

    def _reset(self, name: str, deployment: str | None) -> None:
        """Forget an attempt: its cluster and its status."""
        self._delete_cluster(name)
        names = ("jobId", "dashboardURL", "message", "reason", "rayClusterName", "rayJobInfo", "rayClusterStatus")
        self.update(name, **dict.fromkeys(names), jobStatus=None, jobDeploymentStatus=deployment)

    def _step(self, name: str) -> None:
        with self._turn:
            steps, status = self._steps.get(name), self.status(name)
            if self.api.get("RayJob", name) is None or steps is None:
                return
            if status.get("jobDeploymentStatus") == "Retrying":
                self._reset(name, None)
                self._begin(name)
                if steps and isinstance(steps[0], Retrying):
                    steps.popleft()
                return
            state = status.get("jobDeploymentStatus", "")
            if steps and state in ("Initializing", "Running") and steps[0](self, name) is not False:
                done = steps.popleft()
                if not steps and self.submit and isinstance(done, Mirror):
                    steps.extend(self.script)  # for another attempt

    def _run(self) -> None:
        while not self._closing.wait(self.delay):
            for name in list(self._steps):
                try:
                    self._step(name)
                except Exception as error:  # noqa: BLE001 - raised at the end of the test
                    if self.api.get("RayJob", name):
                        self.api.errors.append(error)


def _label(pod: Object, name: str) -> str:
    return str((pod["metadata"].get("labels") or {}).get(f"ray.io/{name}", ""))


def _with_autoscaler(spec: Object) -> Object:
    """Return the group of the head, with the container that KubeRay puts beside it (common/pod.go)."""
    head: Object = copy.deepcopy(spec.get("headGroupSpec") or {})
    if not spec.get("enableInTreeAutoscaling"):
        return head
    pod = head["template"]["spec"]
    options = spec.get("autoscalerOptions") or {}
    command = "ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME) --cluster-namespace $(RAY_CLUSTER_NAMESPACE)"
    container: Object = {"name": "autoscaler", "image": pod["containers"][0].get("image", "")}
    container |= {"command": ["/bin/bash", "-c", "--"], "args": [command]}
    given = ("image", "imagePullPolicy", "resources", "securityContext", "env", "envFrom", "volumeMounts")
    container |= {name: copy.deepcopy(options[name]) for name in given if options.get(name)}
    logs = {"name": "ray-logs", "mountPath": "/tmp/ray"}
    for each in (pod["containers"][0], container):
        mounts = each.setdefault("volumeMounts", [])
        if not any(mount["mountPath"] == logs["mountPath"] for mount in mounts):
            mounts.append(logs)
    volumes = pod.setdefault("volumes", [])
    if not any(volume["name"] == "ray-logs" for volume in volumes):
        volumes.append({"name": "ray-logs", "emptyDir": {}})
    pod["containers"].append(container)
    if options.get("version") == "v2":
        pod["restartPolicy"] = "Never"
    return head


def _owner(document: Object) -> Object:
    owner = {"apiVersion": document["apiVersion"], "kind": document["kind"], "name": document["metadata"]["name"]}
    return {**owner, "uid": document["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}


def _hold(job: Object) -> None:
    metadata = job["metadata"]
    metadata["finalizers"] = [
        *metadata.get("finalizers", []),
        *([FINALIZER] if FINALIZER not in metadata.get("finalizers", []) else []),
    ]


def _ignoring(call: Callable[[], Any]) -> None:
    try:
        call()
    except (OSError, RuntimeError, Refused, ValueError):
        return
