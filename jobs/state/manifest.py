"""Manifests: the results of scanning deliveries."""

import hashlib
import json
from datetime import date
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from jobs.ports.store import ObjectVersion
from marts.dialect import Dialect, LineFormat
from marts.quality.findings import Measured
from marts.quality.rules import Suite
from marts.quality.verdicts import holds

BUCKETS = 16
"""Number of buckets in files of clean lines, by a hash of the shard: a task may read the row groups of one."""
NARROWEST = 4096
"""Number of buckets that the hash gives, so that a month of any size can be rolled up in parts."""


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
        """Return its name, cached: a build reads it about 40 times."""
        return name_of(self.kind, self.key, self.etag, self.size)

    @property
    def version(self) -> ObjectVersion:
        return ObjectVersion(self.key, self.size, self.etag, self.modified)

    @property
    def order(self) -> tuple[str, str]:
        """Return the sort key of objects: modification time, then key by code points."""
        return self.modified, self.key


class LinesFile(_Value):
    """One Parquet file of clean rows."""

    path: str
    rows: int


class MonthLines(_Value):
    """The clean lines of one drop in one month."""

    rows: int
    last_day: str
    days: int = 0
    """The days of the month that have lines, a bit each, that of the first is 2; 0 if an earlier version wrote it."""
    files: tuple[LinesFile, ...]

    @property
    def first_number(self) -> int:
        """Return the number of its first day with lines in the month; 1 if it is not known."""
        return (self.days & -self.days).bit_length() - 1 if self.days else 1


class Reason(_Value):
    """A broken rule: how many rows break it, and an example."""

    rule: str
    rows: int
    example: str
    """A value that breaks it, masked."""
    line: int
    raw: str = ""
    """Line of the example, masked."""


class Manifest(_Value):
    """Result of scanning one delivery."""

    delivery: Delivery
    scan: str
    """Name of the scan: the delivery and the rules that judged it."""
    rules: str
    content: str = ""
    """Hash of the object's bytes."""
    origin: str = ""
    """Name of the origin of its clean rows: content and rules; it is the same if the object is moved."""
    sums: tuple[int, ...] = ()
    """Number of rows and sum of each numeric column of its clean lines: drops with the same rows have equal sums."""
    rows_hash: str = ""
    """Order-independent hash of its rows, if they were compared with those of another drop."""
    all_have_ids: bool = False
    """Whether each of these lines has a transaction_id."""
    rejected: str = ""
    """Why the whole drop cannot be used."""
    limit: int = 0
    """Value of max_inflated_bytes that a rejected drop may have exceeded."""
    rows_read: int = 0
    quarantined: int = 0
    months: dict[str, MonthLines] = {}
    files: tuple[LinesFile, ...] = ()
    """Clean rows of a dimension."""
    foreign: int = 0
    """Rows that are not UTF-8 but may be in another encoding, if no other character of the drop is in UTF-8."""
    quarantine: tuple[str, ...] = ()
    repaired: tuple[int, ...] = ()
    """Lines in those files that were repaired since and are clean rows now."""
    overruled: tuple[int, ...] = ()
    """Repaired lines that are not in quarantine by these rules: they count as delivered."""
    split_lines: tuple[int, ...] = ()
    """Physical lines of each split, to convert line numbers of a split to those of the file."""
    reasons: tuple[Reason, ...] = ()
    measured: Measured = Measured()
    """Measurements of each rule of the suite."""
    bad_days: tuple[date, ...] = ()
    """First and last day of its bad rows; empty if none can be read, or if an earlier version wrote it."""
    extra_columns: tuple[str, ...] = ()
    currencies: tuple[str, ...] = ()
    delimiter: str = ","
    quote: str = '"'
    columns: tuple[str, ...] = ()
    """Names of the fields of its raw rows, without the columns that a block gives."""
    id_prefix: str = ""
    """Text before the numbers of customers' ids in its raw rows."""
    owner: str = ""
    """Id of the customer of all its rows, if the block or the key gives it."""
    from_id: tuple[str, ...] = ()
    """Columns that are computed from the customer's id."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the names of the fields of its raw rows; empty if it was rejected."""
        return self.columns or self.measured.columns

    @property
    def form(self) -> LineFormat:
        """Return how its raw rows are read."""
        return LineFormat(self.fields, Dialect(self.delimiter, self.quote), self.id_prefix, self.owner)

    @property
    def paths(self) -> list[str]:
        """Return all files that the scan wrote."""
        lines = [file.path for month in self.months.values() for file in month.files]
        return [*lines, *(file.path for file in self.files), *self.quarantine]

    @property
    def clean(self) -> int:
        return self.rows_read - self.quarantined

    @property
    def span(self) -> tuple[str, str]:
        """Return the first and the last day of its clean lines; empty if it has none."""
        if not self.months:
            return "", ""
        first, last = min(self.months), max(self.months)
        return f"{first}-{self.months[first].first_number:02}", self.months[last].last_day

    @property
    def whole_span(self) -> tuple[str, str]:
        """Return the first and the last day of all its rows; empty if none can be read."""
        days = [day for day in (*self.span, *(day.isoformat() for day in self.bad_days)) if day]
        return (min(days), max(days)) if days else ("", "")

    @property
    def bad_ratio(self) -> float:
        return self.quarantined / self.rows_read if self.rows_read else 0.0

    def held_because(self, suite: Suite, max_bad_ratio: float, max_bad_rows: int) -> str:
        """Return why nothing of the drop may count: too many bad rows, or a broken critical rule; else "".

        A drop with bad rows only is held, whatever its size; up to ``max_bad_rows`` others cost nothing but themselves.

        Duplicate keys do not hold a drop: repeated lines are dropped, and duplicates in a dimension stop the run.
        """
        few = self.quarantined <= max_bad_rows and self.quarantined < self.rows_read
        if self.bad_ratio > max_bad_ratio and not few:
            shares = f"{self.quarantined:,} of {self.rows_read:,} rows are bad ({self.bad_ratio:.1%})"
            return f"{shares}, more than max_bad_ratio {max_bad_ratio:.1%}"
        rules = (rule for rule in suite.rules if rule.severity == "critical" and rule.level in ("row", "drop"))
        rules = (rule for rule in rules if not (few and rule.costs_rows_only))
        broken = next((rule for rule in rules if not holds(rule, self.measured)), None)
        return f"a critical expectation is broken: {broken.words}" if broken else ""


TABLES = "tables/"
"""Folder of the state for snapshots of dimensions from a database: drops like any other."""


def name_of(*parts: Any) -> str:
    """Return a name derived from parts: 20 hex digits of their hash."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:20]
