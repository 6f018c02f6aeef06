"""Types of columns that the shipped pack does not use: value lists, percents, decimals of 4 and 6 digits."""

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from support.kit import marts
from support.servers import SqlServer

from jobs.adapters.warehouse.open import open_warehouse
from jobs.config.load import load

pytestmark = [pytest.mark.usefixtures("small_builds")]
PACK = """
name = "payments"
about = "Payments of accounts"

[drops.payments]
at = "day"
shard = "account_id"
values.status = { COMPLETED = ["Success", "APPROVED"], FAILED = ["declined"] }
values.kind = ["FEE", "INTEREST"]
columns = [
    ["account_id", "id", "whose"],
    ["day", "date", "when"],
    ["status", "text(20)", "how it ended"],
    ["kind", "text?", "what it is", "optional"],
    ["fee", "percent", "of the amount"],
    ["rate", "decimal(4)?", "exchange rate"],
    ["weight", "decimal(6)", "any decimal"],
]

[tables.account_months]
per = "month"
reads = ["payments"]
sql = "months.sql"
key = ["account_id", "status"]

[tables.accounts]
publish = "account_payments"
per = "all"
reads = ["account_months"]
sql = "accounts.sql"
key = ["account_id", "status"]
columns = [
    ["account_id", "id", "The account."],
    ["status", "text(20)", "The status."],
    ["kinds", "text?", "Kinds.", "null if none is given"],
    ["fee", "percent", "The highest fee."],
    ["rate", "decimal(4)?", "The highest rate.", "null if none is given"],
    ["weight", "decimal(6)", "Sum of weights."],
]
"""
MONTHS = """
SELECT account_id, status, string_agg(DISTINCT kind, ',' ORDER BY kind) AS kinds, max(fee_hundredths) AS fee,
    max(rate_ten_thousandths) AS rate, sum(weight_millionths)::BIGINT AS weight
FROM payments GROUP BY ALL ORDER BY account_id, status
"""
ACCOUNTS = """
SELECT account_id, status, any_value(kinds) AS kinds, percent(max(fee)) AS fee, decimal4(max(rate)) AS rate,
    decimal6(sum(weight)) AS weight FROM account_months GROUP BY account_id, status
"""
HEADER = "account_id,day,status,kind,fee,rate,weight\n"
GOOD = """1,2024-01-02,success,fee,2.5,1.0835,0.000001
1,2024-01-02,Completed,Interest,99.99,-1.5,-2.5
1,2024-01-03,DECLINED,,0,,7
2,2024-01-03, failed ,,100,0.0001,123456789012.123456
"""
BAD = """3,2024-01-03,done,,1,1,1
3,2024-01-03,failed,tax,1,1,1
3,2024-01-03,failed,,100.01,1,1
3,2024-01-03,failed,,-1,1,1
3,2024-01-03,failed,,1.005,1,1
3,2024-01-03,failed,,1,1.00001,1
3,2024-01-03,failed,,1,1,0.0000001
"""


@pytest.mark.database
def test_values_of_these_types_are_exact_in_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mariadb: SqlServer
) -> None:
    check(tmp_path, monkeypatch, mariadb.make_database(f"types_{uuid4().hex[:12]}"))


def test_values_of_these_types_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(tmp_path, monkeypatch, f"duckdb://{tmp_path}/m.duckdb")


def check(folder: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    pack = folder / "pack"
    pack.mkdir()
    for name, text in (("pack.toml", PACK), ("months.sql", MONTHS), ("accounts.sql", ACCOUNTS)):
        (pack / name).write_text(text)
    assert marts("pack", "check", str(pack)).exit_code == 0
    (folder / "drops" / "payments").mkdir(parents=True)
    (folder / "drops" / "payments" / "a.csv").write_text(HEADER + GOOD + BAD)
    (folder / "policy.toml").write_text("max_bad_ratio = 1.0\n")
    places = {"source": folder / "drops", "state": folder / "state", "pack": pack, "policy": folder / "policy.toml"}
    (folder / "marts.toml").write_text("".join(f'{name} = "{value}"\n' for name, value in places.items()))
    monkeypatch.setenv("MARTS_TARGET", target)
    flags = ["--config", str(folder / "marts.toml")]
    marts("build", *flags, "--as-of", "2024-12-31")
    settings = load(str(folder / "marts.toml"), {})
    with closing(open_warehouse(settings.target or "", settings.mysql, settings.domain, read_only=True)) as warehouse:
        rows = warehouse.execute(
            "SELECT account_id, status, kinds, fee, rate, weight FROM account_payments ORDER BY account_id, status"
        )
    assert [tuple(row) for row in rows] == [
        (1, "COMPLETED", "FEE,INTEREST", Decimal("99.99"), Decimal("1.0835"), Decimal("-2.499999")),
        (1, "FAILED", None, Decimal(0), None, Decimal(7)),
        (2, "FAILED", None, Decimal(100), Decimal("0.0001"), Decimal("123456789012.123456")),
    ]
    text = marts("quarantine", "show", "payments/a.csv", *flags).stdout
    for reason in (
        "status is not one of COMPLETED, FAILED",
        "kind is not one of FEE, INTEREST",
        "fee is not between 0 and 100",
        "fee is not a decimal number with at most 2 digits after the point",
        "rate is not a decimal number with at most 4 digits after the point",
        "weight is not a decimal number with at most 6 digits after the point",
    ):
        assert reason in " ".join(text.split()), reason


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"decimal(4)?", "exchange', '"decimal(3)?", "exchange', "a decimal has 4 or 6 digits"),
        ('"decimal(6)", "any', '"decimal", "any', "a decimal has 4 or 6 digits"),
        ("values.kind", "values.kid", "did you mean 'kind'"),
        ("values.kind", "values.fee", "values: fee must be of type text"),
        ('["FEE", "INTEREST"]', '["FEE", "fee"]', "values: kind has the word 'FEE' twice"),
    ],
)
def test_what_is_wrong_with_such_columns_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in PACK
    for name, text in (("pack.toml", PACK.replace(old, new, 1)), ("months.sql", MONTHS), ("accounts.sql", ACCOUNTS)):
        (tmp_path / name).write_text(text)
    assert says in str(marts("pack", "check", str(tmp_path), code=2).exception)


def test_a_table_by_a_text_is_computed_in_parts_and_patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_LIMITS__FINISH_ROWS", "4")
    pack = tmp_path / "pack"
    pack.mkdir()
    changed = PACK.replace('["account_id", "status"]', '["status", "account_id"]').replace('per = "all"', 'per = "key"')
    changed = changed.replace('values.status = { COMPLETED = ["Success", "APPROVED"], FAILED = ["declined"] }\n', "")
    months = MONTHS.replace("ORDER BY account_id, status", "ORDER BY status, account_id")
    for name, text in (("pack.toml", changed), ("months.sql", months), ("accounts.sql", ACCOUNTS)):
        (pack / name).write_text(text)
    source = tmp_path / "drops" / "payments"
    source.mkdir(parents=True)
    words = ["a", "A", "ab", "b", "é", "z", "日本", "\U0001f600"]
    for number, word in enumerate(words):
        lines = [f"{account},2024-{number + 1:02d}-02,{word},FEE,1,,1\n" for account in (1, 2)]
        (source / f"{number}.csv").write_text(HEADER + "".join(lines))
    flags = ["--source", str(tmp_path / "drops"), "--target", f"duckdb://{tmp_path}/m.duckdb", "--pack", str(pack)]

    def rows() -> list[tuple[str, int, Decimal]]:
        settings = load(None, {"target": f"duckdb://{tmp_path}/m.duckdb", "pack": str(pack)})
        with closing(open_warehouse(settings.target or "", settings.mysql, settings.domain, read_only=True)) as opened:
            listed = opened.execute(
                "SELECT status, account_id, weight FROM account_payments ORDER BY status, account_id"
            )
        return [(str(status), int(account), weight) for status, account, weight in listed]

    marts("build", *flags, "--as-of", "2024-12-31")
    expected = {(word, account): Decimal(1) for word in words for account in (1, 2)}
    assert rows() == sorted((*key, weight) for key, weight in expected.items())
    assert len(list(tmp_path.rglob("accounts/*/part-*.parquet"))) > 1
    (source / "more.csv").write_text(f"{HEADER}1,2024-12-02,é,FEE,1,,5\n3,2024-12-02,\U0001f601,FEE,1,,7\n")
    marts("build", *flags, "--as-of", "2024-12-31")
    expected |= {("é", 1): Decimal(6), ("\U0001f601", 3): Decimal(7)}
    assert rows() == sorted((*key, weight) for key, weight in expected.items())
