"""Run the tasks of a step on Ray Data: workers exchange Parquet files, Ray moves the small results."""

import contextlib
import json
import logging
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from jobs.adapters.ray.autoscaler import Demand
from jobs.adapters.ray.errors import WITHOUT_WARRANTY, cause_of, lost
from jobs.adapters.ray.gauges import Gauges
from jobs.adapters.ray.tasks import datasource, share_out
from jobs.adapters.ray.waiting import Waiting
from jobs.config.settings import RaySettings
from jobs.ports.metrics import Sample
from jobs.ports.runner import Item, Result
from jobs.runtime import scratch
from jobs.runtime.logs import LOGGER
from marts.errors import Defect, MartsError, ServiceError

OBJECT_STORE = 200 << 20
"""Bytes of a local cluster's object store: results are small."""
_LOCAL_ENVIRONMENT = {
    # Keep idle workers (_WARM): starting one and importing modules in it takes longer than most tasks.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    # A task that runs out of memory does so again; Ray would retry it forever.
    "RAY_task_oom_retries": "3",
    # A stalled machine looks like a dead node: after 60 s without an answer Ray would end its only one, and the run.
    "RAY_health_check_failure_threshold": "100",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # glibc would return large arrays to the kernel and allocate them again: some 7 % of a scan's CPU seconds.
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}
_WARM = "RAY_num_workers_soft_limit"
_WARM_LEAST, _WARM_PER_CPU = 8, 2
"""Idle workers that a node keeps: Ray Data starts more workers than the node has CPUs."""
LOOK = "WAIT_FOR_TASK_COMPLETION_TIMEOUT_S"
_LOOK_SECONDS = 0.02
ASK = "GLOBAL_LIMITS_UPDATE_INTERVAL_S"
_ASK_SECONDS = 0.05
_GROWING = 32
"""Minimum number of CPUs assumed for a cluster that may grow."""
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable that Ray sets for the drivers that it starts."""
_START_ATTEMPTS = 3
_log = logging.getLogger("marts.task")
_PATIENCE = 5.0
"""Connection timeout in seconds, if the cluster is needed for metrics only."""
_GAUGES_START = 60.0
"""Seconds for the actor of the gauges to start."""


class Cluster:
    """The Ray cluster of this process. It is started or joined when the first task needs it."""

    def __init__(self, settings: RaySettings, names: Mapping[str, str] | None = None) -> None:
        """Use the cluster of the settings; ``names`` (run_id, as_of) become metadata of the Ray job."""
        self.settings = settings
        self._names = dict(names or {})
        self._started_here = False

    def __enter__(self) -> Self:
        scratch.sweep()
        return self

    def __exit__(self, *_: object) -> None:
        if self._started_here:
            import ray

            ray.shutdown()

    @property
    def is_up(self) -> bool:
        """Return whether this process is connected to a cluster."""
        ray = sys.modules.get("ray")
        return bool(ray and ray.is_initialized())

    def run(
        self, step: str, function: Callable[[Item], Result], items: Sequence[Item], at_once: int | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Run a step's items as tasks on Ray Data; ``step`` is the name in plan and dashboard.

        A task processes one item, or several in sequence while many more are left than can run in parallel.
        Raises the first MartsError of an item. A task may run twice (Ray repeats the tasks of a lost worker), so
        ``function`` must be idempotent. ``at_once`` limits the number of parallel tasks.
        """
        if not items:
            return
        self.start()
        import ray
        from ray.data.exceptions import ExecutionTimeoutError
        from ray.exceptions import RayError, RayTaskError

        shares = share_out(len(items), at_once or self._slots(ray))
        folder = scratch.folder() if self._local else None  # it does not exist on other nodes
        source = datasource(step, function, items, shares, folder)
        tasks = ray.data.read_datasource(
            source, override_num_blocks=len(shares), concurrency=at_once and min(at_once, len(shares))
        )
        try:
            # A request above the maximum would be rejected as a whole: the cluster would not grow at all.
            most = 0 if self._local else self.settings.most_cpus or 0
            with (
                Demand(min(len(shares), at_once or len(shares), most)) as demand,
                Waiting(step, self._local) as waiting,
            ):
                left = len(items)
                for batch in tasks.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                    waiting.completed()
                    left -= len(batch["index"])
                    demand.cpus = min(demand.cpus, left)
                    for index, payload in zip(batch["index"].to_pylist(), batch["result"].to_pylist(), strict=True):
                        result = pickle.loads(payload)
                        if isinstance(result, MartsError):
                            raise result
                        yield index, result
        except RayTaskError as error:
            raise Defect(f"a task of {step} failed: {cause_of(error)}", "Ray", "please report it") from error
        except (RayError, ExecutionTimeoutError) as error:
            raise lost(step, error) from error

    def start(self) -> None:
        """Start a local cluster, or connect to the one that this job was submitted to."""
        given = local_environment(self.settings.cpus or os.cpu_count() or 1)
        os.environ.update({key: os.environ.get(key, value) for key, value in given.items()})
        import ray
        import ray.data

        if not ray.is_initialized():
            self._initialise(ray)
            self._started_here = True
        _look_often()
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = self.settings.bars
        context.print_on_execution_start = False
        context.max_errored_blocks = 0
        context.execution_no_progress_timeout_s = self.settings.stalled_seconds
        # Ray Data logs tracebacks of errors that are reported in one sentence.
        debug = logging.getLogger(LOGGER).isEnabledFor(logging.DEBUG)
        logging.getLogger("ray.data").setLevel(logging.ERROR if debug else logging.CRITICAL)

    @property
    def _local(self) -> bool:
        return cluster_address(self.settings) == "local"

    def _slots(self, ray: Any) -> int:
        """Return how many tasks run in parallel; a joined cluster may still grow."""
        cpus = int(ray.cluster_resources().get("CPU", 1))
        return cpus if self._local else max(cpus, _GROWING)

    def report(self, samples: Sequence[Sample], seconds: float) -> None:
        """Export gauges with Ray's own metrics, as ray_NAME, for some seconds; do not wait for the end.

        An actor holds them. It outlives this process and then ends by itself: gauges of a driver disappear 20 s after
        its end, or after they were set, and a scrape may come once a minute. Do nothing on a local cluster, which
        ends with this process. Raises ServiceError.
        """
        address = cluster_address(self.settings)
        if address == "local":
            return
        if not self._started_here:
            _look(address)
        self.start()
        import ray
        from ray.exceptions import RayError

        actor = None
        try:
            kind = ray.remote(Gauges).options(num_cpus=0, lifetime="detached", max_restarts=0, max_concurrency=2)
            actor = kind.remote(samples)
            actor.stay.remote(seconds)
            ray.get(actor.ready.remote(), timeout=_GAUGES_START)
        except (RayError, RuntimeError, ValueError, OSError) as error:
            if actor is not None:
                with contextlib.suppress(RayError, RuntimeError, OSError):
                    ray.kill(actor)
            hint = "metrics.ray = 0 turns it off; a Pushgateway or a textfile does not need the cluster"
            raise ServiceError(f"Ray does not accept the metrics: {cause_of(error)}", "Ray", hint) from error

    def _initialise(self, ray: Any) -> None:
        address = cluster_address(self.settings)
        job = ray.job_config.JobConfig(metadata=self._names)
        common = {"log_to_driver": False, "logging_level": logging.ERROR, "job_config": job}
        if address != "local":
            try:
                ray.init(address=address, **common)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ServiceError(f"no Ray cluster answers: {error}", address, "check ray.address") from error
            try:
                _name_submission(self._names)
            except WITHOUT_WARRANTY as error:
                _log.debug("the metadata of the submission was not set: %s", error)
            return
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                ray.init(
                    address="local",
                    num_cpus=self.settings.cpus,
                    include_dashboard=self.settings.dashboard,
                    object_store_memory=OBJECT_STORE,
                    **common,
                )
            except Exception as error:  # on a busy machine the node times out at startup: Ray raises a bare Exception
                # OSError: no folder for sessions, or no home for the token of the cluster.
                if not isinstance(error, RuntimeError | OSError) and type(error) is not Exception:
                    raise
                if attempt == _START_ATTEMPTS:
                    hint = "check the load, memory and disk of the machine: `marts doctor`"
                    raise ServiceError(f"cannot start a local Ray cluster: {error}", "Ray", hint) from error
                with contextlib.suppress(RuntimeError):
                    ray.shutdown()
            else:
                return


def local_environment(cpus: int) -> dict[str, str]:
    """Return the environment variables of a local cluster on a machine with ``cpus`` CPUs."""
    return {**_LOCAL_ENVIRONMENT, _WARM: str(max(_WARM_LEAST, _WARM_PER_CPU * cpus))}


def _look_often() -> None:
    """Shorten two poll intervals of Ray Data, for which it has no settings. Together they cost a sixth of a build.

    Ray Data waits a tenth of a second for more tasks to end. It also reads the resources of the cluster once a second:
    the first answer in each step is that there are none, so a single task runs until the second answer.
    """
    from ray.data._internal.execution import resource_manager, streaming_executor_state

    for place, name, seconds in (
        (streaming_executor_state, LOOK, _LOOK_SECONDS),
        (resource_manager.ResourceManager, ASK, _ASK_SECONDS),
    ):
        if hasattr(place, name):  # another version of Ray may not have it
            setattr(place, name, seconds)


def _name_submission(names: Mapping[str, str]) -> None:
    """Add metadata to the submitted job: Ray shows the metadata of the submission, not of its driver.

    Ray has no public API for this inside a job. The names are only for readers of the dashboard.
    """
    from ray._private.ray_constants import KV_NAMESPACE_JOB
    from ray.dashboard.modules.job.common import JobInfoStorageClient
    from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

    submission = own_submission()
    if not submission:
        return
    key = JobInfoStorageClient.JOB_DATA_KEY.format(job_id=submission).encode()
    announced = json.loads(_internal_kv_get(key, namespace=KV_NAMESPACE_JOB) or "{}")
    if announced:
        announced["metadata"] = {**(announced.get("metadata") or {}), **names}
        _internal_kv_put(key, json.dumps(announced).encode(), overwrite=True, namespace=KV_NAMESPACE_JOB)


def own_submission() -> str:
    """Return the submission id of the Ray job that this process drives, or "" if it was not submitted."""
    config = json.loads(os.environ.get(_JOB_VARIABLE, "{}"))
    return str((config.get("metadata") or {}).get("job_submission_id") or "")


def cluster_address(settings: RaySettings) -> str:
    """Return the address of the cluster to use. With "auto", only drivers started by Ray join its cluster."""
    if settings.address != "auto":
        return settings.address
    return "auto" if _JOB_VARIABLE in os.environ else "local"


def _look(address: str) -> None:
    """Raise ServiceError if nothing listens at an address. Ray would wait for minutes: too long for metrics."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except OSError as error:
        raise ServiceError(f"no Ray cluster answers: {error}", address, "check ray.address") from error
