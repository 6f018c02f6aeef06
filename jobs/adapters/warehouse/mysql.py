"""The MySQL or MariaDB target.

Rows are loaded into an invisible generation, the first column of the primary key. The public names are views that join
a pointer with one row per mart, so that one small transaction publishes everything. Of a mart of which few rows differ,
only these are loaded, into a table of their own, and the transaction that publishes exchanges them.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from jobs.adapters.warehouse.mysql_columns import INDEX, column_of, indexes_of
from jobs.adapters.warehouse.mysql_loader import Loader, LocalInfileOff
from jobs.adapters.warehouse.mysql_problems import Denied
from jobs.adapters.warehouse.mysql_session import CHARSET, COLLATION, Session
from jobs.adapters.warehouse.sql_ledger import SqlLedger
from jobs.adapters.warehouse.sql_patches import ADDED, PATCH, REMOVED, patch_of
from jobs.config.settings import MySQL
from jobs.ports.records import Staged
from jobs.runtime import scratch
from marts.errors import Busy, ServiceError, Transient, UsageError
from marts.pack import Mart, MartColumn, Pack, PersonId

Result = TypeVar("Result")

_DELETE_BATCH = 20_000
_CONNECTIONS = 2
"""Connections of a build besides its loaders: those of the lock and of the ledger."""
_FEWEST = _CONNECTIONS + 1
_LOCK = "martwright"
_STAGED = "_staged_"
"""Infix of the name of the view of a staged generation, before its number."""
_log = logging.getLogger("marts.mysql")


class MySQLWarehouse(SqlLedger):
    """A target in a MySQL or MariaDB database."""

    mark = "%s"
    upsert = "REPLACE INTO"
    for_update = "FOR UPDATE"
    join = "STRAIGHT_JOIN"
    own_tables = "table_schema = DATABASE()"
    text_types: ClassVar = {
        "name": "VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin",
        "text": f"LONGTEXT CHARACTER SET {CHARSET} COLLATE utf8mb4_bin",
        "day": "DATE",
        "number": "BIGINT",
    }
    table_options = "ENGINE=InnoDB"

    def __init__(self, uri: str, settings: MySQL, pack: Pack) -> None:
        self.pack = pack
        self._uri, self._settings = uri, settings
        self.loaders = settings.loaders
        self._spool = tempfile.TemporaryDirectory(prefix="load-", dir=scratch.folder())
        self._session = Session(uri, settings, self._spool.name)
        self.where = self._session.where

    def close(self) -> None:
        self._session.close()
        self._spool.cleanup()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._session.execute(statement, values)

    def read(self, query: str, schema: pa.Schema) -> pa.Table:
        return self._session.read(query, schema)

    def atomically(
        self, work: Callable[[], Result], happened: Callable[[], bool] | None = None, once: bool = False
    ) -> Result:
        return self._session.atomically(work, happened, once)

    def columns_of(self, table: str) -> set[str]:
        query = "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = %s"
        return {str(name) for (name,) in self.execute(query, [table])}

    def lock(self, seconds: int) -> AbstractContextManager[None]:
        return self._session.lock(self.lock_name, seconds, self._holder)

    @property
    def lock_name(self) -> str:
        """Return the name of the lock of builds into this database; servers allow up to 64 characters."""
        return f"{_LOCK}.{hashlib.sha256(self._schema().encode()).hexdigest()[:16]}"

    def _schema(self) -> str:
        ((name,),) = self.execute("SELECT DATABASE()")
        return str(name)

    def _holder(self) -> str:
        running = [run for run in self.runs(5) if run.outcome == "running"]
        return f": run {running[0].run_id}, since {running[0].started_at[:19]} UTC" if running else ""

    def prepare(self) -> None:
        """Create missing objects. Existing ones are not changed: DDL waits for readers and blocks other queries.

        Raises UsageError if a table or view not created by Martwright has a reserved name.
        """
        self.loaders = self._affordable_loaders()
        self._check_places()
        self.create_ledger()
        name = self.text_types["name"]
        self._make("marts_numbers", f"number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, mart {name} NOT NULL")
        for mart in self.pack.marts.values():
            self._make_rows(mart, _rows(mart), "generation", "BIGINT")
            self._index(mart)
            if self.columns_of(mart.table) != {*(column.name for column in mart.columns), "run_id", "as_of_date"}:
                displayed = ", ".join(f"r.{column.name} AS {column.name}" for column in mart.columns)
                self.execute(
                    f"CREATE OR REPLACE ALGORITHM=MERGE VIEW {mart.table} AS SELECT {displayed}, l.run_id AS run_id, "
                    f"l.as_of_date AS as_of_date FROM marts_live l JOIN {_rows(mart)} r ON r.generation = l.generation "
                    f"WHERE l.mart = '{mart.name}'"
                )
        self.create_views()

    def _affordable_loaders(self) -> int:
        """Return the number of parallel loaders: mysql.loaders, or what the user's connections allow."""
        allowed = self._session.limits.max_user_connections
        if 0 < allowed < _FEWEST:
            hint = (
                f"ALTER USER … WITH MAX_USER_CONNECTIONS {self._settings.loaders + _CONNECTIONS}: the sum of "
                f"mysql.loaders ({self._settings.loaders}) and {_CONNECTIONS}; the minimum is {_FEWEST}"
            )
            raise UsageError(f"MAX_USER_CONNECTIONS of the user is {allowed}, too few for a build", self.where, hint)
        fewer = allowed - _CONNECTIONS if allowed else self._settings.loaders
        if fewer < self._settings.loaders:
            _log.warning("%s: MAX_USER_CONNECTIONS is %d: only %d loaders", self.where, allowed, fewer)
        return min(self._settings.loaders, fewer)

    def kind_of(self, table: str) -> str:
        query = "SELECT table_type FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s"
        rows = self.execute(query, [table])
        return "" if not rows else "view" if rows[0][0] == "VIEW" else "table"

    def move_away(self, kind: str, table: str) -> str:
        return f"RENAME TABLE {table} TO {table}_old"

    def _check_places(self) -> None:
        """Raise UsageError if a table or view not created by Martwright has a reserved name."""
        for mart in self.pack.marts.values():
            kind, columns = self.kind_of(_rows(mart)), self.columns_of(_rows(mart))
            if kind == "view" or (kind and not {"generation", *(column.name for column in mart.columns)} <= columns):
                raise self.foreign(kind, _rows(mart), f"the rows of {mart.table}")
            self._check_view(mart)
        self.check_views()

    def _check_view(self, mart: Mart) -> None:
        """Raise UsageError if a mart's public name is not a view of Martwright, recognised by its pointer."""
        kind = self.kind_of(mart.table)
        if kind == "table":
            raise self.foreign(kind, mart.table, "the view of a mart")
        if kind == "view":
            query = (
                "SELECT view_definition FROM information_schema.views "
                "WHERE table_schema = DATABASE() AND table_name = %s"
            )
            ((definition,),) = self.execute(query, [mart.table])
            text = str(definition or "").lower()
            # Without the SHOW VIEW right it is empty; then the columns are checked, and the rows read back later.
            reads = [f"`{self._schema()}`.`{table}`".lower() for table in ("marts_live", _rows(mart))]
            if not (all(name in text for name in reads) if text else self._looks_ours(mart)):
                raise self.foreign(kind, mart.table, "the view of a mart")

    def _looks_ours(self, mart: Mart) -> bool:
        return {"run_id", "as_of_date"} <= self.columns_of(mart.table)

    def _make(self, table: str, columns: str, options: str = "") -> None:
        """Create a table if it is missing."""
        if not self.columns_of(table):
            self.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}) ENGINE=InnoDB {options}")

    def _make_rows(self, mart: Mart, table: str, first: str, type_: str) -> None:
        """Create a table of rows of a mart if it is missing; a first column distinguishes several rows of a key."""
        columns = ", ".join(column_of(mart, column) for column in mart.columns)
        key = ", ".join((first, *mart.key))
        self._make(
            table,
            f"{first} {type_} NOT NULL, {columns}, PRIMARY KEY ({key})",
            f"DEFAULT CHARACTER SET {CHARSET} COLLATE {COLLATION}",
        )

    def _index(self, mart: Mart) -> None:
        """Create the secondary indexes of a mart's rows, and drop those that are no longer set.

        Readers go on. If one of them has the table open for long, it is left for the next build.
        """
        wanted = indexes_of(mart)
        query = (
            "SELECT DISTINCT index_name FROM information_schema.statistics "
            "WHERE table_schema = DATABASE() AND table_name = %s"
        )
        existing = {str(name) for (name,) in self.execute(query, [_rows(mart)]) if str(name).startswith(INDEX)}
        changes = [f"DROP INDEX {name}" for name in sorted(existing - {*wanted})]
        changes += [f"ADD INDEX {name} ({columns})" for name, columns in wanted.items() if name not in existing]
        if changes:
            try:
                self.execute(f"ALTER TABLE {_rows(mart)} {', '.join(changes)}, LOCK=NONE")
            except Busy as error:
                _log.warning("the indexes of %s are left for the next build: %s", mart.table, error)

    @contextmanager
    def staged(self, staged: Staged, changed: bool = False) -> Iterator[str]:
        name = f"{staged.mart.table}{_STAGED}{staged.generation:d}"
        self.execute(f"CREATE OR REPLACE VIEW {name} AS {self.staged_rows(staged, changed)}")
        try:
            yield name
        finally:
            self.execute(f"DROP VIEW IF EXISTS {name}")

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        try:
            return self.execute(query)
        except Transient:
            raise
        except ServiceError as error:
            raise UsageError(f"the query fails: {error.what}", self.where) from error

    def stage(self, mart: Mart) -> int:
        def take() -> int:
            self.execute("INSERT INTO marts_numbers (mart) VALUES (%s)", [mart.name])
            ((number,),) = self.execute("SELECT LAST_INSERT_ID()")
            if self._is_taken(mart, int(number)):
                self.execute("DELETE FROM marts_numbers WHERE number = %s", [number])
                return 0
            return int(number)

        while not (number := self.atomically(take)):
            pass
        return number

    def stage_patch(self, mart: Mart) -> int:
        number = self.stage(mart)
        self._make_rows(mart, patch_of(mart, number), "side", "TINYINT")
        return number

    def _is_taken(self, mart: Mart, number: int) -> bool:
        """Return whether a newly numbered generation already has rows, a table or a view, from another ledger."""
        rows = self.execute(f"SELECT 1 FROM {_rows(mart)} WHERE generation = %s LIMIT 1", [number])
        return bool(rows or self.kind_of(patch_of(mart, number)) or self.kind_of(f"{mart.table}{_STAGED}{number:d}"))

    def _numbered(self, mart: Mart) -> set[int]:
        """Return the generations of a mart numbered by this ledger: only these are ever removed."""
        results = set()
        for table, column in (("marts_numbers", "number"), ("marts_generations", "generation")):
            results |= {int(n) for (n,) in self.execute(f"SELECT {column} FROM {table} WHERE mart = %s", [mart.name])}
        return results

    def load(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        self._load(_rows(mart), {"generation": generation}, mart, rows)

    def load_patch(self, mart: Mart, generation: int, removed: pa.Table, added: pa.Table) -> None:
        for side, rows in ((REMOVED, removed), (ADDED, added)):
            if rows:
                self._load(patch_of(mart, generation), {"side": side}, mart, rows)

    def _load(self, table: str, numbers: Mapping[str, int], mart: Mart, rows: pa.Table) -> None:
        """Load rows in one transaction. REPLACE makes a repeated task idempotent; `count` detects missing rows."""
        loader = Loader(self._session, table, numbers, [column.name for column in mart.columns])
        if self._settings.load_data and self._session.limits.local_infile:
            with suppress(LocalInfileOff):
                self.atomically(lambda: loader.load_file(rows, Path(self._spool.name)))
                return
        self.atomically(lambda: loader.load_inserts(rows))

    def place(self, mart: Mart, base: int) -> tuple[str, dict[str, int]]:
        return _rows(mart), {"generation": base}

    def keys_counted(self, mart: Mart) -> str:
        return "COUNT(*)"  # the primary key ends with the key of the mart

    def delete_joined(self, table: str, joined: str, on: str) -> str:
        return f"DELETE r FROM {joined} p STRAIGHT_JOIN {table} r ON {on}"

    def differ(self, column: MartColumn) -> str:
        a, b = f"a.{column.name}", f"b.{column.name}"
        if column.type in ("text", "text_id"):  # their collation takes a and A for equal
            a, b = f"CAST({a} AS BINARY)", f"CAST({b} AS BINARY)"
        return f"NOT ({a} <=> {b})"

    def _generations(self, mart: Mart) -> set[int]:
        """Return the generations that have rows. The primary key begins with it: the server reads one row of each."""
        return {int(number) for (number,) in self.execute(f"SELECT DISTINCT generation FROM {_rows(mart)}")}

    def _own_patches(self, mart: Mart) -> set[int]:
        """Return the patches that have a table and were numbered by this ledger."""
        return self._suffixes("BASE TABLE", f"{mart.table}{PATCH}") & self._numbered(mart)

    def _suffixes(self, kind: str, start: str) -> set[int]:
        """Return the numbers at the end of the names of tables or views that begin with ``start``."""
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = %s"
        names = [str(name) for (name,) in self.execute(query, [kind])]
        ends = [name.removeprefix(start) for name in names if name.startswith(start)]
        return {int(end) for end in ends if end.isdigit()}

    def changed(self, statement: str, values: Sequence[Any] = ()) -> int:
        def run(cursor: Any) -> int:
            cursor.execute(statement, tuple(values))
            return int(cursor.rowcount)

        return self._session.with_cursor(run)

    def remove_person(self, person: PersonId) -> int:
        removed = 0
        for mart, key in self.pack.marts_of_people:
            for number in sorted(self._generations(mart) & self._numbered(mart)):
                where = f"WHERE generation = %s AND {key} = %s"
                removed += self.changed(f"DELETE FROM {_rows(mart)} {where}", [number, person])
            for number in sorted(self._own_patches(mart)):
                removed += self.changed(f"DELETE FROM {patch_of(mart, number)} WHERE {key} = %s", [person])
        return removed

    def clean_up(self, run_id: str) -> None:
        """Delete in small batches. Rows locked by a frozen or killed build are left for a later build."""
        self.execute("SET SESSION innodb_lock_wait_timeout = 2")
        try:
            bases, _ = self.kept()
            for mart in self.pack.marts.values():
                for number in (self._generations(mart) & self._numbered(mart)) - bases:
                    while self._delete_some(mart, number, run_id) == _DELETE_BATCH:
                        pass
                for number in self._unused_patches(mart, run_id):
                    self.execute(f"DROP TABLE IF EXISTS {patch_of(mart, number)}")
                self._drop_staged_views(mart)
        except Busy as error:
            _log.warning("old rows are left for the next build: %s", error)
        finally:
            self.execute("SET SESSION innodb_lock_wait_timeout = DEFAULT")

    def _drop_staged_views(self, mart: Mart) -> None:
        """Drop the views left by a killed build: those without rows of their generation."""
        removed = self._numbered(mart) - self._generations(mart) - self._own_patches(mart)
        for number in self._suffixes("VIEW", f"{mart.table}{_STAGED}") & removed:
            self.execute(f"DROP VIEW IF EXISTS {mart.table}{_STAGED}{number:d}")

    def _unused_patches(self, mart: Mart, run_id: str) -> set[int]:
        """Return the patches that no rollback needs, if this run may still publish.

        Later builds use new numbers: these patches stay unused, even if this process is frozen before it drops them.
        """

        def work() -> set[int]:
            self.hold_epoch(run_id)
            return self._own_patches(mart) - self.kept()[1]

        return self.atomically(work)

    def _delete_some(self, mart: Mart, number: int, run_id: str) -> int:
        """Delete some rows of a generation, if still unused: this process may have been frozen since the last check."""

        def work() -> int:
            self.hold_epoch(run_id)
            if number in self.kept()[0]:
                return 0
            return self.changed(f"DELETE FROM {_rows(mart)} WHERE generation = %s LIMIT {_DELETE_BATCH}", [number])

        return self.atomically(work)

    def read_table(self, table: str, columns: Sequence[str]) -> pa.Table:
        """Read some columns of a table as text, in one consistent read."""
        name = table.replace("`", "``")

        def read(cursor: Any) -> pa.Table:
            cursor.execute(f"SELECT * FROM `{name}` LIMIT 0")
            existing = {column.lower(): column for column in cursor.column_names}
            cursor.fetchall()
            wanted = [column for column in columns if column in existing]
            displayed = ", ".join(f"CAST(`{existing[column]}` AS CHAR) AS `{column}`" for column in wanted)
            cursor.execute(f"SELECT {displayed} FROM `{name}`" if wanted else "SELECT 1 LIMIT 0")
            rows = cursor.fetchall()
            return pa.table({c: pa.array([row[i] for row in rows], pa.string()) for i, c in enumerate(wanted)})

        return self._session.repeated(lambda: self._session.with_cursor(read))

    def diagnose(self) -> list[tuple[str, bool, str]]:
        ((version,),) = self.execute("SELECT VERSION()")
        table = f"marts_doctor_{os.getpid()}"
        self.execute(f"CREATE TABLE {table} (n INT PRIMARY KEY) ENGINE=InnoDB")
        try:
            self.execute(f"INSERT INTO {table} VALUES (1)")
            self.execute(f"CREATE VIEW {table}_v AS SELECT n FROM {table}")
            self.execute(f"DELETE FROM {table}")
        finally:
            with suppress(ServiceError):
                self.execute(f"DROP VIEW IF EXISTS {table}_v")
            self.execute(f"DROP TABLE {table}")
        self._check_places()
        return [
            ("database", True, f"{version} at {self.where}"),
            ("bulk load", True, self._bulk()),
            ("connections", True, self._connections()),
            ("rights", True, "enough"),
        ]

    def rights_to_write(self) -> list[str]:
        table, none = f"marts_doctor_{os.getpid()}", "WHERE 1 = 0"
        tried = {
            "INSERT": f"INSERT INTO marts_live SELECT * FROM marts_live {none}",
            "UPDATE": f"UPDATE marts_live SET generation = generation {none}",
            "DELETE": f"DELETE FROM marts_live {none}",
            "CREATE": f"CREATE TABLE {table} (n INT)",
        }
        rights = []
        for right, statement in tried.items():
            with suppress(Denied):
                self.execute(statement)
                rights.append(right)
        if "CREATE" in rights:
            self.execute(f"DROP TABLE {table}")
        return rights

    def _bulk(self) -> str:
        if not self._settings.load_data:
            return "INSERT is used: mysql.load_data is false"
        if self._session.limits.local_infile:
            return "LOAD DATA LOCAL is allowed"
        return "LOAD DATA LOCAL is off, INSERT is used; SET GLOBAL local_infile = ON makes loading 1.7 times as fast"

    def _connections(self) -> str:
        allowed = self._session.limits.max_user_connections
        return f"{allowed or 'unlimited'} for this user; parallel loaders (mysql.loaders): {self._affordable_loaders()}"


def _rows(mart: Mart) -> str:
    return f"{mart.table}_rows"
