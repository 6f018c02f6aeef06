"""The MySQL or MariaDB target.

Rows are loaded under an invisible generation, the first column of the primary key. The public names are
views that join a pointer with one row per mart, so that one small transaction makes everything live.
"""

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import mysql.connector
import pyarrow as pa
import pyarrow.csv as pacsv
from mysql.connector import errorcode

from jobs.ledger import DropRecord, QualityRecord, RunRecord, SqlLedger, Staged
from jobs.settings import MySQL, masked
from marts.errors import Defect, ServiceError, TryLater, UsageError
from marts.schema import MARTS, Mart, MartColumn

_CHARSET, _COLLATION = "utf8mb4", "utf8mb4_unicode_ci"
_KEPT = 2
_DELETE_BATCH = 20_000
_INSERT_BATCH = 1000
_LOCK = "martwright"
_LOCAL_INFILE_OFF = {1148, 3948, 4166}
"""Errors of servers that do not allow LOAD DATA LOCAL."""
_DENIED = {errorcode.ER_ACCESS_DENIED_ERROR, errorcode.ER_DBACCESS_DENIED_ERROR, errorcode.ER_TABLEACCESS_DENIED_ERROR}


class MySQLWarehouse(SqlLedger):
    """A target in a MySQL or MariaDB database."""

    judged_by_sql = True
    mark = "%s"
    upsert = "REPLACE INTO"
    text_types: ClassVar = {
        "name": "VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin",
        "text": f"LONGTEXT CHARACTER SET {_CHARSET} COLLATE utf8mb4_bin",
    }
    table_options = "ENGINE=InnoDB"

    def __init__(self, uri: str, settings: MySQL) -> None:
        self._uri, self._settings = uri, settings
        self.where = masked(uri)
        self.loaders = settings.loaders
        self._spool = tempfile.TemporaryDirectory(prefix="marts-load-")
        self._database = self.connect()

    def connect(self) -> Any:
        hint = "write mysql://user[:password]@host:port/database, with %-escapes for special characters"
        try:
            parts = urlsplit(self._uri)
            port = parts.port or 3306
        except ValueError as error:
            raise UsageError(f"{self.where!r} is no address", "--target", hint) from error
        database = parts.path.strip("/")
        if not parts.hostname or not database or "/" in database or parts.query or parts.fragment:
            raise UsageError(f"{self.where!r} names no database", "--target", hint)
        secret = self._settings.password
        password = unquote(parts.password) if parts.password else secret.get_secret_value() if secret else ""
        tls = {"ssl_ca": self._settings.ssl_ca, "ssl_verify_cert": True, "ssl_verify_identity": True}
        try:
            return mysql.connector.connect(
                host=parts.hostname,
                port=port,
                user=unquote(parts.username or ""),
                password=password,
                database=database,
                use_pure=True,
                autocommit=True,
                charset=_CHARSET,
                collation=_COLLATION,
                connection_timeout=self._settings.connect_timeout,
                read_timeout=self._settings.read_timeout,
                write_timeout=self._settings.read_timeout,
                allow_local_infile=False,
                allow_local_infile_in_path=self._spool.name,
                sql_mode="STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO",
                time_zone="+00:00",
                **(tls if self._settings.ssl_ca else {}),
            )
        except mysql.connector.Error as error:
            raise self._translate(error) from error

    def _translate(self, error: mysql.connector.Error) -> ServiceError | TryLater:
        """Turn the driver's errors into ours, with what to do."""
        if error.errno in _DENIED:
            hint = "check user, password and rights: SELECT, INSERT, DELETE, CREATE, CREATE VIEW, DROP on the database"
            return ServiceError(f"the database refuses us: {error.msg}", self.where, hint)
        if error.errno == errorcode.ER_BAD_DB_ERROR:
            return ServiceError(f"there is no such database: {error.msg}", self.where, "create it first")
        if error.errno in (errorcode.ER_LOCK_WAIT_TIMEOUT, errorcode.ER_LOCK_DEADLOCK):
            return TryLater(f"the database is busy: {error.msg}", self.where, "run again later")
        hint = "the live marts are untouched; is the server up and reachable? `marts doctor` looks closer"
        return ServiceError(f"the database failed: {error.msg or error}", self.where, hint)

    def close(self) -> None:
        with suppress(mysql.connector.Error):
            self._database.close()
        self._spool.cleanup()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._database.cursor() as cursor:
                cursor.execute(statement, tuple(values))
                return cursor.fetchall() if cursor.with_rows else []
        except mysql.connector.Error as error:
            raise self._translate(error) from error

    def has_table(self, table: str) -> bool:
        query = "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s"
        return bool(self.execute(query, [table]))

    @contextmanager
    def lock(self) -> Iterator[None]:
        ((name,),) = self.execute("SELECT CONCAT(%s, '.', LEFT(SHA1(DATABASE()), 16))", [_LOCK])
        ((got,),) = self.execute("SELECT GET_LOCK(%s, %s)", [name, self._settings.lock_timeout])
        if got != 1:
            raise TryLater("another build holds the lock", self.where, "wait until it has ended, then run again")
        try:
            yield
        finally:
            with suppress(ServiceError):  # a lost connection has already released it
                self.execute("SELECT RELEASE_LOCK(%s)", [name])

    def prepare(self) -> None:
        self.create_ledger()
        self.execute(
            "CREATE TABLE IF NOT EXISTS marts_numbers (number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, "
            f"mart {self.text_types['name']} NOT NULL) ENGINE=InnoDB"
        )
        for mart in MARTS.values():
            columns = ", ".join(f"{c.name} {_type(c)} {'NULL' if c.nullable else 'NOT NULL'}" for c in mart.columns)
            self.execute(
                f"CREATE TABLE IF NOT EXISTS {_rows(mart)} (generation BIGINT NOT NULL, {columns}, "
                f"PRIMARY KEY (generation, {', '.join(mart.key)})) "
                f"ENGINE=InnoDB DEFAULT CHARACTER SET {_CHARSET} COLLATE {_COLLATION}"
            )
            shown = ", ".join(f"r.{column.name} AS {column.name}" for column in mart.columns)
            self.execute(
                f"CREATE OR REPLACE ALGORITHM=MERGE VIEW {mart.table} AS SELECT {shown}, l.run_id AS run_id, "
                f"l.as_of_date AS as_of_date FROM marts_live l JOIN {_rows(mart)} r ON r.generation = l.generation "
                f"WHERE l.mart = '{mart.name}'"
            )

    @contextmanager
    def staged(self, mart: Mart, generation: int) -> Iterator[str]:
        name = f"{mart.table}_staged"
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
        self._remove_generations(mart)
        self.execute("INSERT INTO marts_numbers (mart) VALUES (%s)", [mart.name])
        ((number,),) = self.execute("SELECT LAST_INSERT_ID()")
        return int(number)

    def load(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        """Load rows in one transaction; REPLACE makes a repeated task harmless, `count` finds what is missing."""
        loader = self._load_file if self._settings.load_data else self._load_inserts
        try:
            with self.transaction():
                loader(mart, generation, rows)
        except _LocalInfileOff:
            with self.transaction():
                self._load_inserts(mart, generation, rows)

    def _load_file(self, mart: Mart, generation: int, rows: pa.Table) -> None:
        """Spool the rows to a private file, and let the server read it: several times faster than INSERT."""
        path = Path(self._spool.name) / f"{mart.name}-{generation}-{os.getpid()}-{time.monotonic_ns()}.csv"
        pacsv.write_csv(
            _plain_flags(mart, rows), path, pacsv.WriteOptions(include_header=False, quoting_style="needed")
        )
        fields = ", ".join(f"@{c.name}" if c.nullable else c.name for c in mart.columns)
        # Our rows hold no empty text, so an empty field is NULL.
        nullable = "".join(
            f", {c.name} = IF(LENGTH(@{c.name}) = 0, NULL, @{c.name})" for c in mart.columns if c.nullable
        )
        try:
            with self._database.cursor() as cursor:
                cursor.execute(
                    f"LOAD DATA LOCAL INFILE '{path}' REPLACE INTO TABLE {_rows(mart)} CHARACTER SET {_CHARSET} "
                    "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY '\\n' "
                    f"({fields}) SET generation = {generation:d}{nullable}"
                )
                if cursor.warning_count:
                    cursor.execute("SHOW WARNINGS LIMIT 3")
                    raise Defect(f"the database changed values while loading: {cursor.fetchall()}", self.where)
        except mysql.connector.Error as error:
            if error.errno in _LOCAL_INFILE_OFF:
                raise _LocalInfileOff from error
            raise self._translate(error) from error
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

    def publish(
        self,
        staged: Sequence[Staged],
        drops: Iterable[DropRecord],
        run: RunRecord,
        quality: Sequence[QualityRecord] = (),
    ) -> None:
        with self.transaction():
            self.write_live(staged, run)
            self.write_ledger(drops, run, quality)
        for item in staged:
            self._remove_generations(item.mart)

    def _remove_generations(self, mart: Mart) -> None:
        """Delete old generations, and those of runs that never published, in small batches."""
        kept = self.execute(
            "SELECT generation FROM marts_generations WHERE mart = %s ORDER BY generation DESC LIMIT %s",
            [mart.name, _KEPT],
        )
        numbers = self.execute("SELECT number FROM marts_numbers WHERE mart = %s", [mart.name])
        for number in {number for (number,) in numbers} - {number for (number,) in kept}:
            while self._delete_some(mart, number) == _DELETE_BATCH:
                pass
            self.execute("DELETE FROM marts_numbers WHERE number = %s", [number])

    def _delete_some(self, mart: Mart, generation: int) -> int:
        try:
            with self._database.cursor() as cursor:
                cursor.execute(f"DELETE FROM {_rows(mart)} WHERE generation = %s LIMIT {_DELETE_BATCH}", [generation])
                return int(cursor.rowcount)
        except mysql.connector.Error as error:
            raise self._translate(error) from error

    def read_table(self, table: str, columns: Sequence[str]) -> pa.Table:
        """Read some columns of a table as text, all rows of one moment."""
        try:
            with self._database.cursor() as cursor:
                cursor.execute(f"SELECT * FROM `{table.replace('`', '``')}` LIMIT 0")
                there = {name.lower(): name for name in cursor.column_names}
                cursor.fetchall()
                wanted = [name for name in columns if name in there]
                shown = ", ".join(f"CAST(`{there[name]}` AS CHAR) AS `{name}`" for name in wanted)
                cursor.execute(f"SELECT {shown} FROM `{table.replace('`', '``')}`" if wanted else "SELECT 1 LIMIT 0")
                rows = cursor.fetchall()
        except mysql.connector.Error as error:
            raise self._translate(error) from error
        return pa.table({name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(wanted)})

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
