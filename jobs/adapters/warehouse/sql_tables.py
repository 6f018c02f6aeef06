"""Tables of the ledger in a SQL database: create them, read and write records."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields
from datetime import date
from typing import Any, ClassVar, TypeVar

from jobs.ports.audit import AuditEntry
from jobs.ports.records import (
    Decision,
    DropEvent,
    DropRecord,
    Erasure,
    Generation,
    NoticeRecord,
    Pointer,
    Publication,
    QualityRecord,
    RunRecord,
    Seal,
)
from marts.errors import UsageError

_STATEMENT_ROWS, _STATEMENT_LETTERS = 500, 200_000
"""Maximum rows and characters of one statement: servers limit its bytes, and a character has up to four."""

Record = TypeVar("Record")

Result = TypeVar("Result")


class SqlTables:
    """Tables of the ledger in a SQL database: create them, read and write records."""

    mark = "?"
    """Placeholder of a parameter in the driver."""
    upsert = "INSERT OR REPLACE INTO"
    for_update = ""
    """Clause of a SELECT that locks the rows it reads until the end of the transaction."""
    text_types: ClassVar = {"name": "VARCHAR", "text": "VARCHAR", "day": "DATE", "number": "BIGINT"}
    """Types of a short text usable as a key, a long text, a date and a number."""
    table_options = ""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; return its rows."""
        raise NotImplementedError

    def atomically(
        self, work: Callable[[], Result], happened: Callable[[], bool] | None = None, once: bool = False
    ) -> Result:
        """Do work in one transaction, with retries after temporary errors; ``happened`` resolves a lost COMMIT.

        With ``once`` there is no retry.
        """
        raise NotImplementedError

    def columns_of(self, table: str) -> set[str]:
        """Return the column names of a table of the ledger; none if it does not exist.

        An older version may have created it.
        """
        raise NotImplementedError

    def kind_of(self, table: str) -> str:
        """Return the kind of the object with a name in the target: "table", "view", or "" if there is none."""
        raise NotImplementedError

    def move_away(self, kind: str, table: str) -> str:
        """Return the statement that renames a table or view."""
        raise NotImplementedError

    def foreign(self, kind: str, table: str, belongs: str) -> UsageError:
        """Return the error for a table or view that has the name of ``belongs`` but was not created by Martwright."""
        hint = f"it is unchanged; rename it: {self.move_away(kind, table)}; then run again"
        what = f"the {kind} {table} was not created by Martwright, but has the name of {belongs}"
        return UsageError(what, "target", hint)

    def create_ledger(self) -> None:
        """Create the ledger's tables, and columns missing from an older version."""
        existing = {table: self.columns_of(table) for table in TABLES}
        for table, (columns, key) in TABLES.items():
            types = {name: self.text_types[kind] for name, kind in columns.items()}
            present = existing[table]
            if present and not set(key.split(", ")) <= present:
                raise self.foreign(self.kind_of(table), table, "a table of the ledger")
            if not present:
                built = ", ".join(f"{name} {kind} NOT NULL" for name, kind in types.items())
                self.execute(f"CREATE TABLE IF NOT EXISTS {table} ({built}, PRIMARY KEY ({key})) {self.table_options}")
            for name in types if present else ():
                if name not in present:
                    default = "0" if columns[name] == "number" else "('')"
                    self.execute(f"ALTER TABLE {table} ADD COLUMN {name} {types[name]} DEFAULT {default}")

    def select(self, record: type[Record], table: str, rest: str, values: Sequence[Any] = ()) -> list[Record]:
        """Read records; columns missing from an older version have their defaults."""
        present = self.columns_of(table)
        wanted = fields(record)  # type: ignore[arg-type]
        if not present:
            return []
        names = [field.name for field in wanted if field.name in present]
        if any(field.default is MISSING and field.name not in present for field in wanted):
            raise UsageError(f"{table} is of another version", "target", "run marts build once, or update Martwright")
        rows = self.execute(f"SELECT {', '.join(names)} FROM {table} {rest}", values)
        return [record(**dict(zip(names, map(_plain, row), strict=True))) for row in rows]

    def write(self, table: str, records: Sequence[Any]) -> None:
        for part in _parts(records):
            names = list(vars(part[0]))
            row = f"({', '.join([self.mark] * len(names))})"
            values = [value for record in part for value in vars(record).values()]
            rows = ", ".join([row] * len(part))
            self.execute(f"{self.upsert} {table} ({', '.join(names)}) VALUES {rows}", values)


def _parts(records: Sequence[Any]) -> Iterator[list[Any]]:
    """Split records into parts for one statement each; a single record may exceed the limit."""
    part: list[Any] = []
    letters = 0
    for record in records:
        more = sum(len(str(value)) for value in vars(record).values())
        if part and (len(part) == _STATEMENT_ROWS or letters + more > _STATEMENT_LETTERS):
            yield part
            part, letters = [], 0
        part.append(record)
        letters += more
    if part:
        yield part


_COLUMNS = {"str": "name", "int": "number"}

_LONG = {
    "object_key",
    "first_key",
    "etag",
    "reason",
    "delivered_rows",
    "error",
    "report",
    "rule",
    "who",
    "why",
    "detail",
    "subject",
    "notice",
}


def _of(record: type[Any], key: str) -> tuple[dict[str, str], str]:
    """Return the columns of a table that holds records, and its key."""
    types = {field.name: str(getattr(field.type, "__name__", field.type)) for field in fields(record)}
    return {name: "text" if name in _LONG else _COLUMNS[kind] for name, kind in types.items()}, key


TABLES: dict[str, tuple[dict[str, str], str]] = {
    "marts_drops": _of(DropRecord, "delivery_id"),
    "marts_history": _of(DropEvent, "delivery_id, run_id"),
    "marts_runs": _of(RunRecord, "run_id"),
    "marts_quality": _of(QualityRecord, "delivery_id, rule_id"),
    "marts_decisions": _of(Decision, "decision_id"),
    "marts_generations": _of(Generation, "generation"),
    "marts_publications": _of(Publication, "number, mart"),
    "marts_live": ({**_of(Pointer, "mart")[0], "as_of_date": "day"}, "mart"),
    "marts_seals": _of(Seal, "file_id"),
    "marts_audit": _of(AuditEntry, "number"),
    "marts_notices": _of(NoticeRecord, "notice_id"),
    "marts_erased": _of(Erasure, "number"),
    "marts_views": ({"name": "name", "digest": "name"}, "name"),
    "marts_epoch": ({"name": "name", "number": "number", "run_id": "name"}, "name"),
}
"""The ledger: the columns of each table, each with the kind of its type, and its key."""


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
