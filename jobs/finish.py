"""Step 4, finish: the facts of all months become mart rows, by key ranges, in parallel.

The rows are Parquet under a name that says what they were made from; the target loads them from there.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from jobs.adapters.objects import Store, open_store
from jobs.rollup import RollUp
from jobs.settings import S3
from jobs.state import Manifest, name_of, read_parquet, write_parquet
from marts.calculate import customers_mart, digest, sales_team_mart
from marts.erased import people
from marts.errors import DataError, StateDamaged
from marts.figures import Figures, figures_of, together
from marts.policy import Policy
from marts.schema import CUSTOMERS, CUSTOMERS_MART, MARTS, PRODUCTS, SALES_TEAM, SALES_TEAM_MART, STORES, Kind, Mart

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_THREADS = 16
_BATCH = 1 << 16
DIMENSIONS_OF = {CUSTOMERS_MART.name: (CUSTOMERS,), SALES_TEAM_MART.name: (SALES_TEAM, STORES, PRODUCTS)}
"""The dimensions that each mart looks at."""


@dataclass(frozen=True)
class Finish:
    """One task: the rows of a mart whose first key is from low (included) to high (excluded)."""

    mart: str
    part: int
    low: int
    high: int
    fingerprint: str
    facts: tuple[str, ...]
    dimensions: tuple[tuple[str, tuple[str, ...]], ...]
    """Clean files of each dimension."""
    policy: Policy
    as_of: date
    state: str
    s3: S3

    @property
    def path(self) -> str:
        return f"{mart_folder(self.mart, self.fingerprint)}/part-{self.part:05d}.parquet"

    def files_of(self, kind: Kind) -> tuple[str, ...]:
        return dict(self.dimensions).get(kind.name, ())


@dataclass(frozen=True)
class Finished:
    """The rows that one task made."""

    path: str
    rows: int
    cents: int
    """Sum of total_sales."""
    unknown: tuple[tuple[str, int], ...]
    """Lines without a dimension row, by kind."""
    figures: Figures
    erased_cents: int = 0
    """Sum of what is left out, since its people were erased."""


@dataclass(frozen=True)
class MartRows:
    """All rows of a mart, in order of their key."""

    mart: str
    fingerprint: str
    parts: tuple[Finished, ...]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def cents(self) -> int:
        return sum(part.cents for part in self.parts)

    @property
    def erased_cents(self) -> int:
        return sum(part.erased_cents for part in self.parts)

    @property
    def figures(self) -> Figures:
        return together(part.figures for part in self.parts)

    @property
    def unknown(self) -> dict[str, int]:
        kinds = dict(self.parts[0].unknown) if self.parts else {}
        return {kind: sum(dict(part.unknown)[kind] for part in self.parts) for kind in kinds}


_SAVED = TypeAdapter(MartRows)


def mart_folder(mart: str, fingerprint: str) -> str:
    return f"marts/{mart}/{fingerprint}"


def fingerprint(
    mart: Mart, rollups: Sequence[RollUp], dimensions: Iterable[Manifest], policy: Policy, as_of: date
) -> str:
    """Name the rows of a mart by everything that they are made from."""
    code = digest(mart.name, "money")
    used = {kind.name for kind in DIMENSIONS_OF[mart.name]}
    scans = sorted(
        (m.delivery.kind, m.scan, [file.path for file in m.files]) for m in dimensions if m.delivery.kind in used
    )
    return name_of(code, [rollup.name for rollup in rollups], scans, policy.digest(), as_of)


def plan_finish(
    store: Store,
    mart: Mart,
    name: str,
    rollups: Sequence[RollUp],
    dimensions: Sequence[Manifest],
    policy: Policy,
    as_of: date,
    rows_per_task: int,
    s3: S3,
) -> list[Finish]:
    """Share out a mart's rows: the customers by ranges of about equal size, the (small) sales team as one."""
    facts = tuple(rollup.path(mart.name) for rollup in rollups)
    borders = _borders(store, facts, rows_per_task) if mart is CUSTOMERS_MART else []
    edges = [_LOWEST, *borders, _HIGHEST]
    files = tuple((m.delivery.kind, tuple(file.path for file in m.files)) for m in dimensions)
    return [
        Finish(mart.name, part, low, high, name, facts, files, policy, as_of, store.uri, s3)
        for part, (low, high) in enumerate(pairwise(edges))
    ]


def _borders(store: Store, facts: Sequence[str], rows_per_task: int) -> list[int]:
    """Choose borders between customers, from the statistics of the facts' row groups."""
    with ThreadPoolExecutor(_THREADS) as pool:
        groups = [group for found in pool.map(lambda path: _groups(store, path), facts) for group in found]
    total = sum(rows for _, rows in groups)
    tasks = max(1, round(total / rows_per_task))
    if tasks == 1:
        return []
    highest, rows = (np.array(column) for column in zip(*sorted(groups), strict=True))
    reached = np.cumsum(rows)
    places = np.searchsorted(reached, np.arange(1, tasks) * total / tasks)
    return sorted({int(highest[min(place, len(highest) - 1)]) + 1 for place in places})


def _groups(store: Store, path: str) -> list[tuple[int, float]]:
    """Give the highest customer and the rows of each row group; large groups count as quarters."""
    metadata = store.using(path, lambda file: pq.ParquetFile(file).metadata)
    column = metadata.schema.names.index("customer_id")
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if not group.num_rows:
            continue
        low, high = group.column(column).statistics.min, group.column(column).statistics.max
        found += [(low + (high - low) * quarter // 4, group.num_rows / 4) for quarter in range(1, 5)]
    return found


def run_finish(task: Finish) -> Finished:
    """Compute the mart rows of one key range, and write them."""
    store = open_store(task.state, task.s3)
    if task.mart == CUSTOMERS_MART.name:
        everybody = _in_range(store, task.facts, "customer_id", task)
        facts = people(everybody)
        known = _in_range(store, task.files_of(CUSTOMERS), "customer_id", task)
        names = _people(_unique(known, CUSTOMERS), CUSTOMERS, ("address", "phone_number"))
        rows, unknown = customers_mart(facts, names, task.policy, task.as_of)
        erased = _cents(everybody) - _cents(facts)
        missing: tuple[tuple[str, int], ...] = ((CUSTOMERS.name, unknown),)
        newest = pc.max(everybody["last_bought"]).as_py() if everybody else None
    else:
        facts = pa.concat_tables([read_parquet(store, path) for path in task.facts])
        erased, newest = 0, None
        team = _people(_unique(_read(store, task, SALES_TEAM), SALES_TEAM), SALES_TEAM)
        stores = _unique(_read(store, task, STORES), STORES)
        stores = pa.table({"id": pa.nulls(0, pa.int64())}) if stores is None else stores
        rows, person, store_lines = sales_team_mart(facts, team, stores, task.policy)
        missing = ((SALES_TEAM.name, person), (STORES.name, store_lines))
        _unique(_read(store, task, PRODUCTS), PRODUCTS)
    write_parquet(store, task.path, rows)
    total = pc.sum(rows["total_sales"]).as_py() or 0
    figures = figures_of(MARTS[task.mart], rows, newest)
    return Finished(task.path, rows.num_rows, int(total * 100), missing, figures, erased)


def _cents(facts: pa.Table) -> int:
    return int(pc.sum(facts["total_cents"]).as_py() or 0)


def _in_range(store: Store, paths: Sequence[str], key: str, task: Finish) -> pa.Table | None:
    """Read the rows of a key range, skipping row groups that hold none."""

    def read(file: pa.NativeFile) -> pa.Table:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        column = parquet.schema_arrow.get_field_index(key)
        groups = [n for n in range(parquet.num_row_groups) if _overlaps(parquet, n, column, task)]
        batches = []
        for batch in parquet.iter_batches(_BATCH, row_groups=groups, use_threads=False) if groups else ():
            keys = batch.column(column)
            inside = pc.and_(pc.greater_equal(keys, task.low), pc.less(keys, task.high))
            batches.append(batch.filter(inside))
        return pa.Table.from_batches(batches, parquet.schema_arrow)

    tables = [store.using(path, read) for path in paths]
    return pa.concat_tables(tables) if tables else None


def _overlaps(parquet: pq.ParquetFile, group: int, column: int, task: Finish) -> bool:
    statistics = parquet.metadata.row_group(group).column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min < task.high and statistics.max >= task.low)


def _read(store: Store, task: Finish, kind: Kind) -> pa.Table | None:
    tables = [read_parquet(store, path) for path in task.files_of(kind)]
    return pa.concat_tables(tables) if tables else None


def _people(rows: pa.Table | None, kind: Kind, also: Sequence[str] = ()) -> pa.Table:
    """Give key and full_name of a dimension of people, and further columns."""
    key = kind.key or ""
    if rows is None:
        return pa.table({key: pa.nulls(0, pa.int64()), **{n: pa.nulls(0, pa.string()) for n in ("full_name", *also)}})
    names = pc.binary_join_element_wise(rows["first_name"], rows["last_name"], " ")
    return pa.table({key: rows[key], "full_name": names, **{name: rows[name] for name in also}})


def _unique(rows: pa.Table | None, kind: Kind) -> pa.Table | None:
    """Give the rows. Raises DataError if a key is there twice: nobody can tell which row is right."""
    key = kind.key or ""
    if rows is None:
        return None
    counts = rows[key].combine_chunks().value_counts()
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        ids = sorted(twice.field("values").to_pylist())
        shown = ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
        hint = f"deliver {kind.name}/ again with each {key} once; the live marts are untouched"
        raise DataError(f"{key} is there more than once: {shown}", kind.name, hint)
    return rows


def save_rows(store: Store, rows: MartRows) -> None:
    """Remember that all parts of a mart are there."""
    store.put(f"{mart_folder(rows.mart, rows.fingerprint)}/done.json", _SAVED.dump_json(rows, context={"names": True}))


def saved_rows(store: Store, mart: str, name: str, there: set[str]) -> MartRows | None:
    """Give the rows of a mart that an earlier run made and wrote completely; nothing if an older version did."""
    key = f"{mart_folder(mart, name)}/done.json"
    if key not in there:
        return None
    try:
        rows = _SAVED.validate_json(store.get(key))
    except ValidationError as error:
        if {detail["type"] for detail in error.errors()} == {"missing"}:
            return None
        raise StateDamaged(f"is damaged: {error}", key, "the next build makes it again") from error
    return rows if all(part.path in there for part in rows.parts) else None
