"""The ledger: what the target database remembers of drops, runs and live marts. And what a target must do."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import date
from typing import Any, ClassVar, Protocol, TypeVar

import pyarrow as pa

from marts.schema import Mart

Record = TypeVar("Record")


@dataclass(frozen=True)
class DropRecord:
    """One version of one drop, and what became of it."""

    kind: str
    object_key: str
    delivery_id: str
    etag: str
    size: int
    modified: str
    state: str
    reason: str
    rows_read: int
    clean: int
    quarantined: int
    duplicates: int
    run_id: str
    """The run that last changed this record."""


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    run_id: str
    started_at: str
    ended_at: str
    as_of_date: str
    outcome: str
    exit_code: int
    error: str
    report: str
    """The whole RunReport as JSON."""


@dataclass(frozen=True)
class QualityRecord:
    """How many rows of a delivery break a rule, of those that it looks at.

    Written for ROWS, and for each rule that some rows break, or that does not look at some of them.
    """

    delivery_id: str
    rule_id: str
    kind: str
    object_key: str
    modified: str
    rule: str
    """In words."""
    severity: str
    row_count: int
    unexpected: int
    judged_by: str
    """Names the rules that the delivery was judged by: shares are compared under the same rules only."""
    run_id: str


ROWS = "rows"
"""The rule_id of the record that each judged delivery has: its rows, and those that are in quarantine."""


@dataclass(frozen=True)
class Decision:
    """What somebody decided about a delivery: the audit trail."""

    decision_id: str
    decided_at: str
    who: str
    action: str
    """accept: release it although it is held; repair: replace rows that are in quarantine."""
    kind: str
    object_key: str
    delivery_id: str
    why: str
    detail: str
    """For a repair, JSON: the new text of each line, by its number in the file."""


@dataclass(frozen=True)
class Generation:
    """One version of a mart's rows; readers see the live one."""

    mart: str
    generation: int
    run_id: str
    as_of_date: str
    fingerprint: str
    """Names what the rows were made from."""
    row_count: int
    published_at: str


@dataclass(frozen=True)
class Staged:
    """A generation that is loaded and checked, but seen by no reader yet."""

    mart: Mart
    generation: int
    fingerprint: str
    rows: int


class Warehouse(Protocol):
    """A target: it holds the marts and the ledger."""

    loaders: int
    """How many processes may load at the same time; 0 if only this one may."""
    judged_by_sql: bool
    """Great Expectations speaks its SQL; if not, rows are measured as those of drops are."""

    def close(self) -> None: ...

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; give its rows."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold the right to publish. Raises TryLater if another build has it."""

    def prepare(self) -> None:
        """Create our tables and views where they are missing."""

    def drops(self) -> list[DropRecord]:
        """Give the records of all drops; nothing if the target is new."""

    def runs(self, limit: int) -> list[RunRecord]:
        """Give the last runs, newest first."""

    def live(self) -> dict[str, Generation]:
        """Give what readers see, by mart."""

    def quality(self, limit: int) -> list[QualityRecord]:
        """Give what was measured of the last deliveries, newest first; at most ``limit`` records."""

    def decisions(self) -> list[Decision]:
        """Give all decisions, oldest first."""

    def decide(self, decision: Decision) -> None:
        """Remember a decision; the next build follows it."""

    def staged(self, mart: Mart, generation: int) -> AbstractContextManager[str]:
        """Give a name by which SQL can read a generation that no reader sees yet, with the mart's columns."""

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query of the user's. Raises UsageError if it is wrong."""

    def batches(self, table: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read some columns of a table by parts."""

    def connect(self) -> Any:
        """Open another connection, for a library that speaks SQL to the target."""

    def stage(self, mart: Mart) -> int:
        """Make an empty generation that no reader sees; give its number."""

    def load(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        """Add rows to a staged generation."""

    def count(self, mart: Mart, generation: int) -> int:
        """Count the rows of a generation, and check that its keys are unique."""

    def publish(
        self,
        staged: Sequence[Staged],
        drops: Iterable[DropRecord],
        run: RunRecord,
        quality: Sequence[QualityRecord] = (),
    ) -> None:
        """Make generations live (none, if nothing changed), and write the ledger and the end of the run, or nothing."""

    def diagnose(self) -> list[tuple[str, bool, str]]:
        """Check versions and rights: (what, fine, what was seen or is to do)."""


class SqlLedger:
    """The ledger's tables and statements, shared by the targets that speak SQL."""

    mark = "?"
    """How the driver writes a parameter."""
    upsert = "INSERT OR REPLACE INTO"
    text_types: ClassVar = {"name": "VARCHAR", "text": "VARCHAR"}
    """The types of a short text that can be a key, and of a long one."""
    table_options = ""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; give its rows."""
        raise NotImplementedError

    def has_table(self, table: str) -> bool:
        """Tell whether a table of the ledger is there: an older version may not have made it."""
        raise NotImplementedError

    def drops(self) -> list[DropRecord]:
        return self._select(DropRecord, "marts_drops", "ORDER BY kind, object_key, modified, delivery_id")

    def runs(self, limit: int) -> list[RunRecord]:
        return self._select(RunRecord, "marts_runs", f"ORDER BY started_at DESC, run_id DESC LIMIT {limit:d}")

    def live(self) -> dict[str, Generation]:
        where = "WHERE generation IN (SELECT generation FROM marts_live) ORDER BY mart"
        return {live.mart: live for live in self._select(Generation, "marts_generations", where)}

    def quality(self, limit: int) -> list[QualityRecord]:
        rest = f"ORDER BY modified DESC, object_key, delivery_id, rule_id LIMIT {limit:d}"
        return self._select(QualityRecord, "marts_quality", rest)

    def decisions(self) -> list[Decision]:
        return self._select(Decision, "marts_decisions", "ORDER BY decided_at, decision_id")

    def decide(self, decision: Decision) -> None:
        self.create_ledger()
        self._upsert("marts_decisions", [decision])

    def _select(self, record: type[Record], table: str, rest: str) -> list[Record]:
        if not self.has_table(table):
            return []
        columns = ", ".join(field.name for field in fields(record))  # type: ignore[arg-type]
        rows = self.execute(f"SELECT {columns} FROM {table} {rest}")
        return [record(*(_plain(value) for value in row)) for row in rows]

    def create_ledger(self) -> None:
        """Create the ledger's tables where they are missing."""
        for table, columns in _TABLES.items():
            self.execute(
                f"CREATE TABLE IF NOT EXISTS {table} ({columns.format(**self.text_types)}) {self.table_options}"
            )

    def write_ledger(self, drops: Iterable[DropRecord], run: RunRecord, quality: Sequence[QualityRecord]) -> None:
        """Write the records of a run, inside the transaction of the caller."""
        self._upsert("marts_drops", list(drops))
        judged = sorted({record.delivery_id for record in quality})
        for start in range(0, len(judged), 500):
            part = judged[start : start + 500]
            self.execute(f"DELETE FROM marts_quality WHERE delivery_id IN ({', '.join([self.mark] * len(part))})", part)
        self._upsert("marts_quality", quality)
        self._upsert("marts_runs", [run])

    def write_live(self, staged: Sequence[Staged], run: RunRecord) -> None:
        """Point readers at the staged generations, inside the transaction of the caller."""
        for item in staged:
            name, number = item.mart.name, item.generation
            made = Generation(name, number, run.run_id, run.as_of_date, item.fingerprint, item.rows, run.ended_at)
            self._upsert("marts_generations", [made])
            marks = ", ".join([self.mark] * 4)
            pointer = (name, number, run.run_id, run.as_of_date)
            self.execute(f"{self.upsert} marts_live (mart, generation, run_id, as_of_date) VALUES ({marks})", pointer)

    def _upsert(self, table: str, records: Sequence[Any], batch: int = 500) -> None:
        for start in range(0, len(records), batch):
            part = records[start : start + batch]
            names = [field.name for field in fields(part[0])]
            row = f"({', '.join([self.mark] * len(names))})"
            values = [value for record in part for value in astuple(record)]
            rows = ", ".join([row] * len(part))
            self.execute(f"{self.upsert} {table} ({', '.join(names)}) VALUES {rows}", values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end, roll back at any error."""
        self.execute("START TRANSACTION")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")


_TABLES = {
    "marts_drops": (
        "kind {name} NOT NULL, object_key {text} NOT NULL, delivery_id {name} NOT NULL PRIMARY KEY, "
        "etag {text} NOT NULL, size BIGINT NOT NULL, modified {name} NOT NULL, state {name} NOT NULL, "
        "reason {text} NOT NULL, rows_read BIGINT NOT NULL, clean BIGINT NOT NULL, quarantined BIGINT NOT NULL, "
        "duplicates BIGINT NOT NULL, run_id {name} NOT NULL"
    ),
    "marts_runs": (
        "run_id {name} NOT NULL PRIMARY KEY, started_at {name} NOT NULL, ended_at {name} NOT NULL, "
        "as_of_date {name} NOT NULL, outcome {name} NOT NULL, exit_code INTEGER NOT NULL, error {text} NOT NULL, "
        "report {text} NOT NULL"
    ),
    "marts_quality": (
        "delivery_id {name} NOT NULL, rule_id {name} NOT NULL, kind {name} NOT NULL, object_key {text} NOT NULL, "
        "modified {name} NOT NULL, rule {text} NOT NULL, severity {name} NOT NULL, row_count BIGINT NOT NULL, "
        "unexpected BIGINT NOT NULL, judged_by {name} NOT NULL, run_id {name} NOT NULL, "
        "PRIMARY KEY (delivery_id, rule_id)"
    ),
    "marts_decisions": (
        "decision_id {name} NOT NULL PRIMARY KEY, decided_at {name} NOT NULL, who {text} NOT NULL, "
        "action {name} NOT NULL, kind {name} NOT NULL, object_key {text} NOT NULL, delivery_id {name} NOT NULL, "
        "why {text} NOT NULL, detail {text} NOT NULL"
    ),
    "marts_generations": (
        "mart {name} NOT NULL, generation BIGINT NOT NULL PRIMARY KEY, run_id {name} NOT NULL, "
        "as_of_date {name} NOT NULL, fingerprint {name} NOT NULL, row_count BIGINT NOT NULL, "
        "published_at {name} NOT NULL"
    ),
    "marts_live": (
        "mart {name} NOT NULL PRIMARY KEY, generation BIGINT NOT NULL, run_id {name} NOT NULL, as_of_date DATE NOT NULL"
    ),
}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
