# ruff: noqa: DTZ001 - times of the business time zone
"""A fact whose rows have times: its day is derived, SQL reads both, and marts have times of microseconds."""

import json
from collections.abc import Iterable
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.kit import marts
from support.servers import SqlServer

from jobs.adapters.warehouse.open import open_warehouse
from jobs.config.load import load

PACK = """
name = "payments"
about = "Payments of accounts"

[drops.payments]
at = "paid_at"
shard = "account_id"
identity = { id = "payment_id", within = ["day"] }
columns = [
    ["payment_id", "text", "the payment"],
    ["account_id", "id", "whose"],
    ["paid_at", "time", "when"],
    ["booked_at", "time?", "when it was booked", "optional", "stored as booked_on"],
]

[tables.payments_of_days]
publish = "account_payments"
per = "month"
partition = "day"
whole = false
reads = ["payments"]
sql = "payments.sql"
key = ["payment_id", "paid_on"]
columns = [
    ["payment_id", "text", "The payment."],
    ["account_id", "id", "The account."],
    ["paid_on", "date", "The day."],
    ["paid_at", "time?", "When.", "null if only the day is known"],
    ["booked_at", "time?", "When it was booked.", "null if that is not known"],
    ["place", "count", "Its place among those of the account and day."],
]

[views.payments]
table = "payments_of_days"
help = "Query payments."

[views.payments.show]
title = "payments of account {}"
help = "Show the payments of an account."
by = "account_id"
noun = "account"
order = ["paid_on", "place"]
"""
SQL = """
SELECT payment_id, account_id, paid_at_day AS paid_on, paid_at, booked_at,
    row_number() OVER (PARTITION BY account_id, paid_at_day ORDER BY paid_at NULLS FIRST, payment_id) AS place
FROM payments ORDER BY payment_id, paid_on
"""
SUITES = {
    "payments": [
        ("expect_column_values_to_be_between", {"column": "paid_at", "min_value": "2000-01-01"}),
        ("expect_column_values_to_be_of_type", {"column": "booked_at", "type_": "datetime"}),
        ("expect_column_max_to_be_between", {"column": "paid_at", "max_value": "2024-04-02"}),
        ("expect_compound_columns_to_be_unique", {"column_list": ["account_id", "paid_at"]}),
    ],
    "account_payments": [
        ("expect_column_values_to_be_between", {"column": "paid_at", "min_value": "2000-01-01"}),
        ("expect_column_values_to_not_be_null", {"column": "paid_on"}),
    ],
}
HEADER = "payment_id,account_id,paid_at,booked_at\n"
ROWS = """P1,1,2024-03-31T23:30:00Z,2024-04-02
P2,1,2024-04-01 01:00:00.1234567,2024-04-02T08:00:00+05:30
P3,1,2024-04-01,
P4,1,20240401T00:59:59.5,
P5,2,1999-12-31 10:00:00,
P6,2,2024-04-01 25:00:00,
"""


def expected() -> list[tuple[Any, ...]]:
    """Return the rows in Berlin: two hours before UTC from March 31."""
    april = date(2024, 4, 1)
    return [
        ("P1", 1, april, datetime(2024, 4, 1, 1, 30), None, 4),
        ("P2", 1, april, datetime(2024, 4, 1, 1, 0, 0, 123456), datetime(2024, 4, 2, 4, 30), 3),
        ("P3", 1, april, None, None, 1),
        ("P4", 1, april, datetime(2024, 4, 1, 0, 59, 59, 500000), None, 2),
    ]


def write(folder: Path, files: Iterable[tuple[str, str]]) -> None:
    for name, text in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture(params=["DuckDB", pytest.param("a database server", marks=pytest.mark.database)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "DuckDB":
        return f"duckdb://{tmp_path}/m.duckdb"
    database: SqlServer = request.getfixturevalue("mariadb")
    return database.make_database(f"times_{uuid4().hex[:12]}")


def test_times_are_those_of_the_business_time_zone(
    tmp_path: Path, target: str, small_builds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARTS_QUALITY__JUDGE", "true")
    monkeypatch.setenv("MARTS_TARGET", target)
    rules = {
        f"pack/expectations/{name}.json": json.dumps(
            {"expectations": [{"type": type_, "kwargs": kwargs, "severity": "critical"} for type_, kwargs in entries]}
        )
        for name, entries in SUITES.items()
    }
    write(tmp_path, [("pack/pack.toml", PACK), ("pack/payments.sql", SQL), *rules.items()])
    write(tmp_path, [("drops/payments/a.csv", HEADER + ROWS)])
    write(tmp_path, [("policy.toml", 'business_timezone = "Europe/Berlin"\nmax_bad_ratio = 1.0\n')])
    places = {"source": "drops", "state": "state", "pack": "pack", "policy": "policy.toml"}
    write(tmp_path, [("marts.toml", "".join(f'{name} = "{tmp_path / path}"\n' for name, path in places.items()))])
    flags = ["--config", str(tmp_path / "marts.toml")]
    assert marts("pack", "check", str(tmp_path / "pack")).exit_code == 0
    marts("build", *flags, "--as-of", "2024-12-31")
    settings = load(str(tmp_path / "marts.toml"), {})
    with closing(open_warehouse(settings.target or "", settings.mysql, settings.domain, read_only=True)) as warehouse:
        names = "payment_id, account_id, paid_on, paid_at, booked_at, place"
        rows = warehouse.execute(f"SELECT {names} FROM account_payments ORDER BY payment_id")
    assert [tuple(row) for row in rows] == expected()
    quarantined = marts("quarantine", "show", "payments/a.csv", *flags).stdout
    assert "paid_at is not an ISO date or timestamp: 2024-04-01 25:00:00" in quarantined
    assert "1999-12-31" in quarantined
    (first, *_) = json.loads(marts("payments", "show", "1", *flags, "--json").stdout)
    assert first["paid_at"] is None
    assert "2024-04-01 00:59:59.5" in marts("payments", "show", "1", *flags, "--csv").stdout
    tried = marts("sources", "try", str(tmp_path / "drops/payments/a.csv"), *flags, code=65).stdout
    assert "2024-04-01 01:30:00" in tried


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('["paid_at", "time", "when"]', '["paid_at", "text", "when"]', "at: paid_at must be of type date or time"),
        ('at = "paid_at"', 'key = "payment_id"', "time is a type of facts"),
        ('"stored as booked_on"', '"stored as paid_at"', "paid_at: two columns are stored under this name"),
        ('within = ["day"]', 'within = ["paid_at"]', "paid_at is a time: name day or month"),
        ('["paid_on", "date", "The day."]', '["paid_on", "time", "The day."]', "needs a column of type date"),
    ],
)
def test_what_is_wrong_with_a_time_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in PACK
    write(tmp_path, [("pack.toml", PACK.replace(old, new)), ("payments.sql", SQL)])
    assert says in str(marts("pack", "check", str(tmp_path), code=2).exception)
