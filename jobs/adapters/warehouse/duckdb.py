"""The embedded target: one DuckDB file, for a laptop and for evaluation.

Each generation, and each patch, is a separate table; the public name is a view of the live one. DuckDB lets one
process at a time open the file for writing: that is the lock.
"""

import difflib
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from jobs.adapters.warehouse.sql_ledger import SqlLedger
from jobs.adapters.warehouse.sql_patches import ADDED, REMOVED, patch_of
from jobs.config.settings import duckdb_path
from jobs.ports.records import Generation, Staged
from marts.errors import ServiceError, Stopped, TryLater, UsageError
from marts.pack import DECIMALS, Mart, MartColumn, Pack, PersonId

Result = TypeVar("Result")

_POLL = 0.5
"""Seconds between two attempts to open a file that another process has open."""
_OURS = "schema_name = 'main' AND database_name = current_database()"
"""Condition for tables and views of the target, as opposed to those of attached files and other schemas."""
_DEFINES = re.compile(r"(CREATE|DROP)(?: OR REPLACE)? (TABLE|VIEW) (?:IF (?:NOT )?EXISTS )?(\w+)(?= *(?:\(|AS\b|$))")
"""A statement that creates, replaces or drops one table or view: the verb, the kind, its name."""
_CHANGES_CATALOG = re.compile(r"\s*(CREATE(?!\s+SEQUENCE)|ALTER|DROP|ROLLBACK)\b", re.IGNORECASE)
_HOLDER = re.compile(r"\(PID (\d+)\)")
"""The process that has the file open, in an error of DuckDB."""
_log = logging.getLogger("marts.duckdb")


@dataclass(frozen=True)
class _Catalog:
    """The tables and views of the file, by lower-case name: DuckDB names are not case-sensitive."""

    kinds: dict[str, str]
    """``table`` or ``view``."""
    views: dict[str, str]
    """The statement of each view."""
    columns: dict[str, set[str]]


class DuckDBWarehouse(SqlLedger):
    """A target in one DuckDB file."""

    loaders = 0
    own_tables = "table_schema = 'main' AND table_catalog = current_database()"

    def __init__(self, uri: str, pack: Pack, read_only: bool = False, wait: float = 0, create: bool = True) -> None:
        """Open the file; wait up to ``wait`` seconds for another process that has it open.

        Create a missing file, or treat it as empty if read only. Raises UsageError for it without ``create``.
        """
        self.pack = pack
        self.path = Path(duckdb_path(uri))
        self.where = str(self.path)
        if not create and not self.path.exists():
            raise UsageError("does not exist", str(self.path), _nearest(self.path))
        self._read_only = read_only
        self._database: duckdb.DuckDBPyConnection | None = None
        self._catalog: _Catalog | None = None
        """Cached catalog: a build needs it 50 times, at 15 ms each."""
        self._changed: set[str] = set()
        """Tables and views whose columns or statement have changed since then: these are read again."""
        end = time.monotonic() + wait
        while self._database is None and (not read_only or self.path.exists()):
            try:
                self._database = self._open()
            except TryLater:
                if time.monotonic() >= end:
                    raise
                if end - time.monotonic() > wait - _POLL:
                    _log.warning("%s: another process has the file open; waiting up to %d s", self.path, wait)
                time.sleep(_POLL)

    def _open(self) -> duckdb.DuckDBPyConnection:
        self._refuse_other_files()
        config: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
        try:
            if not self._read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            return duckdb.connect(str(self.path), read_only=self._read_only, config={**config, "memory_limit": "1GB"})
        except duckdb.Error as error:
            if isinstance(error, duckdb.IOException) and "Could not set lock on file" in str(error):
                holder = _HOLDER.search(str(error))
                who = f"process {holder[1]}" if holder else "another process"
                hint = f"run again when {who} has ended; a build keeps the file open until it has published"
                raise TryLater(f"{who} has the file open", str(self.path), hint) from error
            raise ServiceError(f"cannot be opened: {error}", str(self.path)) from error
        except OSError as error:
            raise ServiceError(f"cannot be created: {error.strerror}", str(self.path)) from error

    def _refuse_other_files(self) -> None:
        """Raise UsageError for other files: DuckDB opens some (JSON, CSV) as an in-memory database, without saving."""
        hint = "name a new file, or one of an earlier build"
        if self.path.is_dir():
            raise UsageError("is a folder", str(self.path), hint)
        if self.path.is_file() and self.path.stat().st_size:
            with self.path.open("rb") as file:
                if file.read(12)[8:] != b"DUCK":
                    raise UsageError("is not a DuckDB file", str(self.path), hint)

    def close(self) -> None:
        if self._database:
            self._database.close()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._rows(statement, values)
        except duckdb.Error as error:
            hint = "the live marts are untouched; check the free disk space and the file"
            raise ServiceError(f"DuckDB failed: {error}", str(self.path), hint) from error

    def read(self, query: str, schema: pa.Schema) -> pa.Table:
        if not self._database:
            return schema.empty_table()
        try:
            return self._database.sql(query).to_arrow_table().cast(schema)
        except duckdb.Error as error:
            raise ServiceError(f"DuckDB failed: {error}", str(self.path), "check the file: marts doctor") from error

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        assert self._database
        defines = _DEFINES.match(statement)
        if not defines and _CHANGES_CATALOG.match(statement):
            self._catalog = None
        try:
            rows: list[tuple[Any, ...]] = self._database.execute(statement, list(values)).fetchall()
        except RuntimeError as error:
            if "interrupted" in str(error).lower():  # DuckDB's translation of an exception raised by a signal
                raise Stopped("a signal") from error
            raise
        if defines:
            self._note(*defines.groups())
        return rows

    def _note(self, verb: str, kind: str, name: str) -> None:
        """Update the cached catalog after a statement that creates, replaces or drops one table or view."""
        if self._catalog:
            self._catalog.kinds[name.lower()] = "" if verb == "DROP" else kind.lower()
            self._changed.add(name.lower())

    def atomically(
        self, work: Callable[[], Result], happened: Callable[[], bool] | None = None, once: bool = False
    ) -> Result:
        """Do work in one transaction. Without a network no COMMIT can be lost."""
        self.execute("BEGIN TRANSACTION")
        try:
            result = work()
        except BaseException:
            with suppress(ServiceError, duckdb.Error):  # a full disk may already have ended it
                self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")
        return result

    def snapshot(self, read: Callable[[], Result]) -> Result:
        return self.atomically(read) if self._database else read()  # there is no file yet

    def columns_of(self, table: str) -> set[str]:
        return self._read_catalog(table).columns.get(table.lower(), set())

    def _read_catalog(self, table: str = "") -> _Catalog:
        """Return the catalog: all kinds, and the columns and the statement of ``table``.

        It is empty if the file does not exist.
        """
        if not self._database:
            return _Catalog({}, {}, {})
        if self._catalog is None or table.lower() in self._changed:
            tables = self.execute(f"SELECT lower(table_name) FROM duckdb_tables() WHERE {_OURS}")
            views = self.execute(f"SELECT lower(view_name), sql FROM duckdb_views() WHERE {_OURS}")
            query = f"SELECT lower(table_name), list(column_name) FROM duckdb_columns() WHERE {_OURS} GROUP BY 1"
            self._catalog = _Catalog(
                kinds={name: "table" for (name,) in tables} | {name: "view" for name, _ in views},
                views=dict(views),
                columns={name: set(columns) for name, columns in self.execute(query)},
            )
            self._changed.clear()
        return self._catalog

    @contextmanager
    def lock(self, seconds: int) -> Iterator[None]:
        yield

    def prepare(self) -> None:
        """Create missing objects. Raises UsageError for a foreign table or view with a reserved name."""

        def make() -> None:
            self._check_places()
            self.create_ledger()
            self.execute("CREATE SEQUENCE IF NOT EXISTS marts_generation")
            self._create_numbers()

        self.atomically(make)

    def _create_numbers(self) -> None:
        """Create the registry of generation tables. Fill it with the published ones that an older version recorded."""
        columns = self.columns_of("marts_numbers")
        if columns and not {"number", "mart"} <= columns:
            raise self.foreign(self.kind_of("marts_numbers"), "marts_numbers", "a table of the ledger")
        if not columns:
            self.execute("CREATE TABLE marts_numbers (number BIGINT NOT NULL PRIMARY KEY, mart VARCHAR NOT NULL)")
            for table in ("marts_generations", "marts_publications"):
                for number, name in self.execute(f"SELECT DISTINCT generation, mart FROM {table}"):
                    if name in self.pack.marts and self._is_rows_of(self.pack.marts[name], number):
                        self.execute("INSERT OR REPLACE INTO marts_numbers VALUES (?, ?)", [number, name])

    def _is_rows_of(self, mart: Mart, number: int) -> bool:
        return self.columns_of(_table(mart, number)) == {column.name for column in mart.columns}

    def kind_of(self, table: str) -> str:
        return self._read_catalog().kinds.get(table.lower(), "")

    def move_away(self, kind: str, table: str) -> str:
        return f"ALTER {kind.upper()} {table} RENAME TO {table}_old"

    def _check_places(self) -> None:
        """Raise UsageError if a table or view not created by Martwright has the name of a mart."""
        for mart in self.pack.marts.values():
            self._check_view(mart)
        self.check_views()

    def _check_view(self, mart: Mart) -> None:
        """Raise UsageError if a mart's public name is not a view of Martwright, recognised by its pointer."""
        kind = self.kind_of(mart.table)
        if kind == "table" or (kind and not self._is_our_view(mart)):
            raise self.foreign(kind, mart.table, "the view of a mart")

    def _is_our_view(self, mart: Mart) -> bool:
        text = self._read_catalog(mart.table).views[mart.table]
        return "marts_live" in text and re.search(rf"\b{mart.table}_g[0-9]+\b", text) is not None

    @contextmanager
    def staged(self, staged: Staged, changed: bool = False) -> Iterator[str]:
        name = f"{staged.mart.table}_staged"
        self.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {self.staged_rows(staged, changed)}")
        try:
            yield f"temp.{name}"
        finally:
            self.execute(f"DROP VIEW temp.{name}")

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        try:
            return self._rows(query)
        except duckdb.Error as error:
            raise UsageError(f"the query fails: {str(error).splitlines()[0]}", str(self.path)) from error

    def stage(self, mart: Mart) -> int:
        return self._create(mart, _table, _columns(mart))

    def stage_patch(self, mart: Mart) -> int:
        return self._create(mart, patch_of, f"side TINYINT, {_columns(mart)}")

    def _create(self, mart: Mart, name: Callable[[Mart, int], str], columns: str) -> int:
        """Create a table for a new number, and record the number: only recorded tables are ever dropped."""

        def make() -> int:
            number = 0
            while not number or self.kind_of(name(mart, number)):  # a table of another owner may have this name
                ((number,),) = self.execute("SELECT nextval('marts_generation')")
            self.execute("INSERT INTO marts_numbers VALUES (?, ?)", [number, mart.name])
            self.execute(f"CREATE TABLE {name(mart, number)} ({columns})")
            return int(number)

        return self.atomically(make)

    def load(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        assert self._database
        self._database.register("part", rows)
        self.execute(f"INSERT INTO {_table(mart, generation)} SELECT * FROM part")
        self._database.unregister("part")

    def load_patch(self, mart: Mart, generation: int, removed: pa.Table, added: pa.Table) -> None:
        assert self._database
        for side, rows in ((REMOVED, removed), (ADDED, added)):
            self._database.register("part", rows)
            self.execute(f"INSERT INTO {patch_of(mart, generation)} SELECT {side}, * FROM part")
            self._database.unregister("part")

    def place(self, mart: Mart, base: int) -> tuple[str, dict[str, int]]:
        return _table(mart, base), {}

    def keys_counted(self, mart: Mart) -> str:
        return f"COUNT(DISTINCT ({', '.join(f'r.{name}' for name in mart.key)}))"

    def delete_joined(self, table: str, joined: str, on: str) -> str:
        return f"DELETE FROM {table} r USING {joined} p WHERE {on}"

    def changed(self, statement: str, values: Sequence[Any] = ()) -> int:
        return int(self.execute(statement, values)[0][0])

    def differ(self, column: MartColumn) -> str:
        return f"a.{column.name} IS DISTINCT FROM b.{column.name}"

    def show(self, mart: Mart, generation: int) -> None:
        self._check_view(mart)
        columns = ", ".join(f"r.{column.name}" for column in mart.columns)
        self.execute(
            f"CREATE OR REPLACE VIEW {mart.table} AS SELECT {columns}, l.run_id, l.as_of_date "
            f"FROM {_table(mart, generation)} r, marts_live l WHERE l.mart = '{mart.name}'"
        )

    def _point(self, generations: Iterable[Generation], before: Mapping[str, Generation]) -> None:
        super()._point(generations, before)
        self.create_views()

    def remove_person(self, person: PersonId) -> int:
        removed = 0
        for mart, key in self.pack.marts_of_people:
            for table in self._tables_of([mart]).values():
                removed += self.changed(f"DELETE FROM {table} WHERE {key} = ?", [person])
        return removed

    def _tables_of(self, marts: Iterable[Mart]) -> dict[int, str]:
        """Return the existing tables of the recorded generations and patches of some marts, by number."""
        if not self.columns_of("marts_numbers"):  # the last build was of an older version
            self._create_numbers()
        by_name = {mart.name: mart for mart in marts}
        rows = self.execute("SELECT number, mart FROM marts_numbers ORDER BY number")
        of_these = [(int(number), by_name[name]) for number, name in rows if name in by_name]
        names = [(number, name(mart, number)) for number, mart in of_these for name in (_table, patch_of)]
        return {number: table for number, table in names if self.kind_of(table) == "table"}

    def clean_up(self, run_id: str) -> None:
        """Drop the tables of old generations and of runs that never published."""
        bases, between = self.kept()
        for number, table in self._tables_of(self.pack.marts.values()).items():
            if number not in bases | between:
                self.atomically(partial(self._drop, number, table))

    def _drop(self, number: int, table: str) -> None:
        """Drop a table and its recorded number: a later table of that name is not Martwright's."""
        self.execute(f"DROP TABLE {table}")
        self.execute("DELETE FROM marts_numbers WHERE number = ?", [number])

    def rights_to_write(self) -> list[str]:
        return [] if self._read_only else ["the file is opened for writing"]

    def diagnose(self) -> list[tuple[str, bool, str]]:
        if self._database:
            self._check_places()
        seen = f"{self.path}" if self.path.exists() else f"{self.path} (created by the first build)"
        return [("DuckDB", True, f"{duckdb.__version__}, {seen}")]


def _nearest(path: Path) -> str:
    """Return a hint with the existing file whose path is most similar to a missing one."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    places = (item for place in {folder, Path.cwd()} for item in (place, *place.glob("*/")))
    with suppress(OSError):  # skip a folder that cannot be read
        files = sorted({str(file) for place in places for file in place.glob("*.duckdb")})
        match = difflib.get_close_matches(str(path.absolute()), files, 1, 0)
        if match:
            return f"did you mean duckdb://{match[0]}? The first build creates a new one"
    return "check --target; the first marts build creates the file"


def _table(mart: Mart, generation: int | str) -> str:
    return f"{mart.table}_g{generation}"


def _columns(mart: Mart) -> str:
    return ", ".join(f"{c.name} {_type(c)}{'' if c.nullable else ' NOT NULL'}" for c in mart.columns)


def _type(column: MartColumn) -> str:
    match column.type:
        case "id" | "count":
            return "BIGINT"
        case "text_id" | "text" | "month":
            return "VARCHAR"
        case "money" | "rate" | "percent" | "decimal4" | "decimal6" | "version":
            return "DECIMAL({},{})".format(*DECIMALS[column.type])
        case "date":
            return "DATE"
        case "time":
            return "TIMESTAMP"
        case "flag":
            return "BOOLEAN"
