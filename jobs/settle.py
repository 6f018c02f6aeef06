"""Transactions that go beyond a month, where the policy leaves the day out of their key.

One task per share of the buckets reads what names the lines of all months, and says which of them count. What it says
is kept under a name of what it was made from, so that a run without new drops does nothing.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

import numpy as np
import pyarrow as pa

from jobs import scratch
from jobs.adapters.objects import Store, open_store
from jobs.lines import File, read_lines, read_suspects
from jobs.settings import S3
from jobs.state import BUCKETS, Manifest, name_of, read_parquet, write_parquet
from marts.calculate import digest, marked, spill_to
from marts.identity import Identity, suspects


@dataclass(frozen=True)
class Marks:
    """Which lines of all months count."""

    paths: tuple[str, ...] = ()
    digests: dict[str, str] = field(default_factory=dict)
    """Names the marks of each month: facts of a month whose marks did not change stay."""


@dataclass(frozen=True)
class Settle:
    """One task: the lines of all months with bucket % parts == part."""

    files: tuple[File, ...]
    part: int
    parts: int
    identity: Identity
    path: str
    state: str
    s3: S3


def plan_settling(
    manifests: Sequence[Manifest], lines_per_task: int, identity: Identity, state: str, s3: S3
) -> list[Settle]:
    """Share out the lines of all months by buckets. ``manifests`` are in the order of delivery."""
    rows = sum(month.rows for manifest in manifests for month in manifest.months.values())
    parts = 1
    while parts < BUCKETS and rows > parts * lines_per_task * 3 // 2:
        parts *= 2
    files = [
        File(number, manifest.origin, month, file.path)  # by drop first: positions follow the order of deliveries
        for number, manifest in enumerate(manifests)
        for month, lines in sorted(manifest.months.items())
        for file in lines.files
    ]
    made_from = [(file.month, file.name) for file in files]
    name = name_of(digest("identity"), astuple(identity), parts, made_from)
    paths = [f"settled/{name}/part-{part:02d}.parquet" for part in range(parts)]
    return [Settle(tuple(files), part, parts, identity, path, state, s3) for part, path in enumerate(paths)]


def run_settle(task: Settle) -> int:
    """Say which lines of a task count, and write it. Gives how many lines it looked at."""
    store = open_store(task.state, task.s3)
    lines, rows = read_lines(store, task.files, task.part, task.parts, task.identity)
    places = np.flatnonzero(suspects(lines) & lines["transaction_id"].is_valid().to_numpy())
    spill_to(str(scratch.folder()))
    found = marked(read_suspects(store, task.files, lines, rows, places), task.identity)
    found = found.filter(found["mark"].is_valid())
    positions = found["position"].to_numpy()
    starts = np.cumsum([0, *(len(mine) for mine in rows)])
    of_file = np.searchsorted(starts, positions, side="right") - 1
    table = pa.table(
        {
            "month": pa.array([task.files[number].month for number in of_file], pa.string()),
            "file": pa.array([task.files[number].name for number in of_file], pa.string()),
            "row": pa.array([rows[n][p - starts[n]] for n, p in zip(of_file, positions, strict=True)], pa.int64()),
            "mark": found["mark"],
        }
    )
    write_parquet(store, task.path, table)
    return int(lines.num_rows)


def read_marks(store: Store, tasks: Sequence[Settle], manifests: Sequence[Manifest]) -> Marks:
    """Name the marks of each month, by the drops and rows that they are about."""
    paths = tuple(task.path for task in tasks)
    rows = pa.concat_tables([read_parquet(store, path) for path in paths]).to_pylist()
    by_month: dict[str, list[tuple[str, int, str]]] = {month: [] for manifest in manifests for month in manifest.months}
    for row in rows:
        by_month[row["month"]].append((row["file"], row["row"], row["mark"]))
    return Marks(paths, {month: name_of(sorted(found)) for month, found in by_month.items()})
