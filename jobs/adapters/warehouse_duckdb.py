"""The embedded target: one DuckDB file, for a laptop and for trying things out.

Each generation is a table of its own; the public name is a view of the live one. DuckDB lets one process
at a time open the file for writing, which is the lock.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from jobs.ledger import DropRecord, QualityRecord, RunRecord, SqlLedger, Staged
from jobs.settings import duckdb_path
from marts.errors import Defect, ServiceError, TryLater, UsageError
from marts.schema import Mart, MartColumn

_BATCH = 500_000
_KEPT = 2
"""Generations of a mart that are kept: the live one and the one before."""


class DuckDBWarehouse(SqlLedger):
    """A target in one DuckDB file."""

    loaders = 0
    judged_by_sql = False

    def __init__(self, uri: str, read_only: bool = False) -> None:
        self.path = Path(duckdb_path(uri))
        self._read_only = read_only
        self._database: duckdb.DuckDBPyConnection | None = None
        if not read_only or self.path.exists():
            self._database = self._open()

    def _open(self) -> duckdb.DuckDBPyConnection:
        self._refuse_other_files()
        config: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
        try:
            if not self._read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            return duckdb.connect(str(self.path), read_only=self._read_only, config={**config, "memory_limit": "1GB"})
        except duckdb.Error as error:
            if isinstance(error, duckdb.IOException) and "lock" in str(error).lower():
                hint = "wait until the other process has closed the file, then run again"
                raise TryLater("another process has the file open", str(self.path), hint) from error
            raise ServiceError(f"cannot be opened: {error}", str(self.path)) from error
        except OSError as error:
            raise ServiceError(f"cannot be made: {error.strerror}", str(self.path)) from error

    def _refuse_other_files(self) -> None:
        """DuckDB would open some files (JSON, CSV) as a database in memory, and all would be lost at the end."""
        hint = "name a new file, or one of an earlier build"
        if self.path.is_dir():
            raise UsageError("is a folder", str(self.path), hint)
        if self.path.is_file() and self.path.stat().st_size:
            with self.path.open("rb") as file:
                if file.read(12)[8:] != b"DUCK":
                    raise UsageError("is no DuckDB file", str(self.path), hint)

    def close(self) -> None:
        if self._database:
            self._database.close()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        assert self._database
        try:
            rows: list[tuple[Any, ...]] = self._database.execute(statement, list(values)).fetchall()
        except duckdb.IOException as error:
            hint = "the live marts are untouched; free some space, then run again"
            raise ServiceError(f"DuckDB cannot write: {error}", str(self.path), hint) from error
        return rows

    def has_table(self, table: str) -> bool:
        if not self._database:
            return False
        return bool(self.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [table]))

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def prepare(self) -> None:
        with self.transaction():
            self.create_ledger()
            self.execute("CREATE SEQUENCE IF NOT EXISTS marts_generation")

    @contextmanager
    def staged(self, mart: Mart, generation: int) -> Iterator[str]:
        yield _table(mart, generation)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        try:
            return self.execute(query)
        except duckdb.Error as error:
            raise UsageError(
                f"the query fails: {str(error).splitlines()[0]}", query, "correct it in its suite"
            ) from error

    def batches(self, table: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        assert self._database
        with self._database.cursor() as cursor:
            for batch in cursor.sql(f"SELECT {', '.join(columns)} FROM {table}").to_arrow_reader(_BATCH):
                yield pa.Table.from_batches([batch])

    def connect(self) -> Any:
        raise Defect("one process has one connection to DuckDB")

    def stage(self, mart: Mart) -> int:
        self._drop_generations(mart, _KEPT)
        ((number,),) = self.execute("SELECT nextval('marts_generation')")
        columns = ", ".join(f"{c.name} {_type(c)}{'' if c.nullable else ' NOT NULL'}" for c in mart.columns)
        self.execute(f"CREATE TABLE {_table(mart, number)} ({columns})")
        return int(number)

    def load(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        assert self._database
        self._database.register("part", rows)
        self.execute(f"INSERT INTO {_table(mart, generation)} SELECT * FROM part")
        self._database.unregister("part")

    def count(self, mart: Mart, generation: int) -> int:
        key = ", ".join(mart.key)
        table = _table(mart, generation)
        twice = self.execute(f"SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1 LIMIT 1")
        if twice:
            raise Defect(f"{mart.table} holds the key {twice[0]} twice")
        ((rows,),) = self.execute(f"SELECT count(*) FROM {table}")
        return int(rows)

    def publish(
        self,
        staged: Sequence[Staged],
        drops: Iterable[DropRecord],
        run: RunRecord,
        quality: Sequence[QualityRecord] = (),
    ) -> None:
        with self.transaction():
            self.write_live(staged, run)
            for item in staged:
                self._point_view(item.mart, item.generation)
            self.write_ledger(drops, run, quality)
        for item in staged:
            self._drop_generations(item.mart, _KEPT)

    def _point_view(self, mart: Mart, generation: int) -> None:
        columns = ", ".join(f"r.{column.name}" for column in mart.columns)
        self.execute(
            f"CREATE OR REPLACE VIEW {mart.table} AS SELECT {columns}, l.run_id, l.as_of_date "
            f"FROM {_table(mart, generation)} r, marts_live l WHERE l.mart = '{mart.name}'"
        )

    def _drop_generations(self, mart: Mart, keep: int) -> None:
        """Drop the tables of old generations, and of runs that never published."""
        kept = self.execute(
            "SELECT generation FROM marts_generations WHERE mart = ? ORDER BY generation DESC LIMIT ?",
            [mart.name, keep],
        )
        names = {_table(mart, number) for (number,) in kept}
        there = self.execute(
            "SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, ?)", [_table(mart, "")]
        )
        for (name,) in there:
            if name not in names:
                self.execute(f"DROP TABLE {name}")

    def diagnose(self) -> list[tuple[str, bool, str]]:
        seen = f"{self.path}" if self.path.exists() else f"{self.path} (made by the first build)"
        return [("DuckDB", True, f"{duckdb.__version__}, {seen}")]


def _table(mart: Mart, generation: int | str) -> str:
    return f"{mart.table}_g{generation}"


def _type(column: MartColumn) -> str:
    match column.type:
        case "id" | "count":
            return "BIGINT"
        case "text" | "month":
            return "VARCHAR"
        case "money":
            return "DECIMAL(18,2)"
        case "rate":
            return "DECIMAL(14,2)"
        case "flag":
            return "BOOLEAN"
