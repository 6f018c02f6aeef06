"""Interface of a target: the marts, the ledger, the notices and the audit trail."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from jobs.ports.differences import Comparison
from jobs.ports.ledger import Ledger, NoticeBox, Trust
from jobs.ports.records import (
    NO_NEWS,
    DropRecord,
    Generation,
    NoticeChanges,
    QualityRecord,
    Rollback,
    RunRecord,
    Staged,
)
from marts.pack import Mart

Result = TypeVar("Result")


class MartStore(Protocol):
    """Rows of the marts: loaded where no reader sees them, published, removed."""

    loaders: int
    """Number of processes that may load at the same time; 0 if only this one may."""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; return its rows."""

    def read(self, query: str, schema: pa.Schema) -> pa.Table:
        """Return the rows of a query in the columns of a schema, which are read in batches: millions fit."""

    def snapshot(self, read: Callable[[], Result]) -> Result:
        """Read in one transaction: a publication in the meantime is not seen."""

    def prepare(self) -> None:
        """Create the missing tables and views of Martwright."""

    def stage(self, mart: Mart) -> int:
        """Create an empty generation that no reader sees; return its number."""

    def stage_patch(self, mart: Mart) -> int:
        """Return the number of a new generation that exchanges rows of the live one when it is published."""

    def load(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        """Add rows to a staged generation; adding them again does no harm."""

    def load_patch(self, mart: Mart, generation: int, removed: pa.Table, added: pa.Table) -> None:
        """Add rows that a generation takes out of the live one, and rows that it adds; again does no harm."""

    def count(self, staged: Staged) -> tuple[int, Decimal]:
        """Count the different keys that were loaded, and add up the control column: 0 if the mart has none.

        Of a patch, those of the added rows.
        """

    def fits(self, staged: Staged) -> bool:
        """Return whether the live rows are those that a patch takes out, and none has the key of an added row."""

    def staged(self, staged: Staged, changed: bool = False) -> AbstractContextManager[str]:
        """Return a table name for SQL to read a generation that no reader sees yet, with the mart's columns.

        With ``changed``, of a patch only the rows that equal one of its rows in the first column of the key.
        """

    def visible(self, staged: Staged) -> tuple[int, Decimal, set[str]]:
        """Return what readers see of the rows that were loaded: their number, their control total, their runs."""

    def compare(self, mart: Mart, before: Generation | None, after: Generation | None, limit: int) -> Comparison:
        """Compare two generations of the last two publications by their keys, of which ``after`` is live.

        None is one without rows. At most ``limit`` rows are listed, those with the largest change of money first.
        """

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query of the user. Raise UsageError if it is wrong."""

    def publish(
        self,
        staged: Sequence[Staged],
        drops: Iterable[DropRecord],
        run: RunRecord,
        quality: Sequence[QualityRecord] = (),
        news: NoticeChanges = NO_NEWS,
    ) -> None:
        """Make generations live (none if nothing changed) and write the ledger, notices and the run's end atomically.

        Raise Fenced if the run has lost the right to publish.
        """

    def rollback(self, by: Rollback) -> list[Generation]:
        """Make the publication before the live one live again, and fence off runs that have begun.

        Return the generations that are live then.
        """

    def clean_up(self, run_id: str) -> None:
        """Remove the rows of all generations except those of the last two publications. Block no reader.

        Raise Fenced if the run has lost the right to publish: rows that it would remove may be live now.
        """


class Warehouse(MartStore, Ledger, NoticeBox, Trust, Protocol):
    """A target: it stores the marts, the ledger, the notices and the audit trail."""

    def close(self) -> None: ...

    def diagnose(self) -> list[tuple[str, bool, str]]:
        """Check versions and rights; return (check, passed, observation or hint)."""

    def rights_to_write(self) -> list[str]:
        """Return the rights to change something that its user has: each is tried, without a change."""
