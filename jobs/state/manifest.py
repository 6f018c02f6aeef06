"""Manifests: what a scan made of a delivery."""

import hashlib
import json
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from jobs.ports.store import ObjectVersion
from marts.quality.findings import Measured
from marts.quality.rules import Suite
from marts.quality.verdicts import holds

BUCKETS = 16
"""Lines of a month are kept by a hash of the customer, so that a large month can be rolled up in parts."""
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
        """Return why nothing of the drop may count: too many rows are bad, or a critical rule is broken; else "".

        Keys that are there twice hold no drop: repeated lines are dropped, and a dimension that has them stops the run.
        """
        if self.bad_ratio > max_bad_ratio:
            shares = f"{self.quarantined:,} of {self.rows_read:,} rows are bad ({self.bad_ratio:.1%})"
            return f"{shares}, more than max_bad_ratio {max_bad_ratio:.1%}"
        rules = (rule for rule in suite.rules if rule.severity == "critical" and rule.level in ("row", "drop"))
        broken = next((rule for rule in rules if not holds(rule, self.measured)), None)
        return f"a critical expectation is broken: {broken.words}" if broken else ""


TABLES = "tables/"
"""Where the state keeps snapshots of dimensions that come from a database: drops like any other."""


def name_of(*parts: Any) -> str:
    """Return a name for something, by what it is made of."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:20]
