"""Errors of MySQL and MariaDB, each by its number: what is reported, and what to do."""

import mysql.connector
import pytest
from mysql.connector import errorcode
from mysql.connector.errors import OperationalError, get_mysql_exception

from jobs.adapters.warehouse.mysql_problems import ReadOnly, problem_of
from marts.errors import Busy, ServiceError, Transient

ASKS = "the server is up"


def problem(number: int, message: str) -> ServiceError:
    """What we make of an error as the driver raises it."""
    error = get_mysql_exception(number, message) if number > 0 else mysql.connector.DatabaseError(msg=message)
    return problem_of(error, "mysql://host/db")


@pytest.mark.parametrize(
    ("number", "message", "what", "hint"),
    [
        (1044, "Access denied for user 'u'@'%' to database 'd'", "denies access", "SHOW VIEW"),
        (
            1045,
            "Access denied for user 'u'@'h' (using password: YES)",
            "denies access",
            "check the user and its password",
        ),
        (1142, "INSERT command denied to user 'u'@'h' for table 't'", "denies access", "rights"),
        (1370, "execute command denied to user 'u'@'%' for routine 'd.SHA1'", "denies access", "rights"),
        (1226, "User 'u' has exceeded the 'max_updates' resource", "a quota", "MAX_UPDATES_PER_HOUR"),
        (1049, "Unknown database 'd'", "does not exist", "CREATE DATABASE"),
        (1153, "Got a packet bigger than 'max_allowed_packet' bytes", "too large", "max_allowed_packet"),
        (1347, "'d.customers_data_mart' is not of type 'VIEW'", "the name of a view of Martwright", "RENAME TABLE"),
        (1665, "Cannot execute statement: impossible to write to binary log", "binlog_format", "binlog_format = 'ROW'"),
        (1820, "You must reset your password", "expired", "ALTER USER"),
        (1021, "Disk full (/tmp); waiting for someone to free some space", "disk is full", "free some space"),
        (1114, "The table 'customers_data_mart_rows' is full", "disk is full", "free some space"),
        (1030, "Got error 28 from storage engine", "disk is full", "free some space"),
        (3, "Error writing file '/tmp/x' (Errcode: 28 - No space left on device)", "disk is full", "free some space"),
        (3159, "Connections using insecure transport are prohibited", "encrypted connections only", "mysql.ssl_ca"),
        (1969, "Query execution was interrupted (max_statement_time exceeded)", "took longer", "max_statement_time"),
        (1064, "You have an error in your SQL syntax", "the database failed", "error 1064"),
    ],
)
def test_an_error_that_does_not_pass_is_reported_with_a_hint_of_its_own(
    number: int, message: str, what: str, hint: str
) -> None:
    error = problem(number, message)
    assert what in error.what
    assert hint in error.hint
    assert ASKS not in error.hint
    assert not isinstance(error, Transient)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1040, "Too many connections"),
        (1203, "User u already has more than 'max_user_connections' active connections"),
        (1226, "User 'u' has exceeded the 'max_user_connections' resource (current value: 2)"),
    ],
)
def test_too_many_connections_are_tried_again_and_mysql_loaders_is_named(number: int, message: str) -> None:
    error = problem(number, message)
    assert isinstance(error, Transient)
    assert "mysql.loaders + 2" in error.hint
    assert ASKS not in error.hint


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1290, "The MySQL server is running with the --read-only option so it cannot execute this statement"),
        (1290, "The MySQL server is running with the --super-read-only option so it cannot execute this statement"),
        (1836, "Running in read-only mode"),
        (1792, "Cannot execute statement in a READ ONLY transaction."),
    ],
)
def test_a_server_that_is_read_only_is_no_server_that_is_down(number: int, message: str) -> None:
    error = problem(number, message)
    assert isinstance(error, ReadOnly)
    assert "accepts writes" in error.hint


def test_another_option_that_forbids_a_statement_is_no_read_only_server() -> None:
    error = problem(1290, "The MySQL server is running with the --secure-file-priv option so it cannot execute this")
    assert not isinstance(error, Transient)


@pytest.mark.parametrize("number", [1205, 1213, 1317])
def test_what_others_hold_is_busy(number: int) -> None:
    assert isinstance(problem(number, "try restarting transaction"), Busy)


@pytest.mark.parametrize("number", [2002, 2003, 2005, 2006, 2013, 2055, 1053, 1927, 4031])
def test_a_server_that_does_not_answer_may_come_back_and_the_hint_asks_whether_it_is_up(number: int) -> None:
    error = problem_of(OperationalError(msg="gone", errno=number), "mysql://host/db")
    assert type(error) is Transient
    assert ASKS in error.hint


def test_each_error_of_the_driver_is_translated() -> None:
    for name, number in vars(errorcode).items():
        if name.startswith(("ER_", "CR_")) and isinstance(number, int):
            error = problem_of(mysql.connector.Error(msg=name, errno=number), "mysql://host/db")
            assert error.what
            assert error.hint, name
