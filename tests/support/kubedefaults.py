"""Defaults that a real API server writes into what is created; kubestore.py applies them.

Each row is what Kubernetes 1.36 showed; the source is the file of its repository that sets it.
"""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

# pkg/apis/batch/v1/defaults.go: SetDefaults_Job
JOB = {"completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False}
# pkg/apis/batch/v1/defaults.go: SetDefaults_CronJob
CRONJOB = {
    "concurrencyPolicy": "Allow",
    "suspend": False,
    "successfulJobsHistoryLimit": 3,
    "failedJobsHistoryLimit": 1,
}
# pkg/apis/core/v1/defaults.go: SetDefaults_PodSpec, SetDefaults_Pod
POD = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
# pkg/apis/core/v1/defaults.go: SetDefaults_Container
CONTAINER = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {}}
# pkg/apis/core/v1/defaults.go: SetDefaults_ConfigMapVolumeSource, …SecretVolumeSource, …ProjectedVolumeSource: 0644
MODE = {"defaultMode": 420}


def apply(document: Object) -> None:
    """Write the defaults into a new object, in place."""
    spec = document.get("spec") or {}
    if document["kind"] == "Job" and "template" in spec:
        _job(document)
    elif document["kind"] == "CronJob" and "jobTemplate" in spec:
        _set(spec, CRONJOB)
        _pod_spec(((spec["jobTemplate"].get("spec") or {}).get("template") or {}).get("spec"))
    elif document["kind"] == "Pod":
        _pod_spec(spec)


def own(job: Object) -> None:
    """Write into a Job, which has its uid by now, how it finds its pods.

    pkg/registry/batch/job/strategy.go: generateSelector.
    """
    template, metadata = (job.get("spec") or {}).get("template"), job["metadata"]
    if template is None or job["spec"].get("manualSelector"):
        return
    named = {"controller-uid": metadata["uid"], "job-name": metadata["name"]}
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels |= {**named, **{f"batch.kubernetes.io/{name}": value for name, value in named.items()}}
    job["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": metadata["uid"]}}


def _job(document: Object) -> None:
    spec, metadata = document["spec"], document["metadata"]
    if not metadata.get("labels"):  # SetDefaults_Job: those of its pods
        metadata["labels"] = dict((spec["template"].get("metadata") or {}).get("labels") or {})
    _set(spec, JOB)
    # SetDefaults_Job: pods that are ending are replaced, unless a policy looks at how they end.
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    _pod_spec(spec["template"].get("spec"))


def _pod_spec(spec: Object | None) -> None:
    if not spec:
        return
    _set(spec, POD)
    if "serviceAccountName" in spec:  # pkg/apis/core/v1/conversion.go: the name that it had before
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in [*spec.get("initContainers", ()), *spec.get("containers", ())]:
        _set(container, CONTAINER)
        # SetDefaults_Container: a tag of "latest" moves.
        _, colon, tag = container.get("image", "").rpartition("/")[2].partition(":")
        container.setdefault("imagePullPolicy", "Always" if not colon or tag == "latest" else "IfNotPresent")
        for port in container.get("ports", ()):
            port.setdefault("protocol", "TCP")  # zz_generated.defaults.go
        for variable in container.get("env", ()):
            if "fieldRef" in (variable.get("valueFrom") or {}):  # SetDefaults_ObjectFieldSelector
                variable["valueFrom"]["fieldRef"].setdefault("apiVersion", "v1")
    for source in _sources(spec.get("volumes", ())):
        _set(source, MODE)


def _sources(volumes: Any) -> Iterator[Object]:
    for volume in volumes:
        yield from (volume[kind] for kind in ("configMap", "secret", "projected") if kind in volume)


def _set(target: Object, defaults: Object) -> None:
    for name, value in defaults.items():
        target.setdefault(name, value.copy() if isinstance(value, dict) else value)
