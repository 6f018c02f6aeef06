"""Generated drops of a bank: the same bytes for a seed, and a build finds what was put into them."""

import json
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from packs.banking_histories import counts
from support.kit import Place, marts

from marts.banking.generate import generate
from marts.errors import UsageError
from marts.policy import Policy

LINES = 12_000


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_writes_the_same_bytes_and_another_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        generate(tmp_path / name, 3000, seed, days=40)
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")


def test_a_build_finds_each_flaw_and_fraud(place: Place) -> None:
    place.settings = {"pack": "banking"}
    place.policy = Policy()
    place.source.mkdir()
    truth = generate(place.source, LINES, 7, days=91)
    (place.source / "generated.json").unlink()
    work = list[float]()
    as_of = date.fromisoformat(str(truth["as_of"]))
    report = place.build(as_of=as_of, needs_start=lambda tasks: bool(work.append(tasks)))
    assert report.error is None, report.error
    assert 1 < max(work) < 8  # many small tasks are little work: no cluster is started for them
    rows = [row for row in counts(place) if row["key"].startswith("transactions/")]
    sums = {name: sum(int(row[name]) for row in rows) for name in ("rows_read", "clean", "quarantined", "duplicates")}
    assert sums == {
        "rows_read": truth["lines"],
        "clean": truth["transactions"],
        "quarantined": truth["flaws"],
        "duplicates": truth["corrections"],
    }
    with closing(place.warehouse(read_only=True)) as warehouse:
        wrong = warehouse.execute("SELECT transaction_id, problems FROM ledger_checks ORDER BY transaction_id")
        assert [transaction for transaction, _ in wrong] == truth["wrong_in_ledger"]
        problems = [problem for _, problem in wrong]
        assert problems.count("UNBALANCED") == truth["unbalanced"]
        assert problems.count("ONE_SIDED") == truth["one_sided"]
        touched = warehouse.execute(
            "SELECT DISTINCT account_key FROM account_balances WHERE NOT is_reconciled ORDER BY account_key"
        )
        assert 0 < len(touched) <= len(wrong) + 1  # the other account of each wrong entry
        ((differs,),) = warehouse.execute("SELECT MAX(ABS(difference)) FROM account_balances WHERE account_key = 900")
        ((errors,),) = warehouse.execute("SELECT SUM(ABS(difference)) FROM ledger_checks")
        assert differs <= errors  # the bank's own account has no other differences
        counted = "COUNT(*), COUNT(*) FILTER (is_high_risk), COUNT(*) FILTER (is_fraudulent)"
        ((every, risky, labelled),) = warehouse.execute(f"SELECT {counted} FROM fact_transactions")
        assert (every, labelled) == (truth["transactions"], truth["labelled"])
        assert labelled <= risky < every / 20
        query = "SELECT month, COUNT(*) FILTER (NOT is_reconciled) FROM account_balances GROUP BY month"
        month, differ = max(warehouse.execute(query), key=lambda row: row[1])
    flags = ["--month", month, "--limit", "500", "--json", "--pack", "banking", "--target", place.address]
    listed = json.loads(marts("banking", "unreconciled", "top", *flags).stdout)
    assert len(listed) == differ > 0
    assert all(Decimal(row["difference"]) for row in listed)


def test_each_shipped_pack_has_a_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    unknown = marts("banking", "risks", "top", code=2).exception
    assert isinstance(unknown, UsageError)
    assert 'set pack = "banking" in marts.toml' in unknown.hint
    printed = marts("demo", "--pack", "banking", "--lines", "3000", "--folder", "bank").stdout
    assert "high-risk transactions" in printed
    assert "marts init --pack banking" in printed
    assert "ask questions in a browser   marts serve" in printed
    monkeypatch.chdir(tmp_path / "bank")
    listed = json.loads(marts("banking", "risks", "top", "--json", "--limit", "2").stdout)
    assert len(listed) == 2
    assert "no rows" in marts("banking", "unreconciled", "top").stdout  # so few lines have no wrong entries
    every = json.loads(marts("banking", "risks", "top", "--json", "--limit", "50").stdout)
    scores = [(Decimal(row["risk_score"]), Decimal(row["amount"])) for row in every]
    assert scores == sorted(scores, reverse=True)
    own = json.loads(marts("banking", "risks", "show", str(listed[0]["customer_key"]), "--json").stdout)
    assert listed[0]["transaction_id"] in {row["transaction_id"] for row in own}
    marts("banking", "merchants", "top")
    account = json.loads(marts("banking", "accounts", "show", "1000000000", "--json").stdout)
    assert {row["status"] for row in account["dim_account"]} == {"ACTIVE"}
    assert [row["month"] for row in account["account_balances"]][:2] == ["2024-01", "2024-02"]
    printed = marts("banking", "accounts", "show", "1000000000").stdout
    assert "versions of account 1000000000" in printed
    assert "balances of account 1000000000" in printed
    unknown = marts("banking", "figures", "show", "x", code=2).exception
    assert isinstance(unknown, UsageError)
    assert "marts banking figures show lists all" in unknown.hint
    figures = json.loads(marts("banking", "figures", "show", "--month", "2024-03", "--json").stdout)
    assert {row["section"] for row in figures} == {"kpi", "revenue", "profitability", "portfolio"}
    assert {row["month"] for row in figures} == {"2024-03"}
    assert [row for row in figures if row["section"] == "kpi"] == json.loads(
        marts("banking", "figures", "show", "kpi", "--month", "2024-03", "--json").stdout
    )
    assert "No such command 'risks'" in marts("risks", "top", code=2).stderr


def test_a_generator_refuses_what_it_does_not_do(tmp_path: Path) -> None:
    for flags, says in (
        (("--pack", "bankng"), "unknown pack 'bankng'"),
        (("--days", "3"), "the drops of retail are of two years"),
        (("--pack", "banking", "--like", "sap"), "is of the retail pack"),
    ):
        assert says in str(marts("generate", str(tmp_path / "x"), *flags, code=2).exception)
