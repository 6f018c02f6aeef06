"""Martwright, from the drops until all marts are ready to load, in a fresh process or on a warm cluster.

The build stops before loading, because the other engines have no database either. Great Expectations is off, because
the other engines do not use it either.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.engines.contract import Order, main
from bench.packs import LEFT_OUT, marts_of
from jobs.adapters.ray.cluster import Cluster
from jobs.adapters.store.open import open_store
from jobs.adapters.warehouse.open import open_warehouse
from jobs.config.settings import S3, Quality, RaySettings, Settings
from jobs.run.context import Request, Run
from jobs.run.pipeline import build
from jobs.run.runner import LocalFirstRunner
from jobs.steps.materialize import saved_rows
from jobs.steps.materialize_task import rows_of
from marts.policy import Policy
from marts.retail.generate import LAST_DAY

WARM = "BENCH_WARM"
"""Variable with a folder of drops to build first, as a warm-up that is not timed."""
JOINED = "BENCH_RAY"
"""Variable with the address of a cluster to join."""


class Ready(BaseException):
    """Signal that the marts are ready to load."""


class UntilReady:
    """Progress observer that stops a run before it loads."""

    def begin(self, step: str, total: int) -> None:
        if step == "clean up":  # it comes before the load
            raise Ready

    def advance(self, rows: int = 0, drops: int = 0) -> None: ...


@contextmanager
def ready(order: Order) -> Iterator[Cluster]:
    joined = os.environ.get(JOINED)
    with Cluster(RaySettings(address=joined) if joined else RaySettings(address="local", cpus=order.cores)) as cluster:
        if WARM in os.environ:
            made_ready(cluster, Path(os.environ[WARM]), order.folder("warm"), LAST_DAY)
        yield cluster


def job(order: Order, cluster: Cluster) -> None:
    steps = made_ready(cluster, order.drops, order.out, order.as_of, order.pack)
    print("seconds:", " · ".join(f"{name} {seconds:.1f}" for name, seconds in steps.items()))
    state = order.out / "state"
    for name in ("lines", "quarantine"):
        (order.out / name).symlink_to(state / name)
    for name in marts_of(order.pack):
        newest = max((state / "marts" / name).iterdir(), key=lambda path: path.stat().st_mtime)
        (order.out / name).symlink_to(newest)


def made_ready(cluster: Cluster, drops: Path, folder: Path, as_of: date, pack: str = "retail") -> dict[str, float]:
    """Build until the marts are ready to load, continuing from the state in the folder. Return the seconds by step."""
    target = f"duckdb://{folder}/marts.duckdb"
    settings = Settings(
        pack=pack,
        source=str(drops),
        target=target,
        state=str(folder / "state"),
        quality=Quality(judge=False),
        analytics=False,
        leave_out=LEFT_OUT.get(pack, ()),
    )
    near = LocalFirstRunner(cluster, cluster.settings)
    return build_until_ready(settings, as_of, near.run, cluster.start, near.needs_cluster)


def build_until_ready(
    settings: Settings,
    as_of: date,
    tasks: Callable[..., Iterator[tuple[int, Any]]],
    start: Callable[[], None],
    needs_start: Callable[[float], bool],
) -> dict[str, float]:
    """Run the tasks of a build until the marts are ready to load. Return the seconds by step."""
    warehouse = open_warehouse(settings.target or "", settings.mysql, settings.domain)
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    request = Request(settings, Policy(), as_of, run_id, lambda: datetime.now(UTC))
    run = Run(request, tasks, warehouse, UntilReady(), start, needs_start)
    try:
        with suppress(Ready):
            report = build(run)
            raise SystemExit(str(report.error or report.outcome))
    finally:
        warehouse.close()
    return run.seconds


def lay_out(out: Path) -> None:
    """Write the rows as loading would read them, for comparison: rows of a day are a patch over other rows."""
    store = open_store(str(out / "state"), S3())
    there = {version.key for version in store.versions("marts")}
    for mart in marts_of("retail").values():
        folder = out / mart.name
        rows = saved_rows(store, mart.name, folder.resolve().name, there)
        assert rows
        folder.unlink()
        folder.mkdir()
        for number, part in enumerate(rows.parts):
            pq.write_table(rows_of(store, mart, *part), folder / f"part-{number:05d}.parquet")


if __name__ == "__main__":
    main(job, ready)
