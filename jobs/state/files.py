"""The state: Parquet files and a catalog of what was scanned. A cache of facts, all of it can be made again.

::

    catalog/<hash>.json                                  what each scanned drop holds
    lines/month=YYYY-MM/drop=<scan>/*.parquet            clean lines, by bucket
    dimensions/<kind>/drop=<scan>/*.parquet              clean dimension rows
    quarantine/<kind>/pack=<hash>/*.parquet              bad rows, raw, with reasons, of drops that one task has read
    repairs/<hash>.json                                  drops with rows that were repaired
    docs/                                                data quality pages, unless they are elsewhere
    facts/month=YYYY-MM/<hash>/<mart>.parquet            what a month says, named by what it was made from
    marts/<mart>/<fingerprint>/*.parquet                 mart rows, ready to load

Every file is written whole under a name that says what is in it, so that writing it twice does no harm.
"""

import contextlib
import gc
import hashlib
import json
import re
from collections.abc import Container, Iterable, Iterator
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from jobs.adapters.store import ObjectVersion, Store
from marts.errors import ObjectChanged
from marts.quality.measures import Measured, holds
from marts.quality.rules import Suite

BUCKETS = 16
"""Lines of a month are kept by a hash of the customer, so that a large month can be rolled up in parts."""
_COMPACT_ABOVE = 8
_READ_ATTEMPTS = 3
_CATALOG = re.compile(r"catalog/v2-[0-9]{8}-[0-9a-f]+\.json")
"""Manifests of this version. Those of earlier ones are not read: their drops are scanned again, once."""
_EARLIER_CATALOG = re.compile(r"catalog/[0-9]{8}-[0-9a-f]+\.json")
_DISTINCT = {"transaction_id", "customer_id", "price_millionths", "total_cents", "raw", "#hash", "#row"}
"""Columns whose values seldom repeat: a dictionary would only cost time."""
_PRUNED = {"customer_id", "bucket", "#hash", "line_no"}
"""Columns by which readers choose row groups."""


SUMMED = ("customer_id", "store_id", "sales_person_id", "price_millionths", "quantity_ten_thousandths", "total_cents")
"""Columns of clean lines whose sums a manifest has."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Delivery(_Value):
    """One version of one object: the unit that is scanned once."""

    kind: str
    key: str
    etag: str
    size: int
    modified: str

    @classmethod
    def of(cls, kind: str, version: ObjectVersion) -> "Delivery":
        return cls(kind=kind, key=version.key, etag=version.etag, size=version.size, modified=version.modified)

    @cached_property
    def id(self) -> str:
        """Return its name; a build asks for it some forty times."""
        return name_of(self.kind, self.key, self.etag, self.size)

    @property
    def version(self) -> ObjectVersion:
        return ObjectVersion(self.key, self.size, self.etag, self.modified)

    @property
    def order(self) -> tuple[str, str]:
        """Sort key of objects: the time they came, then the name, by code points."""
        return self.modified, self.key


class LinesFile(_Value):
    """One Parquet file of clean rows."""

    path: str
    rows: int


class MonthLines(_Value):
    """The clean lines of one drop in one month."""

    rows: int
    last_day: str
    files: tuple[LinesFile, ...]


class Reason(_Value):
    """A broken rule: how many rows break it, and an example."""

    rule: str
    rows: int
    example: str
    """A value that breaks it, masked."""
    line: int
    raw: str = ""
    """The line of the example as it stands, masked."""


class Manifest(_Value):
    """What the scan of one delivery found."""

    delivery: Delivery
    scan: str
    """Names the scan: the delivery and the rules it was judged by."""
    rules: str
    content: str = ""
    """Hash of the object's bytes."""
    origin: str = ""
    """Names what its clean rows come from: the content and the rules; it stays if the object is moved."""
    sums: tuple[int, ...] = ()
    """Rows, and the sum of each column of numbers, over its clean lines: drops with the same rows have the same."""
    rows_hash: str = ""
    """Names its clean lines without their order, where they were compared with those of another drop."""
    all_have_ids: bool = False
    """Each of these lines has a transaction_id."""
    rejected: str = ""
    """Why the whole drop cannot be used, if so."""
    limit: int = 0
    """The bound that a rejected drop may have hit."""
    rows_read: int = 0
    quarantined: int = 0
    months: dict[str, MonthLines] = {}
    files: tuple[LinesFile, ...] = ()
    """Clean rows of a dimension."""
    quarantine: tuple[str, ...] = ()
    repaired: tuple[int, ...] = ()
    """Lines in those files that were repaired since, and are clean rows now."""
    overruled: tuple[int, ...] = ()
    """Lines that were repaired, but are not in quarantine by these rules: they count as they came."""
    split_lines: tuple[int, ...] = ()
    """Physical lines of each split: they turn a line of a split into a line of the file."""
    reasons: tuple[Reason, ...] = ()
    measured: Measured = Measured()
    """What was found for each rule of the suite."""
    extra_columns: tuple[str, ...] = ()
    currencies: tuple[str, ...] = ()

    @property
    def paths(self) -> list[str]:
        """All files that the scan wrote."""
        lines = [file.path for month in self.months.values() for file in month.files]
        return [*lines, *(file.path for file in self.files), *self.quarantine]

    @property
    def total_cents(self) -> int:
        """Return the sum of total_cost over its clean lines."""
        total = self.sums[SUMMED.index("total_cents") + 1] if self.sums else 0
        return total - 2**64 if total >= 2**63 else total

    @property
    def clean(self) -> int:
        return self.rows_read - self.quarantined

    @property
    def bad_ratio(self) -> float:
        return self.quarantined / self.rows_read if self.rows_read else 0.0

    def held_because(self, suite: Suite, max_bad_ratio: float) -> str:
        """Say why nothing of the drop may count: too many rows are bad, or a critical rule is broken; else nothing.

        Keys that are there twice hold no drop: repeated lines are dropped, and a dimension that has them stops the run.
        """
        if self.bad_ratio > max_bad_ratio:
            shares = f"{self.quarantined:,} of {self.rows_read:,} rows are bad ({self.bad_ratio:.1%})"
            return f"{shares}, more than max_bad_ratio {max_bad_ratio:.1%}"
        rules = (rule for rule in suite.rules if rule.severity == "critical" and rule.level in ("row", "drop"))
        broken = next((rule for rule in rules if not holds(rule, self.measured)), None)
        return f"a critical expectation is broken: {broken.words}" if broken else ""


_MANIFESTS = TypeAdapter(list[Manifest])


TABLES = "tables/"
"""Where the state keeps snapshots of dimensions that come from a database: drops like any other."""


def name_of(*parts: Any) -> str:
    """Name something by what it is made of."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:20]


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Look for no garbage while very many objects are made and all are kept: to look takes as long as to make them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Catalog:
    """The manifests of all scanned deliveries, kept as a few JSON objects in the state.

    A delivery may have been judged by several sets of rules; each judgement is kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: list[str] = []
        self._of_earlier_versions: list[str] = []
        self._manifests: dict[str, dict[str, Manifest]] = {}
        for attempt in range(1, _READ_ATTEMPTS + 1):
            try:
                self._read()
            except ObjectChanged:  # another build has compacted the catalog meanwhile
                if attempt == _READ_ATTEMPTS:
                    raise
            else:
                break

    def _read(self) -> None:
        self._manifests.clear()
        listed = [version.key for version in self._store.versions("catalog")]
        self._keys = [key for key in listed if _CATALOG.fullmatch(key)]
        self._of_earlier_versions = [key for key in listed if _EARLIER_CATALOG.fullmatch(key)]
        for key in self._keys:
            data = self._store.get(key)
            try:
                with _no_garbage():
                    manifests = _MANIFESTS.validate_json(data)
            except ValidationError:  # damaged, or of another version: its drops are scanned again
                continue
            for manifest in manifests:
                self.remember_now(manifest)

    def get(self, delivery: str, rules: str = "") -> Manifest | None:
        """Give what a scan by these rules found, or else what the last scan by any others did."""
        by_rules = self._manifests.get(delivery, {})
        return by_rules.get(rules) or next(reversed(by_rules.values()), None)

    def judgements(self, delivery: str) -> list[Manifest]:
        """Give what scans by any rules found."""
        return list(self._manifests.get(delivery, {}).values())

    def everything(self) -> list[Manifest]:
        """Give what all scans by any rules found."""
        return [manifest for by_rules in self._manifests.values() for manifest in by_rules.values()]

    def forget_all(self, but: Container[str] = ()) -> None:
        """Forget all deliveries but some: those drops are scanned again."""
        self._manifests = {delivery: found for delivery, found in self._manifests.items() if delivery in but}

    def forget_incomplete(self, there: Container[str]) -> None:
        """Forget manifests whose files are gone: their drops are scanned again."""
        for by_rules in self._manifests.values():
            for rules, manifest in list(by_rules.items()):
                if not all(path in there for path in manifest.paths):
                    del by_rules[rules]

    def remember_now(self, manifest: Manifest) -> None:
        """Remember a scan for this run only."""
        by_rules = self._manifests.setdefault(manifest.delivery.id, {})
        by_rules.pop(manifest.rules, None)
        by_rules[manifest.rules] = manifest

    def add(self, manifests: Iterable[Manifest]) -> None:
        """Record scans that are complete, so that no later run repeats them."""
        added = list(manifests)
        if not added:
            return
        for manifest in added:
            self.remember_now(manifest)
        self._keys.append(self._write(added))
        if len(self._keys) > _COMPACT_ABOVE:
            self._compact()

    def keep(self, manifests: Iterable[Manifest]) -> None:
        """Forget all others, for good."""
        self._manifests.clear()
        for manifest in manifests:
            if not manifest.repaired and not manifest.overruled:  # those are made from decisions, not scanned
                self.remember_now(manifest)
        self._compact()
        for key in self._of_earlier_versions:
            self._store.delete(key)

    def _compact(self) -> None:
        """Write everything as one object, and remove the others."""
        whole = self._write(self.everything())
        for key in self._keys:
            if key != whole:
                self._store.delete(key)
        self._keys = [whole]

    def _write(self, manifests: list[Manifest]) -> str:
        data = _MANIFESTS.dump_json(manifests, exclude_defaults=True)
        # Later objects win when they are read in order of their names.
        number = int(self._keys[-1].split("-")[1]) + 1 if self._keys else 1
        key = f"catalog/v2-{number:08d}-{hashlib.sha256(data).hexdigest()[:12]}.json"
        self._store.put(key, data)
        return key


def read_quarantine(store: Store, manifest: "Manifest", path: str, columns: list[str] | None = None) -> pa.Table:
    """Read the rows of a drop in one of its files of bad rows: drops that were read together share a file."""
    rows = read_parquet(store, path, columns)
    return rows.filter(pc.equal(rows["drop"], manifest.delivery.key))


def write_parquet(store: Store, key: str, table: pa.Table, groups: Iterable[tuple[int, int]] | None = None) -> None:
    """Write a table as one Parquet object, one row group per (start, stop) if given."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        use_dictionary=[name for name in table.schema.names if name not in _DISTINCT],
        write_statistics=[name for name in table.schema.names if name in _PRUNED],
        store_decimal_as_integer=True,
        write_page_checksum=True,
    ) as writer:
        for start, stop in groups or [(0, table.num_rows)]:
            writer.write_table(table.slice(start, stop - start), row_group_size=max(stop - start, 1))
    store.put(key, sink.getvalue())


def read_parquet(store: Store, key: str, columns: list[str] | None = None) -> pa.Table:
    """Read some columns of a Parquet object."""
    return store.using(
        key, lambda file: pq.read_table(file, columns=columns, use_threads=False, page_checksum_verification=True)
    )
