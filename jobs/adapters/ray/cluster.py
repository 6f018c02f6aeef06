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
from jobs.config.settings import RaySettings
from jobs.ports.metrics import Sample
from jobs.ports.runner import Item, Result
from jobs.runtime import scratch
from jobs.runtime.logs import LOGGER
from marts.errors import Defect, MartsError, ServiceError

OBJECT_STORE = 200 << 20
"""Bytes of a local cluster's object store: results are small."""
_LOCAL_ENVIRONMENT = {
    # Keep idle workers (_WARM): to start one, and to import in it, costs more than most tasks.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    # A task that runs out of memory does so again; Ray would try for ever.
    "RAY_task_oom_retries": "3",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # glibc would give large arrays back to the kernel and ask for them again: some 7 % of a scan's CPU seconds.
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}
_WARM = "RAY_num_workers_soft_limit"
_WARM_LEAST, _WARM_PER_CPU = 8, 2
"""Idle workers that a node keeps: Ray Data starts more than it has CPUs."""
LOOK = "WAIT_FOR_TASK_COMPLETION_TIMEOUT_S"
_LOOK_SECONDS = 0.02
ASK = "GLOBAL_LIMITS_UPDATE_INTERVAL_S"
_ASK_SECONDS = 0.05
_GROWING = 32
"""CPUs that a cluster which may grow is reckoned with at least."""
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it for the drivers that it starts."""
_START_ATTEMPTS = 3
_log = logging.getLogger("marts.task")
_PATIENCE = 5.0
"""Seconds that a cluster has to take a connection, if only metrics are for it."""
_GAUGES_START = 60.0
"""Seconds that an actor may take to start."""


class Cluster:
    """The Ray cluster that this process uses. It starts, or connects, when the first task needs it."""

    def __init__(self, settings: RaySettings, names: Mapping[str, str] | None = None) -> None:
        """Use a cluster as the settings say; ``names`` (run_id, as_of) become metadata of the Ray job."""
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
        """Return whether this process is on a cluster already."""
        ray = sys.modules.get("ray")
        return bool(ray and ray.is_initialized())

    def run(
        self, step: str, function: Callable[[Item], Result], items: Sequence[Item], at_once: int | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Run a step's items as tasks on Ray Data; ``step`` is the name in plan and dashboard.

        A task takes one item, or some of them one after the other while there are many more than can run at once.
        Raises the first MartsError of an item. A task may run twice (Ray repeats the tasks of a lost worker), so
        ``function`` must write the same thing each time. ``at_once`` bounds the items at hand at the same time.
        """
        if not items:
            return
        self.start()
        import ray
        from ray.data.exceptions import ExecutionTimeoutError
        from ray.exceptions import RayError, RayTaskError

        shares = share_out(len(items), at_once or self._slots(ray))
        folder = scratch.folder() if self._local else None  # another node does not have it
        source = datasource(step, function, items, shares, folder)
        tasks = ray.data.read_datasource(
            source, override_num_blocks=len(shares), concurrency=at_once and min(at_once, len(shares))
        )
        try:
            # More than it may grow to would be refused as a whole: the cluster would not grow at all.
            most = 0 if self._local else self.settings.most_cpus or 0
            with Demand(min(len(shares), at_once or len(shares), most)) as demand:
                left = len(items)
                for batch in tasks.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
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
        # It writes the tracebacks of what we tell in a sentence.
        debug = logging.getLogger(LOGGER).isEnabledFor(logging.DEBUG)
        logging.getLogger("ray.data").setLevel(logging.ERROR if debug else logging.CRITICAL)

    @property
    def _local(self) -> bool:
        return cluster_address(self.settings) == "local"

    def _slots(self, ray: Any) -> int:
        """Return how many tasks run at once; a cluster that we joined may grow meanwhile."""
        cpus = int(ray.cluster_resources().get("CPU", 1))
        return cpus if self._local else max(cpus, _GROWING)

    def report(self, samples: Sequence[Sample], seconds: float) -> None:
        """Show gauges among Ray's own metrics, as ray_NAME, for some seconds from now on; waits for none of them.

        They are kept by an actor that outlives this process, and then ends by itself: gauges of a driver are
        gone 20 s after its end, or after they were set, and a scrape may come once a minute. Does nothing if
        the cluster is a local one, for it ends with this process. Raises ServiceError.
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
            hint = "metrics.ray = 0 leaves it; a Pushgateway or a textfile does not need the cluster"
            raise ServiceError(f"Ray does not take the metrics: {cause_of(error)}", "Ray", hint) from error

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
                _log.debug("the submission is not named: %s", error)
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
            except Exception as error:  # a busy machine: the node timed out during startup, a bare Exception of Ray's
                if not isinstance(error, RuntimeError) and type(error) is not Exception:
                    raise
                if attempt == _START_ATTEMPTS:
                    hint = "is the machine overloaded, or out of memory or disk? `marts doctor` looks closer"
                    raise ServiceError(f"no local Ray cluster starts: {error}", "Ray", hint) from error
                with contextlib.suppress(RuntimeError):
                    ray.shutdown()
            else:
                return


def local_environment(cpus: int) -> dict[str, str]:
    """Return the variables of a local cluster on a machine with so many CPUs."""
    return {**_LOCAL_ENVIRONMENT, _WARM: str(max(_WARM_LEAST, _WARM_PER_CPU * cpus))}


def _look_often() -> None:
    """Let Ray Data see at once that a task has ended: it waits a tenth of a second for others to end as well.

    And to ask soon again what the cluster has: the first answer of each step is that it has nothing, so that one task
    runs alone for the second until the next. There are no settings for either. Together, that was a sixth of a build.
    """
    from ray.data._internal.execution import resource_manager, streaming_executor_state

    for place, name, seconds in (
        (streaming_executor_state, LOOK, _LOOK_SECONDS),
        (resource_manager.ResourceManager, ASK, _ASK_SECONDS),
    ):
        if hasattr(place, name):  # else it is another Ray, and as slow as it likes
            setattr(place, name, seconds)


def _name_submission(names: Mapping[str, str]) -> None:
    """Add metadata to the job that was submitted: Ray shows that of the submission, not that of its driver.

    There is no public way from inside of a job. The names are a service to who looks at the dashboard, and not more.
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
    """Return the submission id of the Ray job that this process is the driver of, if somebody submitted it."""
    config = json.loads(os.environ.get(_JOB_VARIABLE, "{}"))
    return str((config.get("metadata") or {}).get("job_submission_id") or "")


def cluster_address(settings: RaySettings) -> str:
    """Return which cluster to use. Ray marks the drivers it starts itself; only they join its cluster."""
    if settings.address != "auto":
        return settings.address
    return "auto" if _JOB_VARIABLE in os.environ else "local"


def _look(address: str) -> None:
    """Raise ServiceError if nobody listens at an address. Ray waits for minutes, and metrics are not worth that."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except OSError as error:
        raise ServiceError(f"no Ray cluster answers: {error}", address, "check ray.address") from error
