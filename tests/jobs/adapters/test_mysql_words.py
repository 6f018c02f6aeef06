"""What we send to a database: no reserved word as a name, no function that a newer one has dropped."""

import re
from contextlib import closing
from typing import Any

import pytest
from mysql.connector.cursor import MySQLCursor
from support.kit import Place, line, marts, sales
from support.retail import MARTS
from support.servers import SqlServer

from jobs.adapters.warehouse.mysql import MySQLWarehouse
from jobs.adapters.warehouse.sql_tables import TABLES
from jobs.ports.audit import AuditEvent
from jobs.ports.records import Erasure
from marts.policy import Policy

EVENT = AuditEvent("erase-1", "2024-05-01T00:00:00", "Zoë", "erase", "customer 1", "asked to")
GONE = """
MD5 SHA1 SHA PASSWORD OLD_PASSWORD ENCRYPT DES_ENCRYPT DES_DECRYPT ENCODE DECODE MASTER_POS_WAIT SOURCE_POS_WAIT
WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS GLENGTH AREA CONTAINS CROSSES DISJOINT EQUALS INTERSECTS OVERLAPS TOUCHES WITHIN
ASTEXT ASBINARY GEOMFROMTEXT NUMPOINTS SQL_CALC_FOUND_ROWS FOUND_ROWS PROCEDURE_ANALYSE TX_ISOLATION TX_READ_ONLY
""".split()
"""Functions and variables that MySQL has dropped by 9, or has announced to drop."""
RESERVED = """
CUBE CUME_DIST DENSE_RANK EMPTY EXCEPT FIRST_VALUE FUNCTION GROUPING GROUPS INTERSECT JSON_TABLE LAG LAST_VALUE LATERAL
LEAD LIBRARY MANUAL NTH_VALUE NTILE OF OVER PARALLEL PERCENT_RANK QUALIFY RANK RECURSIVE ROW_NUMBER SYSTEM TABLESAMPLE
WINDOW OFFSET RETURNING ROWS
""".split()
"""Words that MySQL 8 and 9, or MariaDB 11 and 12, have come to reserve."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All statements that this process sends to a database."""
    statements: list[str] = []
    execute = MySQLCursor.execute

    def note(self: MySQLCursor, operation: Any, *arguments: Any, **more: Any) -> Any:
        statements.append(str(operation))
        return execute(self, operation, *arguments, **more)

    monkeypatch.setattr(MySQLCursor, "execute", note)
    return statements


@pytest.fixture
def used(place: Place, mariadb: SqlServer, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements of builds and commands, without what is between quotes."""
    uri = mariadb.make_database("words")
    place.target = uri
    place.judge = True
    place.put_golden()
    place.build()
    place.put("sales/1.csv", sales(line("N1", day="2024-02-03")))
    place.put("sales/2.csv", sales(*(line(f"B{n}", day="no") for n in range(9))))
    assert place.build().outcome == "published"
    monkeypatch.setenv("MARTS_TARGET", uri)
    monkeypatch.setenv("MARTS_SOURCE", str(place.source))
    monkeypatch.setenv("MARTS_STATE", place.configured().state_uri)
    for command in (
        ["status"],
        ["history", "1.csv"],
        ["plan"],
        ["quarantine", "list"],
        ["rollback", "--why", "words"],
        ["customers", "top"],
        ["sales", "top"],
        ["vacuum"],
        ["audit", "list"],
        ["notify", "list"],
        ["report"],
        ["quarantine", "export", "sales/2.csv"],
        ["quarantine", "accept", "sales/2.csv", "--why", "words"],
        ["check", "ids"],
        ["audit", "verify"],
        ["withdraw", "list"],
    ):
        marts(*command)
    (place.source / "sales" / "golden.csv").unlink()
    assert place.build().exit_code == 65  # most of the rows are gone: somebody has to decide
    marts("withdraw", "refuse", "sales/golden.csv", "--why", "words")
    marts("withdraw", "accept", "sales/golden.csv", "--why", "words")
    place.put("sales/golden_2.csv", sales(line("N9")))
    fallen = place.build(policy=Policy(max_fall=0.01, max_fall_from=1))
    marts("accept-fall", fallen.run_id, "--why", "words")
    marts("erase", "customer", "1", "--why", "words", "--yes")
    with closing(place.warehouse()) as opened:
        assert isinstance(opened, MySQLWarehouse)
        opened.diagnose()
        opened.seals()
        opened.erase([Erasure(0, "salt", "2024"), Erasure(1, "digest", "2024")], 1, EVENT)
        opened.read_table("customers_data_mart", ["customer_id"])
        ((last,),) = opened.execute("SELECT run_id FROM marts_epoch")
        opened.clean_up(last)
    assert len(sent) > 100
    return [re.sub(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"", "''", statement) for statement in sent]


def own_names() -> set[str]:
    """Tables, columns and aliases that we give."""
    names = {"marts_numbers", "number", "generation", "r", "l"}
    for table, (columns, _) in TABLES.items():
        names |= {table, *columns}
    for mart in MARTS.values():
        names |= {mart.table, f"{mart.table}_rows", *(column.name for column in mart.columns)}
    return names


@pytest.mark.mysql
def test_no_statement_asks_for_a_function_that_is_dropped_or_uses_a_reserved_word_as_a_name(
    used: list[str], mariadb: SqlServer
) -> None:
    calls = {word.upper() for statement in used for word in re.findall(r"([A-Za-z_]\w*)\(", statement)}
    variables = {word.upper() for statement in used for word in re.findall(r"@@(?:\w+\.)?(\w+)", statement)}
    assert {"COUNT", "LAST_INSERT_ID"} <= calls
    # SQLAlchemy asks each server by the names that it has.
    server_names = set() if mariadb.kind == "mysql" else {"TX_ISOLATION"}
    assert (calls | variables) & set(GONE) - server_names == set()
    aliases = {name for statement in used for name in re.findall(r"\bAS ([A-Za-z_]\w*)", statement)}
    names = {name.upper() for name in own_names() | aliases}
    assert names & set(RESERVED) == set()
    if mariadb.kind == "mysql":
        reserved = {str(word) for (word,) in mariadb.run(f"SELECT word FROM {KEYWORDS} WHERE reserved = 1")}
        assert len(reserved) > 200
        # What is cast to is a type, and what a view is made of a query, though both come after AS.
        assert names & reserved - {"CHAR", "SIGNED", "DECIMAL", "SELECT"} == set()


KEYWORDS = "information_schema.keywords"


def test_names_that_a_build_makes_are_reserved_by_no_server() -> None:
    assert {name.upper() for name in own_names()} & set(RESERVED) == set()
