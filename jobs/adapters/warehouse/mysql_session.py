"""A session with MySQL or MariaDB: timeouts, retries after temporary errors, and lost COMMITs are resolved."""

import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import mysql.connector
import pyarrow as pa
from mysql.connector import errorcode
from mysql.connector.errors import InterfaceError
from mysql.connector.plugins import caching_sha2_password

from jobs.adapters.warehouse.mysql_problems import UNTOUCHED, ReadOnly, problem_of
from jobs.config.secret import TARGET_PASSWORD, Secret
from jobs.config.settings import MySQL, masked
from jobs.runtime.retries import retried
from marts.errors import Busy, OutcomeUnknown, ServiceError, Stopped, Transient, TryLater, UsageError

Result = TypeVar("Result")

CHARSET, COLLATION = "utf8mb4", "utf8mb4_unicode_ci"
_TORN = (IndexError, ValueError, struct.error, UnicodeDecodeError)
"""Errors that the connector raises for an incomplete packet."""
_DDL_WAIT = 10
"""Seconds that DDL waits for readers; the default of servers is a day, and blocks all other queries meanwhile."""
_SLICE = 5
"""Seconds of one wait for the lock."""
_LARGE = 1 << 19
"""Characters above which a statement may be too large for a server."""
_BATCH = 20_000
"""Rows that are read at a time."""
_FAILOVER = 10
"""Seconds that a server may be read only, as during a failover, before it is an error."""
_log = logging.getLogger("marts.mysql")


class _OverTLS(caching_sha2_password.MySQLCachingSHA2PasswordAuthPlugin):
    """The driver's plugin, except that it never sends a password in clear text over an unencrypted connection."""

    def auth_response(self, auth_data: bytes, **kwargs: Any) -> bytes | None:
        if len(auth_data or b"") == 1 and not self.ssl_enabled:
            raise InterfaceError(f"{self.name} requires SSL")
        answer: bytes | None = super().auth_response(auth_data, **kwargs)
        return answer


# The driver loads its plugins by class name from their modules.
caching_sha2_password.MySQLCachingSHA2PasswordAuthPlugin = _OverTLS


@dataclass(frozen=True)
class Limits:
    """Limits of a server for this session."""

    local_infile: bool
    max_allowed_packet: int
    """Bytes of one statement."""
    max_user_connections: int
    """Maximum number of concurrent connections of the user; 0 for unlimited."""


class Session:
    """One connection, reopened when it is lost."""

    def __init__(self, uri: str, settings: MySQL, local_files: str) -> None:
        self.where = masked(uri)
        self._uri, self._settings, self._local_files = uri, settings, local_files
        self._database: Any = None
        self._in_transaction = False
        self._used = 0.0
        self._limits: Limits | None = None
        self.repeated(lambda: None)

    @property
    def limits(self) -> Limits:
        """Return the limits of the server; they are read once."""
        if self._limits is None:
            asked = "SELECT @@local_infile, @@max_allowed_packet, @@max_user_connections"
            ((infile, packet, connections),) = self.execute(asked)
            self._limits = Limits(bool(infile), int(packet), max(0, int(connections)))
        return self._limits

    def connect(self) -> Any:
        """Open a connection. Raises UsageError for a wrong address, ServiceError if access is denied, or Transient."""
        hint = "write mysql://user@host:port/database, with %-escapes for special characters"
        try:
            parts = urlsplit(self._uri)
            port = parts.port or 3306
        except ValueError as error:
            raise UsageError(f"{self.where!r} is not an address", "--target", hint) from error
        database = parts.path.strip("/")
        if not parts.hostname or not database or "/" in database or parts.query or parts.fragment:
            raise UsageError(f"{self.where!r} contains no database", "--target", hint)
        secret = Secret.of(unquote(parts.password)) if parts.password else self._settings.password
        with self._translated(_origin(secret)):
            return mysql.connector.connect(
                host=parts.hostname,
                port=port,
                user=unquote(parts.username or ""),
                password=secret.reveal() if secret else "",
                database=database,
                use_pure=True,
                autocommit=True,
                charset=CHARSET,
                collation=COLLATION,
                connection_timeout=self._settings.connect_timeout,
                read_timeout=self._settings.read_timeout,
                write_timeout=self._settings.read_timeout,
                allow_local_infile=False,
                allow_local_infile_in_path=self._local_files,
                sql_mode="STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO",
                time_zone="+00:00",
                **self._tls(),
            )

    def _tls(self) -> dict[str, Any]:
        """Return the arguments for TLS. Without a CA to verify the certificate, any host could pose as the server."""
        settings = self._settings
        if not settings.ssl_ca:
            return {}
        own = {"ssl_cert": settings.ssl_cert, "ssl_key": settings.ssl_key} if settings.ssl_cert else {}
        return {"ssl_ca": settings.ssl_ca, "ssl_verify_cert": True, "ssl_verify_identity": True, **own}

    @contextmanager
    def _translated(self, password: str = "") -> Iterator[None]:
        """Translate the driver's errors into ServiceError with hints, also those for incomplete packets."""
        try:
            yield
        except mysql.connector.Error as error:
            raise problem_of(error, self.where, password) from error
        except _TORN as error:
            raise Transient(f"the database's answer is incomplete: {error!r}", self.where, UNTOUCHED) from error

    def _ready(self) -> Any:
        """Return the connection; reopen it if it is lost or was idle so long that the server may close it.

        Raises Transient inside a transaction: the rest of it must not run on another connection.
        """
        if self._in_transaction:
            if self._database is None:
                raise Transient("the connection was lost in a transaction", self.where, UNTOUCHED)
            return self._database
        if self._database is not None and time.monotonic() - self._used > self._settings.lease / 2:
            self._drop()
        if self._database is None:
            self._database = self.connect()
            with self._translated(), self._database.cursor() as cursor:
                # A frozen process loses its connection and with it all its locks.
                cursor.execute(
                    f"SET SESSION wait_timeout = {self._settings.lease:d}, lock_wait_timeout = {_DDL_WAIT:d}"
                )
                # The only isolation level that works with every binlog_format.
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self._used = time.monotonic()
        return self._database

    def _drop(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with suppress(mysql.connector.Error, OSError, *_TORN):
                database.close()

    def close(self) -> None:
        self._drop()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement that may be repeated; return its rows."""
        if self._in_transaction:
            return self._once(statement, values)
        return self.repeated(lambda: self._once(statement, values))

    def read(self, query: str, schema: pa.Schema) -> pa.Table:
        """Return the rows of a query in the columns of a schema, read in batches."""

        def run(cursor: Any) -> pa.Table:
            cursor.execute(query)
            batches = iter(lambda: cursor.fetchmany(_BATCH), [])
            return pa.Table.from_batches([_batch(rows, schema) for rows in batches], schema)

        return self.with_cursor(run) if self._in_transaction else self.repeated(lambda: self.with_cursor(run))

    def _once(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self._check_size(len(statement) + sum(len(value) for value in values if isinstance(value, str)))

        def run(cursor: Any) -> list[tuple[Any, ...]]:
            cursor.execute(statement, tuple(values))
            return cursor.fetchall() if cursor.with_rows else []

        return self.with_cursor(run)

    def _check_size(self, letters: int) -> None:
        """Raise ServiceError for a statement above the server's limit: the server may close the connection instead."""
        if letters > _LARGE and letters > self.limits.max_allowed_packet:
            error = mysql.connector.Error(msg=f"{letters:,} characters", errno=errorcode.ER_NET_PACKET_TOO_LARGE)
            raise problem_of(error, self.where)

    def with_cursor(self, work: Callable[[Any], Result]) -> Result:
        """Do work on a cursor. A failed connection is not used again."""
        try:
            with self._translated(), self._ready().cursor() as cursor:
                return work(cursor)
        except Busy:
            raise
        except Transient:
            self._drop()
            raise
        except (Stopped, KeyboardInterrupt, SystemExit):  # in the middle of an answer
            self._drop()
            raise
        finally:
            self._used = time.monotonic()

    def repeated(self, work: Callable[[], Result]) -> Result:
        """Do repeatable work on an open connection, with retries.

        Raises ServiceError for a server that stays read only longer than a failover.
        """
        first: list[float] = []

        def once() -> Result:
            try:
                self._ready()
                return work()
            except ReadOnly as error:
                first.append(time.monotonic())
                if first[-1] - first[0] < _FAILOVER:
                    raise
                raise ServiceError(error.what, error.where, error.hint) from error

        return retried(once, self._settings.deadline)

    def atomically(
        self, work: Callable[[], Result], happened: Callable[[], bool] | None = None, once: bool = False
    ) -> Result:
        """Do work in one transaction; retry all of it after temporary errors.

        ``happened`` reads from the database whether the transaction took place: it is called when the answer to the
        COMMIT is lost. Without it, the work must be idempotent. With ``once`` nothing is retried. Raises OutcomeUnknown
        if the database does not come back.
        """
        if once:
            self._ready()
            return self._transaction(work, happened)
        return self.repeated(lambda: self._transaction(work, happened))

    def _transaction(self, work: Callable[[], Result], happened: Callable[[], bool] | None) -> Result:
        self._once("START TRANSACTION")
        number = self._database.connection_id
        self._in_transaction = True
        try:
            result = work()
        except BaseException:
            with suppress(ServiceError):
                self._once("ROLLBACK")
            self._in_transaction = False
            raise
        try:
            try:
                self._once("COMMIT")
            finally:
                self._in_transaction = False
        except Transient as lost:
            if happened is None or not self._settled(number, happened, lost):
                raise
        return result

    def _settled(self, number: int, happened: Callable[[], bool], lost: Transient) -> bool:
        """Return whether a transaction whose COMMIT was not answered took place."""
        _log.warning("%s: the answer to a COMMIT is lost; reading its outcome from the ledger", self.where)

        def ask() -> bool:
            with suppress(ServiceError):  # the connection may already have ended
                self._once(f"KILL {number:d}")
            return self._transaction(happened, None)

        try:
            return self.repeated(ask)
        except Transient as error:
            hint = "`marts status` shows whether the run is live; run again to continue"
            raise OutcomeUnknown(f"the answer to the COMMIT is lost: {lost.what}", self.where, hint) from error

    @contextmanager
    def lock(self, name: str, seconds: int, holder: Callable[[], str]) -> Iterator[None]:
        """Hold a lock of the server. Raises TryLater if another session holds it for ``seconds``.

        A separate connection holds it, kept alive by a thread: a frozen process loses the lock.
        """
        quick = self._settings.model_copy(update={"read_timeout": _SLICE + self._settings.connect_timeout})
        guard = Session(self._uri, quick, self._local_files)
        try:
            guard._wait_for(name, seconds, holder)
            ended = threading.Event()
            beat = threading.Thread(target=guard._beat, args=(ended,), name="lock", daemon=True)
            beat.start()
            try:
                yield
            finally:
                ended.set()
                beat.join(self._settings.connect_timeout)
                if not beat.is_alive():
                    guard._release(name)
        finally:
            guard.close()

    def _wait_for(self, name: str, seconds: int, holder: Callable[[], str]) -> None:
        end = time.monotonic() + seconds
        waiting = False
        while True:
            wait = max(0, min(_SLICE, round(end - time.monotonic())))
            if self.execute("SELECT GET_LOCK(%s, %s)", [name, wait]) == [(1,)]:
                return
            if time.monotonic() >= end:
                hint = "wait until it ends, then run again"
                raise TryLater(f"another build holds the lock{holder()}", self.where, hint)
            if not waiting:
                _log.warning("%s: another build holds the lock%s; waiting up to %d s", self.where, holder(), seconds)
            waiting = True

    def _release(self, name: str) -> None:
        """Release a lock and await the answer: the server ends a closed connection, and with it its locks, later."""
        with suppress(ServiceError), self._translated(), self._database.cursor() as cursor:  # lost: it has ended
            cursor.execute("DO RELEASE_LOCK(%s)", [name])

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(self._settings.lease / 3):
            try:
                with self._translated(), self._database.cursor() as cursor:  # not reopened: it holds the lock
                    cursor.execute("SELECT 1")
                    cursor.fetchall()
            except ServiceError:
                # Another build may begin now. The epoch in the ledger prevents this one from publishing over it.
                _log.warning("%s: the connection that holds the lock is lost", self.where)
                return


def _batch(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows in the columns of a schema; flags are numbers in the database."""
    columns = [
        pa.array(map(bool, values) if pa.types.is_boolean(field.type) else values, field.type)
        for field, values in zip(schema, zip(*rows, strict=True), strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _origin(password: Secret | None) -> str:
    """Describe where a password comes from, for the hint of a refused login."""
    if password is None:
        return "no password is set: `marts secrets set mysql.password` sets one"
    in_address = password.plain or password.place == f"env:{TARGET_PASSWORD}"
    return f"the password comes from {'the address itself' if in_address else password.place}"
