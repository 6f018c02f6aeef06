"""Translate errors of MySQL and MariaDB, by number, into errors with hints."""

import mysql.connector
from mysql.connector import errorcode

from marts.errors import Busy, ServiceError, Transient

UNTOUCHED = "the live marts are untouched; check that the server is up and reachable: `marts doctor`"

_TOO_SLOW = (
    mysql.connector.errors.ConnectionTimeoutError,
    mysql.connector.errors.ReadTimeoutError,
    mysql.connector.errors.WriteTimeoutError,
)
_LOST = {
    *(2002, 2003, 2005, 2006, 2013, 2055),  # cannot connect, host temporarily unknown, server gone, connection lost
    *(1053, 1077, 1079, 1080, 1927, 4031),  # the server shuts down, or killed or closed the connection
    *(1158, 1159, 1160, 1161, 3024),  # the network failed or exceeded a timeout
    1047,  # a node of a Galera cluster that is not in sync yet
}
"""Temporary errors after which the connection is unusable."""
_BUSY = {errorcode.ER_LOCK_WAIT_TIMEOUT, errorcode.ER_LOCK_DEADLOCK, errorcode.ER_QUERY_INTERRUPTED}
_RESOURCE = 1226
_CROWDED = {1040, 1203, _RESOURCE}
_READ_ONLY = {1290, 1792, 1836, 1874}
_DISK_FULL = {1021, 1114}
_DENIED = {1044, 1142, 1143, 1227, 1370}
_LOGIN = {1045, 1698}
_RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW, SHOW VIEW, ALTER, DROP"
_HINTS = {
    1049: ("the database does not exist", "create it first: CREATE DATABASE …"),
    1118: (
        "the rows are too large for the database",
        "set innodb_default_row_format = dynamic; a server with a small innodb_page_size must be set up again with 16k",
    ),
    1146: ("a table is missing", "run marts build once: it creates missing tables"),
    1153: ("a statement is too large for the server", "raise its max_allowed_packet: 16M is enough"),
    1347: (
        "a table has the name of a view of Martwright",
        "move it away: RENAME TABLE its_name TO another_name; then run again",
    ),
    1665: (
        "the server's binlog_format does not allow the statements of a build",
        "SET GLOBAL binlog_format = 'ROW' (or MIXED) at the server, then run again",
    ),
    1820: ("the user's password has expired", "ALTER USER … IDENTIFIED BY a new one, and set it as mysql.password"),
    1862: ("the user's password has expired", "ALTER USER … IDENTIFIED BY a new one, and set it as mysql.password"),
    1969: ("a statement took longer than the server allows", "raise max_statement_time for this user"),
    2020: ("a statement is too large for the server", "raise its max_allowed_packet: 16M is enough"),
    3159: ("the server accepts encrypted connections only", "set mysql.ssl_ca to the CA of its certificate"),
}
"""Permanent errors, with message and hint."""


class Denied(ServiceError):
    """The user lacks a right, or may not log in."""


class ReadOnly(Transient):
    """The server rejects writes: it is in a failover, or a replica."""


def problem_of(error: mysql.connector.Error, where: str, password: str = "") -> ServiceError:
    """Return the driver's error as a ServiceError, by its number. ``password`` states where it comes from."""
    message = "timed out" if isinstance(error, _TOO_SLOW) else " ".join(str(error.msg or error).split())
    number = error.errno or -1
    if number in _LOGIN | _DENIED:
        login = f"check the user and its password{f'; {password}' if password else ''}"
        hint = (
            login
            if number in _LOGIN
            else f"grant this user the rights: SELECT for a dimension table; for the target {_RIGHTS}"
        )
        return Denied(f"the database denies access: {message}", where, hint)
    if number in _BUSY:
        return Busy(f"the database is busy: {message}", where, "run again later")
    if number == _RESOURCE and "max_user_connections" not in message:  # a quota of an hour
        hint = "raise its MAX_QUERIES_PER_HOUR, MAX_UPDATES_PER_HOUR or MAX_CONNECTIONS_PER_HOUR, or 0 for none"
        return ServiceError(f"the database user has used up a quota: {message}", where, hint)
    if number in _CROWDED:
        hint = (
            "a build needs mysql.loaders + 2 connections, and at least 3: set mysql.loaders lower, or raise "
            "max_connections of the server or MAX_USER_CONNECTIONS of the user"
        )
        return Transient(f"the database has no connection left: {message}", where, hint)
    if number in _READ_ONLY and "read" in message.lower():
        hint = "use the address of the server that accepts writes, not of a replica; the live marts are untouched"
        return ReadOnly(f"the database is read only: {message}", where, hint)
    if number in _DISK_FULL or any(words in message.lower() for words in ("error 28", "errno: 28", "no space left")):
        hint = "free some space at the server, then run again; the live marts are untouched"
        return ServiceError(f"the database's disk is full: {message}", where, hint)
    if number in _HINTS:
        what, hint = _HINTS[number]
        return ServiceError(f"{what}: {message}", where, hint)
    if "certificate" in message.lower() or "SSL" in message:
        return ServiceError(f"no secure connection: {message}", where, _secure(message))
    closed = isinstance(error, mysql.connector.OperationalError) and number == -1
    if number in _LOST or closed or isinstance(error, _TOO_SLOW):
        return Transient(f"the database does not answer: {message}", where, UNTOUCHED)
    hint = f"the live marts are untouched; look up error {number} in the server's manual, and run `marts doctor`"
    return ServiceError(f"the database failed: {message}", where, hint)


def _secure(message: str) -> str:
    if "requires SSL" in message:
        return "the password is sent over TLS only: give the server a certificate, and set mysql.ssl_ca to its CA"
    return "check mysql.ssl_ca, and that the address names the host as its certificate does"
