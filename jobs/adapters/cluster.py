"""Run the tasks of a step on Ray Data: workers exchange Parquet files, Ray moves the small results."""

import contextlib
import logging
import os
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, Self, TypeVar

from jobs.scrub import scrub, scrub_logs, scrubbed
from jobs.settings import RaySettings
from marts.errors import Defect, MartsError, ServiceError

Item = TypeVar("Item")
Result = TypeVar("Result")

OBJECT_STORE = 200 << 20
"""Bytes of a local cluster's object store: results are small."""
_LOCAL_ENVIRONMENT = {
    # Keep idle workers: to start one, and to import in it, costs more than most tasks.
    "RAY_num_workers_soft_limit": "8",
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_START_ATTEMPTS = 3


class Runner(Protocol):
    """Runs a function over items somewhere; gives each result, with its item's index, as it comes."""

    def __call__(
        self, step: str, function: Callable[[Item], Result], items: Sequence[Item], at_once: int | None = None
    ) -> Iterable[tuple[int, Result]]: ...


class Cluster:
    """The Ray cluster that this process uses. It starts, or connects, when the first task needs it."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings
        self._started_here = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started_here:
            import ray

            ray.shutdown()

    def run(
        self, step: str, function: Callable[[Item], Result], items: Sequence[Item], at_once: int | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Run a step's tasks on Ray Data, one task per item; ``step`` is the name in plan and dashboard.

        Raises the first MartsError of a task. A task may run twice (Ray repeats the tasks of a lost
        worker), so ``function`` must write the same thing each time. ``at_once`` bounds the tasks that
        run at the same time.
        """
        if not items:
            return
        self.start()
        import ray
        from ray.data.exceptions import ExecutionTimeoutError
        from ray.exceptions import RayError, RayTaskError

        source = _datasource(step, function, items)
        tasks = ray.data.read_datasource(
            source, override_num_blocks=len(items), concurrency=at_once and min(at_once, len(items))
        )
        try:
            for batch in tasks.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for index, payload in zip(batch["index"].to_pylist(), batch["result"].to_pylist(), strict=True):
                    result = pickle.loads(payload)
                    if isinstance(result, MartsError):
                        raise result
                    yield index, result
        except RayTaskError as error:
            raise Defect(f"a task of {step} failed: {_cause(error)}", "Ray", "please report it") from error
        except (RayError, ExecutionTimeoutError) as error:
            hint = "the live marts are untouched; is a node lost, frozen or out of memory? Run again, it goes on"
            raise ServiceError(f"Ray lost the tasks of {step}: {_cause(error)}", "Ray", hint) from error

    def start(self) -> None:
        """Start a local cluster, or connect to the one that this job was submitted to."""
        os.environ.update({key: os.environ.get(key, value) for key, value in _LOCAL_ENVIRONMENT.items()})
        import ray
        import ray.data

        if not ray.is_initialized():
            self._initialise(ray)
            self._started_here = True
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = 0
        context.execution_no_progress_timeout_s = self._settings.stalled_seconds
        logging.getLogger("ray.data").setLevel(logging.ERROR)

    def _initialise(self, ray: Any) -> None:
        address = cluster_address(self._settings)
        common = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address != "local":
            try:
                ray.init(address=address, **common)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ServiceError(f"no Ray cluster answers: {error}", address, "check ray.address") from error
            return
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                ray.init(
                    address="local",
                    num_cpus=self._settings.cpus,
                    include_dashboard=self._settings.dashboard,
                    object_store_memory=OBJECT_STORE,
                    **common,
                )
            except RuntimeError as error:  # a busy machine: the node timed out during startup
                if attempt == _START_ATTEMPTS:
                    hint = "is the machine overloaded, or out of memory or disk? `marts doctor` looks closer"
                    raise ServiceError(f"no local Ray cluster starts: {error}", "Ray", hint) from error
                with contextlib.suppress(RuntimeError):
                    ray.shutdown()
            else:
                return


def cluster_address(settings: RaySettings) -> str:
    """Tell which cluster to use. Ray marks the drivers it starts itself; only they join its cluster."""
    if settings.address != "auto":
        return settings.address
    return "auto" if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else "local"


def _datasource(step: str, function: Callable[[Item], Result], items: Sequence[Item]) -> Any:
    """Make a Ray Data source whose read tasks are the tasks of a step."""
    import pyarrow as pa
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    class StepTasks(Datasource):
        def get_name(self) -> str:
            return step

        def estimate_inmemory_data_size(self) -> int:
            return 1000 * len(items)

        def get_read_tasks(
            self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
        ) -> list[ReadTask]:
            schema = pa.schema([("index", pa.int64()), ("result", pa.large_binary())])
            metadata = BlockMetadata(num_rows=1, size_bytes=1000, input_files=None, exec_stats=None)
            return [ReadTask(_Task(function, index, item), metadata, schema=schema) for index, item in enumerate(items)]

    return StepTasks()


class _Task:
    """One task: calls the function, and gives its result, or the error it raised on purpose, as a block."""

    def __init__(self, function: Callable[[Any], Any], index: int, item: Any) -> None:
        self._function, self._index, self._item = function, index, item

    def __call__(self) -> list[Any]:
        import pyarrow as pa

        scrub_logs()
        try:
            result = self._function(self._item)
        except MartsError as error:
            result = scrubbed(error)
        except Exception:
            # Ray would print what it says to its own logs, and hand it over in clear.
            said = traceback.format_exc()
            text = scrub(said)
            if text == said:
                raise
            result = Defect(f"a task failed: {text.splitlines()[-1]}", "Ray", f"please report it\n{text}")
        payload = pa.array([pickle.dumps(result)], pa.large_binary())
        return [pa.table({"index": pa.array([self._index], pa.int64()), "result": payload})]


def _cause(error: BaseException) -> str:
    """Give the line that says what went wrong inside a task; Ray hands over its whole traceback as text."""
    cause = getattr(error, "cause", None) or error.__cause__ or error
    name = type(cause).__name__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(f"{name}:")]
    return named[-1] if named else f"{name}: {lines[0] if lines else ''}"
