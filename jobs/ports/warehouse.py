"""Interface of a target: the marts, the ledger, the notices and the audit trail."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, Protocol

import pyarrow as pa

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


class MartStore(Protocol):
    """Rows of the marts: loaded where no reader sees them, published, removed."""

    loaders: int
    """Number of processes that may load at the same time; 0 if only this one may."""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; return its rows."""

    def prepare(self) -> None:
        """Create the missing tables and views of Martwright."""

    def stage(self, mart: Mart) -> int:
        """Create an empty generation that no reader sees; return its number."""

    def load(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        """Add rows to a staged generation; adding them again does no harm."""

    def count(self, mart: Mart, generation: int) -> tuple[int, Decimal]:
        """Count the different keys of a generation, and add up its control column: 0 if the mart has none."""

    def staged(self, mart: Mart, generation: int) -> AbstractContextManager[str]:
        """Return a table name for SQL to read a generation that no reader sees yet, with the mart's columns."""

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
