"""The MySQL or MariaDB target.

Rows are loaded under an invisible generation, the first column of the primary key. The public names are
views that join a pointer with one row per mart, so that one small transaction makes everything live.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import mysql.connector
import pyarrow as pa
import pyarrow.csv as pacsv

from jobs import scratch
from jobs.adapters.mysql.session import CHARSET, COLLATION, Session
from jobs.ledger import SqlLedger
from jobs.settings import MySQL
from marts.errors import Busy, Defect, ServiceError
from marts.schema import CUSTOMERS_MART, MARTS, Mart, MartColumn

Result = TypeVar("Result")

_DELETE_BATCH = 20_000
_INSERT_BATCH = 1000
_LOCK = "martwright"
_STAGED = "_staged_"
"""What the name of the view of a staged generation has before its number."""
_LOCAL_INFILE_OFF = {1148, 3948, 4166}
"""Errors of servers that do not allow LOAD DATA LOCAL."""
_log = logging.getLogger("marts.mysql")


class MySQLWarehouse(SqlLedger):
    """A target in a MySQL or MariaDB database."""

    judged_by_sql = True
    mark = "%s"
    upsert = "REPLACE INTO"
    for_update = "FOR UPDATE"
    text_types: ClassVar = {
        "name": "VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin",
        "text": f"LONGTEXT CHARACTER SET {CHARSET} COLLATE utf8mb4_bin",
        "day": "DATE",
        "number": "BIGINT",
    }
    table_options = "ENGINE=InnoDB"

    def __init__(self, uri: str, settings: MySQL) -> None:
        self._settings = settings
        self.loaders = settings.loaders
        self._spool = tempfile.TemporaryDirectory(prefix="load-", dir=scratch.folder())
        self._session = Session(uri, settings, self._spool.name)
        self.where = self._session.where

    def connect(self) -> Any:
        return self._session.connect()

    def close(self) -> None:
        self._session.close()
        self._spool.cleanup()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._session.execute(statement, values)

    def atomically(
        self, work: Callable[[], Result], happened: Callable[[], bool] | None = None, once: bool = False
    ) -> Result:
        return self._session.atomically(work, happened, once)

    def columns_of(self, table: str) -> set[str]:
        query = "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = %s"
        return {str(name) for (name,) in self.execute(query, [table])}

    def lock(self, seconds: int) -> AbstractContextManager[None]:
        ((name,),) = self.execute("SELECT CONCAT(%s, '.', LEFT(SHA1(DATABASE()), 16))", [_LOCK])
        return self._session.lock(str(name), seconds, self._holder)

    def _holder(self) -> str:
        running = [run for run in self.runs(5) if run.outcome == "running"]
        return f": run {running[0].run_id}, since {running[0].started_at[:19]} UTC" if running else ""

    def prepare(self) -> None:
        """Make what is missing. What is there is left alone: DDL would wait for readers, and others behind it."""
        self.create_ledger()
        name = self.text_types["name"]
        self._make("marts_numbers", f"number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, mart {name} NOT NULL")
        for mart in MARTS.values():
            columns = ", ".join(f"{c.name} {_type(c)} {'NULL' if c.nullable else 'NOT NULL'}" for c in mart.columns)
            self._make(
                _rows(mart),
                f"generation BIGINT NOT NULL, {columns}, PRIMARY KEY (generation, {', '.join(mart.key)})",
                f"DEFAULT CHARACTER SET {CHARSET} COLLATE {COLLATION}",
            )
            if self.columns_of(mart.table) != {*(column.name for column in mart.columns), "run_id", "as_of_date"}:
                shown = ", ".join(f"r.{column.name} AS {column.name}" for column in mart.columns)
                self.execute(
                    f"CREATE OR REPLACE ALGORITHM=MERGE VIEW {mart.table} AS SELECT {shown}, l.run_id AS run_id, "
                    f"l.as_of_date AS as_of_date FROM marts_live l JOIN {_rows(mart)} r ON r.generation = l.generation "
                    f"WHERE l.mart = '{mart.name}'"
                )

    def _make(self, table: str, columns: str, options: str = "") -> None:
        if not self.columns_of(table):
            self.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}) ENGINE=InnoDB {options}")

    @contextmanager
    def staged(self, mart: Mart, generation: int) -> Iterator[str]:
        name = f"{mart.table}{_STAGED}{generation:d}"
        shown = ", ".join(column.name for column in mart.columns)
        self.execute(
            f"CREATE OR REPLACE ALGORITHM=MERGE VIEW {name} AS "
            f"SELECT {shown} FROM {_rows(mart)} WHERE generation = {generation:d}"
        )
        try:
            yield name
        finally:
            self.execute(f"DROP VIEW IF EXISTS {name}")

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        raise Defect("queries of suites are asked by Great Expectations", self.where)

    def batches(self, table: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        raise Defect("rows of MySQL are judged by SQL", self.where)

    def stage(self, mart: Mart) -> int:
        def number() -> int:
            self.execute("INSERT INTO marts_numbers (mart) VALUES (%s)", [mart.name])
            ((number,),) = self.execute("SELECT LAST_INSERT_ID()")
            return int(number)

        return self.atomically(number)

    def load(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        """Load rows in one transaction; REPLACE makes a repeated task harmless, `count` finds what is missing."""
        loader = self._load_file if self._settings.load_data else self._load_inserts
        try:
            self.atomically(lambda: loader(mart, generation, rows))
        except _LocalInfileOff:
            self.atomically(lambda: self._load_inserts(mart, generation, rows))

    def _load_file(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        """Spool the rows to a private file, and let the server read it: several times faster than INSERT."""
        path = Path(self._spool.name) / f"{mart.name}-{generation}-{os.getpid()}-{time.monotonic_ns()}.csv"
        try:
            # All texts are quoted, so that a bare NULL is none, and nobody's name.
            options = pacsv.WriteOptions(include_header=False, quoting_style="needed", null_string="NULL")
            pacsv.write_csv(_plain_flags(mart, rows), path, options)
        except OSError as error:
            hint = "the live marts are untouched; free some space, then run again"
            raise ServiceError(f"rows cannot be spooled: {error}", str(path), hint) from error
        fields = ", ".join(column.name for column in mart.columns)

        def load(cursor: Any) -> None:
            try:
                cursor.execute(
                    f"LOAD DATA LOCAL INFILE '{path}' REPLACE INTO TABLE {_rows(mart)} CHARACTER SET {CHARSET} "
                    "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY '\\n' "
                    f"({fields}) SET generation = {generation:d}"
                )
            except mysql.connector.Error as error:
                if error.errno in _LOCAL_INFILE_OFF:
                    raise _LocalInfileOff from error
                raise
            if cursor.warning_count:
                cursor.execute("SHOW WARNINGS LIMIT 3")
                raise Defect(f"the database changed values while loading: {cursor.fetchall()}", self.where)

        try:
            self._session.with_cursor(load)
        finally:
            path.unlink(missing_ok=True)

    def _load_inserts(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        names = ["generation", *(column.name for column in mart.columns)]
        row = f"({', '.join(['%s'] * len(names))})"
        for batch in rows.to_batches(max_chunksize=_INSERT_BATCH):
            values = [
                value for record in zip(*batch.to_pydict().values(), strict=True) for value in (generation, *record)
            ]
            statement = f"REPLACE INTO {_rows(mart)} ({', '.join(names)}) VALUES "
            self.execute(statement + ", ".join([row] * batch.num_rows), values)

    def count(self, mart: Mart, generation: int) -> int:
        ((rows,),) = self.execute(f"SELECT COUNT(*) FROM {_rows(mart)} WHERE generation = %s", [generation])
        return int(rows)

    def _generations(self, mart: Mart) -> set[int]:
        """Number the generations that have rows. It begins the primary key: the server looks at one row of each."""
        return {int(number) for (number,) in self.execute(f"SELECT DISTINCT generation FROM {_rows(mart)}")}

    def _delete(self, mart: Mart, rest: str, values: Sequence[Any]) -> int:
        """Delete rows inside the transaction of the caller. Gives how many."""

        def delete(cursor: Any) -> int:
            cursor.execute(f"DELETE FROM {_rows(mart)} {rest}", tuple(values))
            return int(cursor.rowcount)

        return self._session.with_cursor(delete)

    def remove_customer(self, customer: int) -> int:
        where = "WHERE generation = %s AND customer_id = %s"
        there = sorted(self._generations(CUSTOMERS_MART))
        return sum(self._delete(CUSTOMERS_MART, where, [number, customer]) for number in there)

    def clean_up(self, run_id: str) -> None:
        """Delete in small batches. What a transaction of a frozen or killed build still holds is left for later."""
        self.execute("SET SESSION innodb_lock_wait_timeout = 2")
        try:
            for mart in MARTS.values():
                for number in self._generations(mart) - self.kept_generations():
                    while self._delete_some(mart, number, run_id) == _DELETE_BATCH:
                        pass
                self._drop_staged_views(mart)
        except Busy as error:
            _log.warning("old rows are left for the next build: %s", error)
        finally:
            self.execute("SET SESSION innodb_lock_wait_timeout = DEFAULT")

    def _drop_staged_views(self, mart: Mart) -> None:
        """Drop the views that a killed build has left: those whose generation is gone."""
        query = "SELECT table_name FROM information_schema.views WHERE table_schema = DATABASE()"
        there = self._generations(mart)
        for (name,) in self.execute(query):
            head, _, number = str(name).rpartition(_STAGED)
            if head == mart.table and number.isdigit() and int(number) not in there:
                self.execute(f"DROP VIEW IF EXISTS {name}")

    def _delete_some(self, mart: Mart, generation: int, run_id: str) -> int:
        """Delete some rows of a generation, if it is still waste: we may have stood still since we looked."""

        def work() -> int:
            self.hold_epoch(run_id)
            if generation in self.kept_generations():
                return 0
            return self._delete(mart, f"WHERE generation = %s LIMIT {_DELETE_BATCH}", [generation])

        return self.atomically(work)

    def read_table(self, table: str, columns: Sequence[str]) -> pa.Table:
        """Read some columns of a table as text, all rows of one moment."""
        name = table.replace("`", "``")

        def read(cursor: Any) -> pa.Table:
            cursor.execute(f"SELECT * FROM `{name}` LIMIT 0")
            there = {column.lower(): column for column in cursor.column_names}
            cursor.fetchall()
            wanted = [column for column in columns if column in there]
            shown = ", ".join(f"CAST(`{there[column]}` AS CHAR) AS `{column}`" for column in wanted)
            cursor.execute(f"SELECT {shown} FROM `{name}`" if wanted else "SELECT 1 LIMIT 0")
            rows = cursor.fetchall()
            return pa.table({c: pa.array([row[i] for row in rows], pa.string()) for i, c in enumerate(wanted)})

        return self._session.repeated(lambda: self._session.with_cursor(read))

    def diagnose(self) -> list[tuple[str, bool, str]]:
        ((version, infile),) = self.execute("SELECT VERSION(), @@local_infile")
        table = f"marts_doctor_{os.getpid()}"
        self.execute(f"CREATE TABLE {table} (n INT PRIMARY KEY) ENGINE=InnoDB")
        try:
            self.execute(f"INSERT INTO {table} VALUES (1)")
            self.execute(f"CREATE OR REPLACE VIEW {table}_v AS SELECT n FROM {table}")
            self.execute(f"DELETE FROM {table}")
        finally:
            with suppress(ServiceError):
                self.execute(f"DROP VIEW IF EXISTS {table}_v")
            self.execute(f"DROP TABLE {table}")
        bulk = (
            "LOAD DATA LOCAL is allowed" if infile else "LOAD DATA LOCAL is off: INSERT is used, about 8 times slower"
        )
        return [("database", True, f"{version} at {self.where}"), ("bulk load", True, bulk), ("rights", True, "enough")]


class _LocalInfileOff(Exception):
    """The server does not allow LOAD DATA LOCAL."""


def _rows(mart: Mart) -> str:
    return f"{mart.table}_rows"


def _plain_flags(mart: Mart, rows: pa.Table) -> pa.Table:
    """Write flags as 0 and 1."""
    for index, column in enumerate(mart.columns):
        if column.type == "flag":
            rows = rows.set_column(index, column.name, rows[column.name].cast(pa.int8()))
    return rows


def _type(column: MartColumn) -> str:
    match column.type:
        case "id" | "count":
            return "BIGINT"
        case "text":
            return f"VARCHAR({column.max_length})"
        case "month":
            return "CHAR(7) CHARACTER SET ascii COLLATE ascii_bin"
        case "money":
            return "DECIMAL(18,2)"
        case "rate":
            return "DECIMAL(14,2)"
        case "flag":
            return "BOOLEAN"
