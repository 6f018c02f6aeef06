"""A launcher's Job and pod on a fake API server."""

from jobs.launch.launcher import LauncherPod
from support.kube import KubeApi

JOB = "marts-daily-29384400"
ME = LauncherPod(f"{JOB}-abcde", "marts", JOB)
HEAD = {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray-head", "image": "marts"}]}}}


def put_launcher(api: KubeApi) -> str:
    """Put a Job, and its pod. Returns the Job's uid."""
    job = api.put(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": JOB, "namespace": "marts"}, "spec": {}}
    )
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": JOB, "uid": job["metadata"]["uid"], "controller": True}
    meta = {"name": ME.pod, "namespace": "marts", "ownerReferences": [owner], "finalizers": ["test/keep"]}
    containers = [{"name": "launcher", "image": "marts"}]
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers}})
    return str(job["metadata"]["uid"])
