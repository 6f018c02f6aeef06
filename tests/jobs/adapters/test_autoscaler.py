"""A step asks the autoscaler of its cluster for the CPUs of its tasks: Ray's own one, with nodes on this machine."""

import json
import sys
from pathlib import Path

from support.servers import free_port, ray_head

ROOT = Path(__file__).parents[3]
HEAD_NODE = "f" * 51 + "00000"
"""What Ray's provider of nodes on one machine calls the head."""
JOB = """
import sys, time
from pathlib import Path

import ray

from jobs.runtime import scratch
from jobs.adapters.ray.cluster import Cluster
from jobs.config.settings import RaySettings


def meet(number):
    (folder / f"begun-{number}").touch()
    end = time.monotonic() + 240
    while len(list(folder.glob("begun-*"))) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    return time.monotonic() < end


def place(_):
    return str(scratch.folder())


def workers():
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())


folder = Path(sys.argv[1])
with Cluster(RaySettings(most_cpus=2)) as cluster:
    met = dict(cluster.run("Meet", meet, list(range(6))))
    most, end = workers(), time.monotonic() + 240
    while workers() > 1 and time.monotonic() < end:
        time.sleep(0.5)
    assert dict(cluster.run("Place", place, [0])) != {0: str(scratch.folder())}, "another node does not have it"
    print([len(met), all(met.values()), most, workers()])
"""


def autoscaling(port: int) -> dict[str, object]:
    """Return the configuration of a cluster of one to two workers, each of one CPU."""
    worker = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 1, "max_workers": 2}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    module = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
    provider = {"type": "external", "module": module, "head_node_id": HEAD_NODE, "gcs_address": f"127.0.0.1:{port}"}
    return {
        "cluster_name": "grows",
        "max_workers": 2,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.05,
        "provider": {**provider, "launch_multiple": True, "disable_node_updaters": True},
        "available_node_types": {"ray.head.default": head, "worker": worker},
        "head_node_type": "ray.head.default",
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        **{name: [] for name in ("initialization_commands", "setup_commands", "head_setup_commands")},
        **{name: [] for name in ("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")},
    }


def test_a_step_gets_the_workers_that_its_tasks_need_and_they_go_when_it_has_ended(tmp_path: Path) -> None:
    """The first task waits for a second: with Ray Data's own demand, none would end, and the cluster would never grow.

    There are more tasks than the cluster may have CPUs: asked for all of them, the autoscaler would do nothing.
    """
    port = free_port()
    (tmp_path / "autoscaling.json").write_text(json.dumps(autoscaling(port)))
    (tmp_path / "job.py").write_text(JOB)
    grows = {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_NODE,
    }
    grows |= {"RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": HEAD_NODE, "PYTHONPATH": str(ROOT)}
    with ray_head(grows, 0, f"--autoscaling-config={tmp_path}/autoscaling.json", port=port) as head:
        assert head.job(f"{sys.executable} {tmp_path}/job.py {tmp_path}") == "[6, True, 2, 1]"
