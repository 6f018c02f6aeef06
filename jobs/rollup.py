"""Step 3, roll up: one task per month (and part of its buckets) turns clean lines into the month's facts.

Facts are named by what they were made from. A month whose drops did not change is not touched.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs import scratch
from jobs.adapters.objects import Store, open_store
from jobs.settings import S3
from jobs.state import BUCKETS, Manifest, name_of, write_parquet
from marts.calculate import digest, roll_up, spill_to
from marts.checks import clean_schema
from marts.schema import SALES

COLUMNS = [
    "transaction_id",
    "line_no",
    "customer_id",
    "store_id",
    "sales_person_id",
    "sales_date",
    "quantity",
    "total_cents",
]
ALSO_COMPARED = ["price_cents", "product_name", "payment_mode", "currency", "sales_time", "additional_columns"]
"""Only to tell lines without a number from each other."""
_LINES = pa.schema([(name, clean_schema(SALES).field(name).type) for name in (*COLUMNS, *ALSO_COMPARED)])
_GROUP_ROWS = 6_000
"""Facts per row group: what a finishing task skips or reads."""


@dataclass(frozen=True)
class Share:
    """The files of one drop in one month."""

    delivery: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class RollUp:
    """One task: a month, or the part of it with bucket % parts == part."""

    month: str
    part: int
    parts: int
    last_day: date
    """Lines after it are left out."""
    shares: tuple[Share, ...]
    """In the order of delivery."""
    name: str

    @property
    def folder(self) -> str:
        return f"facts/month={self.month}/{self.name}"

    @property
    def starts(self) -> date:
        return date.fromisoformat(f"{self.month}-01")

    def path(self, table: str) -> str:
        return f"{self.folder}/{table}.parquet"

    @property
    def paths(self) -> set[str]:
        return {self.path(table) for table in ("customers", "sales_team", "drops")}


@dataclass(frozen=True)
class RollUpWork:
    """A task, and where to read and write."""

    task: RollUp
    state: str
    s3: S3


def plan_rollups(manifests: Sequence[Manifest], as_of: date, lines_per_task: int) -> list[RollUp]:
    """Name the facts that the live drops have, month by month. ``manifests`` are in the order of delivery."""
    by_month: dict[str, list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        for month in manifest.months:
            by_month[month].append(manifest)
    return [
        rollup for month in sorted(by_month) for rollup in _plan_month(month, by_month[month], as_of, lines_per_task)
    ]


def _plan_month(month: str, manifests: Sequence[Manifest], as_of: date, lines_per_task: int) -> Iterable[RollUp]:
    rows = sum(manifest.months[month].rows for manifest in manifests)
    parts = 1
    while parts < BUCKETS and rows > parts * lines_per_task * 3 // 2:
        parts *= 2
    last_day = max(date.fromisoformat(manifest.months[month].last_day) for manifest in manifests)
    # as_of changes a month's facts only if the month has lines after it.
    cut = as_of if last_day > as_of >= date.fromisoformat(f"{month}-01") else last_day
    shares = tuple(
        Share(manifest.delivery.id, tuple(file.path for file in manifest.months[month].files)) for manifest in manifests
    )
    made_from = [(manifest.scan, share.paths) for manifest, share in zip(manifests, shares, strict=True)]
    code = digest("rollup", "money")
    for part in range(parts):
        yield RollUp(month, part, parts, cut, shares, name_of(code, month, cut, part, parts, made_from))


def run_rollup(work: RollUpWork) -> int:
    """Read the clean lines of a task, compute the facts, write them. Gives how many lines they were."""
    task, store = work.task, open_store(work.state, work.s3)
    tables = []
    for number, share in enumerate(task.shares):
        for path in share.paths:
            lines = _read_lines(store, path, task)
            tables.append(lines.append_column("delivery", pa.array(np.full(lines.num_rows, number), pa.int64())))
    lines = pa.concat_tables([*tables, _LINES.empty_table()], promote_options="default")
    lines = lines.append_column("position", pa.array(np.arange(lines.num_rows), pa.int64()))
    spill_to(str(scratch.folder()))
    facts = roll_up(lines, task.last_day)
    month = date.fromisoformat(f"{task.month}-01")
    for mart, table in (("customers", facts.customers), ("sales_team", facts.sales_team)):
        stamped = table.append_column("month", pa.array([month] * table.num_rows, pa.date32()))
        groups = [(a, min(a + _GROUP_ROWS, table.num_rows)) for a in range(0, table.num_rows, _GROUP_ROWS)]
        write_parquet(store, task.path(mart), stamped, groups or None)
    deliveries = pa.array([task.shares[n].delivery for n in facts.drops["delivery"].to_pylist()], pa.string())
    write_parquet(store, task.path("drops"), facts.drops.set_column(0, "delivery", deliveries))
    return int(lines.num_rows)


def _read_lines(store: Store, path: str, task: RollUp) -> pa.Table:
    """Read a file's lines; of a month that is rolled up in parts, only the row groups with our buckets."""

    def read(file: pa.NativeFile) -> pa.Table:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        groups = list(range(parquet.num_row_groups))
        names = COLUMNS if _all_numbered(parquet) else [*COLUMNS, *ALSO_COMPARED]
        if task.parts == 1:
            return parquet.read_row_groups(groups, columns=names, use_threads=False)
        groups = [n for n in groups if _has_bucket(parquet, n, task)]
        lines = parquet.read_row_groups(groups, columns=[*names, "bucket"], use_threads=False)
        mine = lines["bucket"].to_numpy() % task.parts == task.part
        return lines.filter(pa.array(mine)).drop_columns("bucket")

    return store.using(path, read)


def _all_numbered(parquet: pq.ParquetFile) -> bool:
    """Tell whether each line has a number: then nothing else is compared."""
    column = parquet.schema_arrow.get_field_index("line_no")
    found = [parquet.metadata.row_group(n).column(column).statistics for n in range(parquet.num_row_groups)]
    return all(one is not None and one.has_null_count and not one.null_count for one in found)


def _has_bucket(parquet: pq.ParquetFile, group: int, task: RollUp) -> bool:
    column = parquet.schema_arrow.get_field_index("bucket")
    statistics = parquet.metadata.row_group(group).column(column).statistics
    return any(bucket % task.parts == task.part for bucket in range(statistics.min, statistics.max + 1))
