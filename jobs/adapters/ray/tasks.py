"""The tasks of a step, as a data source of Ray Data."""

import logging
import pickle
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.ports.runner import Item, Result
from jobs.runtime import scratch
from jobs.runtime.logs import LOGGER, context, set_up_worker, within
from jobs.runtime.scrub import scrub, scrubbed
from marts.errors import Defect, MartsError

_LARGEST_SHARE = 8
"""Maximum number of items per task."""
_log = logging.getLogger("marts.task")


def share_out(count: int, slots: int) -> list[range]:
    """Split items into tasks: several per task at first, single ones at the end, so that all workers end together.

    Ray Data takes some time to notice the end of a task and start the next.
    """
    shares = []
    start = 0
    while start < count:
        stop = start + min(max((count - start) // (2 * slots), 1), _LARGEST_SHARE)
        shares.append(range(start, stop))
        start = stop
    return shares


def datasource(
    step: str,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    shares: Sequence[range],
    folder: Path | None = None,
) -> Any:
    """Return a Ray Data source whose read tasks are the tasks of a step.

    ``folder``: the driver's scratch folder, shared by workers on this machine, because Ray may kill them at any time.
    """
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
            names, level = context(), logging.getLogger(LOGGER).getEffectiveLevel()

            def task(share: range) -> ReadTask:
                own = [(index, items[index]) for index in share]
                size = len(share)
                metadata = BlockMetadata(num_rows=size, size_bytes=1000 * size, input_files=None, exec_stats=None)
                return ReadTask(Task(function, own, names, level, folder), metadata, schema=schema)

            return [task(share) for share in shares]

    return StepTasks()


class Task:
    """One task: call the function for each item and yield one block per result or MartsError."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        items: Sequence[tuple[int, Any]],
        names: Mapping[str, str],
        level: int,
        folder: Path | None = None,
    ) -> None:
        self._function, self._items = function, items
        self._names, self._level, self._folder = names, level, folder

    def __call__(self) -> Iterator[Any]:
        set_up_worker(self._level)
        scratch.share(self._folder)
        try:
            for index, item in self._items:
                yield self._block(index, item)
        finally:
            scratch.release()

    def _block(self, index: int, item: Any) -> Any:
        import pyarrow as pa

        try:
            with within(**self._names, task=str(index)):
                before = time.perf_counter()
                result = self._function(item)
                _log.info("task %d finished in %.2f s", index, time.perf_counter() - before)
        except MartsError as error:
            result = scrubbed(error)
        except Exception:
            # Ray would write the traceback to its logs and pass it on unmasked.
            trace = traceback.format_exc()
            text = scrub(trace)
            if text == trace:
                raise
            result = Defect(f"a task failed: {text.splitlines()[-1]}", "Ray", f"please report it\n{text}")
        payload = pa.array([pickle.dumps(result)], pa.large_binary())
        return pa.table({"index": pa.array([index], pa.int64()), "result": payload})
