"""Settle transactions that span months, or the days of a month that is computed by days.

One task per share of the buckets reads the identifying columns of the lines of some months and decides which count. The
results are named by their inputs, so that a run without new drops does nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa

from jobs.adapters.store.open import StoreAddress
from jobs.ports.store import Store
from jobs.runtime import scratch
from jobs.state.manifest import Manifest, name_of
from jobs.state.parquet import read_parquet, write_parquet
from jobs.steps.lines import File, files_of, of_fact, parts_for, read_marked
from marts.compute.engine import spill_to
from marts.compute.identity import Identity, in_several_months
from marts.compute.months import code_of, cross_months
from marts.compute.numbers import NO_NUMBERS

_VERSION = 2
"""Version of the files."""


@dataclass(frozen=True)
class Settled:
    """Which lines of some months count, in files of the state."""

    marks: tuple[str, ...]
    crossing: tuple[str, ...]
    """Purchases that span months."""
    digests: Mapping[str, str]
    """Name of the settled result by month: facts of a month with the same result are kept."""
    days: Mapping[date, str]
    """The same by day, of days with lines that were settled."""


@dataclass(frozen=True)
class Settle:
    """A task: the lines of some months with bucket % parts == part."""

    files: tuple[File, ...]
    part: int
    parts: int
    identity: Identity
    as_of: date
    folder: str
    state: StoreAddress

    @property
    def marks(self) -> str:
        return f"{self.folder}/marks-{self.part:02d}.parquet"

    @property
    def crossing(self) -> str:
        return f"{self.folder}/crossing-{self.part:02d}.parquet"

    @property
    def paths(self) -> set[str]:
        return {self.marks, self.crossing}


def plan_settling(
    manifests: Sequence[Manifest],
    lines_per_task: int,
    identity: Identity,
    as_of: date,
    state: StoreAddress,
    months: Collection[str],
) -> list[Settle]:
    """Divide the lines of a fact in some months into tasks by bucket. ``manifests`` are in order of delivery."""
    manifests = of_fact(manifests, identity)
    rows = sum(lines.rows for manifest in manifests for month, lines in manifest.months.items() if month in months)
    parts = parts_for(rows, lines_per_task * 3 // 2)
    files = files_of(manifests, months)
    made_from = [(file.month, file.name) for file in files]
    name = name_of(_VERSION, code_of((), (identity.fact,), NO_NUMBERS), identity.name, as_of, parts, made_from)
    return [Settle(tuple(files), part, parts, identity, as_of, f"settled/{name}", state) for part in range(parts)]


def run_settle(task: Settle) -> int:
    """Decide which lines of a task count, and write the result. Return the number of lines read."""
    store = task.state.open()
    spill_to(str(scratch.folder()))
    read = read_marked(store, task.files, task.part, task.parts, task.identity)
    lines, rows, result = read.lines, read.rows, read.marks.filter(read.marks["mark"].is_valid())
    positions = result["position"].to_numpy()
    starts = np.cumsum([0, *(len(own) for own in rows)])
    of_file = np.searchsorted(starts, positions, side="right") - 1
    table = pa.table(
        {
            "month": pa.array([task.files[number].month for number in of_file], pa.string()),
            "file": pa.array([task.files[number].name for number in of_file], pa.string()),
            "row": pa.array([rows[n][p - starts[n]] for n, p in zip(of_file, positions, strict=True)], pa.int64()),
            "day": lines[task.identity.fact.at].take(pa.array(positions)),
            "mark": result["mark"],
        }
    )
    write_parquet(store, task.marks, table)
    beyond = lines.filter(pa.array(in_several_months(lines, task.identity.fact.at)))
    write_parquet(
        store, task.crossing, cross_months(beyond, result.select(["position", "mark"]), task.as_of, task.identity)
    )
    return int(lines.num_rows)


def read_settled(store: Store, tasks: Sequence[Settle], manifests: Sequence[Manifest]) -> Settled:
    """Return the settled files, and the name of the result of each month."""
    marks, crossing = (tuple(paths) for paths in zip(*((task.marks, task.crossing) for task in tasks), strict=True))
    own = of_fact(manifests, tasks[0].identity)
    by_month: dict[str, list[str]] = {month: [] for manifest in own for month in manifest.months}
    by_day: dict[date, list[str]] = defaultdict(list)
    for path in (*marks, *crossing):
        for row in read_parquet(store, path).to_pylist():
            by_month[row["month"]].append(repr(sorted(row.items())))
            if "day" in row:
                by_day[row["day"]].append(by_month[row["month"]][-1])
    digests = {month: name_of(sorted(result)) for month, result in by_month.items()}
    return Settled(marks, crossing, digests, {day: name_of(sorted(result)) for day, result in by_day.items()})
