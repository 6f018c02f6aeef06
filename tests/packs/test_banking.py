"""The banking pack gives the golden tables, and on random histories those of an independent oracle."""

import csv
import json
import re
import shutil
from collections import defaultdict
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from packs.banking_histories import CASE, MARTS, OWN, PACK, counts, given, run_history, wanted
from support.bank_pages import golden_publication
from support.kit import Once, Place, marts
from support.post import MailServer
from support.served import Served
from support.servers import SqlServer

from jobs.config import packs
from jobs.pages.answer import answer
from jobs.pages.choice import Choice
from jobs.pages.content import as_json
from marts import banking
from marts.policy import Policy

EXPECTED = CASE / "expected"


def deliveries() -> list[str]:
    """Return the keys of the drops in order of delivery."""
    with (CASE / "input/deliveries.csv").open() as file:
        return [row["key"] for row in csv.DictReader(file)]


def deliver(bank: Place) -> None:
    """Deliver all drops of the golden case."""
    for key in deliveries():
        bank.put(key, (CASE / "input" / key).read_bytes())


@pytest.fixture
def bank(place: Place) -> Place:
    place.policy, place.settings = Policy(max_bad_ratio=1, own=OWN), {"pack": "banking"}
    return place


@pytest.fixture
def few_marts(bank: Place) -> None:
    """Leave out the marts that no alert reads: most of the time of a build."""
    bank.settings["leave_out"] = [name for name in PACK.marts if name not in ("fact_transactions", "ledger_checks")]


def golden_bank(place: Place) -> None:
    """Deliver all drops of the golden case, and build once."""
    place.policy, place.settings = Policy(max_bad_ratio=1, own=OWN), {"pack": "banking"}
    deliver(place)
    assert place.build().error is None


@pytest.mark.database
def test_the_golden_case_comes_out_one_drop_after_the_other(bank: Place, mariadb: SqlServer) -> None:
    bank.target = mariadb.make_database("golden_bank")
    for key in deliveries():
        bank.put(key, (CASE / "input" / key).read_bytes())
        report = bank.build()
        lacks_lines = report.error is not None and report.error.what.startswith("no drop under transactions/")
        assert report.error is None or lacks_lines, report.error
    for name in MARTS:
        assert given(bank, name, wanted(name, EXPECTED)) == wanted(name, EXPECTED), name
    assert counts(bank) == wanted("drops", EXPECTED)
    require_views(bank)


@pytest.mark.usefixtures("few_marts")
def test_a_correction_is_listed_with_what_it_changes(bank: Place) -> None:
    header = "transaction_id,transaction_time,customer_id,transaction_type,amount,status,merchant_id,notes"
    for key, status in (("a", "PENDING"), ("b", "COMPLETED")):
        row = f"T1,2024-01-03T09:00:00,1,PAYMENT,5.00,{status},501,"
        bank.put(f"transactions/{key}.csv", f"{header}\n{row}\n")
        bank.build()
    given = json.loads(marts("history", "--replaced", "b.csv", "--json", "--pack", "banking", *bank.flags).stdout)
    assert [(row["status"], row["fate"]) for row in given] == [("PENDING", "replaced"), ("COMPLETED", "counts")]
    assert "merchant_id" not in given[0], "it is the same in both"


def require_views(bank: Place) -> None:
    """Compare the views in the database with the tables that they are views of."""
    with closing(bank.warehouse(read_only=True)) as warehouse:
        rows = warehouse.execute(
            "SELECT transaction_id, customer_name, customer_segment, channel_name, merchant_name, amount "
            "FROM processed_transactions ORDER BY transaction_id"
        )
        assert [row[0] for row in rows] == [row["transaction_id"] for row in wanted("fact_transactions", EXPECTED)]
        assert rows[0][1:] == ("Amina Odhiambo", "Retail", "Debit Card", "Green Grocer", Decimal("50.00"))
        risky = [row["transaction_id"] for row in wanted("fact_transactions", EXPECTED) if row["is_high_risk"] == "1"]
        query = "SELECT transaction_id FROM fraud_investigations ORDER BY transaction_id"
        assert [row[0] for row in warehouse.execute(query)] == risky
        for name in ("dim_customer", "dim_account", "dim_merchant", "dim_channel", "dim_city"):
            current = sum(row["is_current"] == "1" for row in wanted(name, EXPECTED))
            assert warehouse.execute(f"SELECT COUNT(*) FROM {name}_current") == [(current,)]


def test_a_view_of_somebody_else_is_left_alone_and_one_of_an_older_pack_is_replaced(bank: Place) -> None:
    folder = bank.folder / "changed"
    shutil.copytree(Path(banking.__file__).parent, folder)
    bank.settings = {"pack": str(folder)}
    deliver(bank)
    with closing(bank.warehouse()) as warehouse:
        warehouse.execute("CREATE VIEW dim_city_current AS SELECT 1 AS mine")
    report = bank.build()
    assert report.error
    assert "dim_city_current was not created by Martwright" in report.error.what
    with closing(bank.warehouse()) as warehouse:
        assert warehouse.execute("SELECT * FROM dim_city_current") == [(1,)]
        warehouse.execute("DROP VIEW dim_city_current")
    assert bank.build().error is None
    (folder / "dim_city_current.sql").write_text("SELECT city_key FROM dim_city WHERE is_current")
    text = (folder / "pack.toml").read_text()
    (folder / "pack.toml").write_text(text.replace("[database_views.dim_channel_current]", "[database_views.channels]"))
    packs._of_folder.cache_clear()  # another process reads it anew
    bank.put("cities/date=2024-02-01/cities.csv", "city_id,city_name\n1,Nairobi\n")
    assert bank.build().error is None
    with closing(bank.warehouse(read_only=True)) as warehouse:
        assert warehouse.execute("SELECT * FROM dim_city_current ORDER BY 1") == [(-1,), (1,), (9,)]
        assert warehouse.kind_of("dim_channel_current") == ""  # type: ignore[attr-defined]
        assert warehouse.kind_of("channels") == "view"  # type: ignore[attr-defined]


def test_a_transfer_between_two_unknown_accounts_counts_once_among_transactions(bank: Place) -> None:
    """Entries are not looked up, and the other side may be at another bank."""
    header = "transaction_id,transaction_time,customer_id,account_id,related_account_id,transaction_type,amount,status"
    bank.policy = Policy(max_unknown_ratio=Decimal("0.6"), own=OWN)
    for key in ("customers/date=2024-01-31/customers.csv", "accounts/date=2024-01-31/accounts.csv"):
        bank.put(key, (CASE / "input" / key).read_bytes())
    bank.put("ledger_entries/2024-01.csv", (CASE / "input/ledger_entries/2024-01.csv").read_bytes())
    row = "{},2024-01-03T09:00:00,1,{},{},TRANSFER,5.00,COMPLETED".format
    transfers = [row("A", 801, 802), row("B", 101, 803)]
    bank.put("transactions/a.csv", "\n".join([header, *transfers, ""]))
    report = bank.build()
    assert report.error is None, report.error
    assert report.unknown["accounts"] == 1
    bank.put("transactions/b.csv", "\n".join([header, row("C", 804, 805), ""]))
    report = bank.build()
    assert report.error
    assert report.error.what.startswith("2 of 3 lines (66.7%) have no row in accounts")


def test_the_golden_case_comes_out_at_once_and_names_each_wrong_value(bank: Place, once: Once) -> None:
    once(golden_bank, bank)
    for name in MARTS:
        assert given(bank, name, wanted(name, EXPECTED)) == wanted(name, EXPECTED), name
    require_views(bank)
    served = Served(bank)
    served.live.look()
    golden = golden_publication()
    expected = as_json(golden, answer(golden.cube, Choice(golden.cube.bounds.default)))
    content = json.loads(served.text("/banking.json"))
    assert {part: content[part] for part in ("cards", "panels", "options")} == {
        part: expected[part] for part in ("cards", "panels", "options")
    }
    for key in ("transactions/2024-03-dirty.csv", "customers/date=2024-02-15/customers.csv"):
        listed = json.loads(marts("quarantine", "show", key, "--json", "--pack", "banking", *bank.flags).stdout)
        expected = {
            int(row["line"]): set(row["columns"].split()) for row in wanted("quarantine", EXPECTED) if row["key"] == key
        }
        assert {row["line"]: {reason.split()[0] for reason in row["reasons"]} for row in listed} == expected


SECTIONS = {"Key figures": "kpi", "Revenue": "revenue", "Profitability": "profitability", "Portfolio": "portfolio"}


def test_the_report_of_a_month_has_all_rows_of_its_sections_with_the_names_of_channels(bank: Place, once: Once) -> None:
    once(golden_bank, bank)
    output = marts("monthly", "--month", "2024-02", "--json", "--pack", "banking", *bank.flags).stdout
    (report,) = json.loads(output)["reports"]
    tables = {table["title"]: table["rows"] for part in report["parts"] for table in part["tables"]}
    channels = {row["channel_key"]: row["channel_name"] for row in wanted("dim_channel", EXPECTED)}
    for title, section in SECTIONS.items():
        rows = [row for row in wanted("monthly_financial_report", EXPECTED) if row["section"] == section]
        expected = {}
        for row in (row for row in rows if row["month"] == "2024-02"):
            label = channels[row["label"]] if row["figure"] == "fee_revenue_by_channel" else row["label"]
            expected[row["figure"].replace("_", " "), label] = Decimal(row["value"])
        values = {(name, label): _number(value) for name, label, value, *_ in tables[f"{title} of the month"]}
        assert values == expected


def _number(text: str) -> Decimal:
    """Read a number as people read it, without its unit."""
    return Decimal(re.sub(r"[^0-9.-]", "", text.replace("\N{MINUS SIGN}", "-")))


def test_an_erased_customer_is_nobody_and_the_sums_and_the_ledger_stay(bank: Place, once: Once) -> None:
    once(golden_bank, bank)
    before = {name: given(bank, name, wanted(name, EXPECTED)) for name in MARTS}
    person = next(row for row in before["dim_customer"] if row["customer_key"] == "1")
    marts("erase", "customer", "1", "--why", "asked to", "--yes", "--pack", "banking", *bank.flags)
    for name in MARTS:
        written = json.dumps(given(bank, name, []))
        assert person["full_name"] not in written, name
        assert person["email"] not in written, name
    report = bank.build(rebuild=True)
    assert (report.error, report.alerts) == (None, ())  # what was a fraud before is no news
    after = {name: given(bank, name, wanted(name, EXPECTED)) for name in MARTS}
    changed = {name for name in MARTS if after[name] != before[name]}
    assert changed == {
        "customer_metrics",
        "daily_customer_summary",
        "dim_account",
        "dim_customer",
        "fact_transactions",
    }
    of_people = {name: {row["customer_key"] for row in after[name]} for name in changed - {"dim_account"}}
    assert not any("1" in keys for keys in of_people.values())
    assert {name for name, keys in of_people.items() if "-1001" in keys} == {*of_people} - {"customer_metrics"}
    assert {row["customer_id"] for row in after["dim_account"] if row["account_key"] == "101"} == {"-1001"}
    texts = [path.read_bytes() for path in (bank.folder / "state").rglob("*") if path.is_file()]
    assert not any(person["full_name"].encode() in text for text in texts)


@pytest.mark.usefixtures("few_marts")
def test_card_numbers_in_free_text_are_not_kept(bank: Place) -> None:
    header = "transaction_id,transaction_time,customer_id,transaction_type,amount,status,description,terminal\n"
    row = "4111111111111111,2024-03-31,2,PAYMENT,{},COMPLETED,{},{}\n"
    bank.put("transactions/a.csv", header + row.format("5.00", "card 4111 1111 1111 1111 declined", "5500000000000004"))
    bank.put("transactions/b.csv", header + row.format("6.00", "order 2024-000-17", "T1"))
    deliver(bank)
    assert bank.build().error is None
    lines = [pq.read_table(path) for path in (bank.folder / "state/lines").rglob("*.parquet")]
    rows = [row for table in lines for row in table.to_pylist() if row.get("description")]
    assert {(row["description"], json.loads(row["additional_columns"])["terminal"]) for row in rows} == {
        ("card 4111 11** **** 1111 declined", "550000******0004"),
        ("order 2024-000-17", "T1"),
    }


@pytest.mark.usefixtures("few_marts")
def test_new_high_risk_transactions_are_told_once(bank: Place) -> None:
    deliver(bank)
    first = {alert.name: alert for alert in bank.build().alerts}
    risky = [row["transaction_id"] for row in wanted("fact_transactions", EXPECTED) if row["is_high_risk"] == "1"]
    assert {row["transaction_id"] for row in first["fraud"].rows} == {*risky}
    assert first["fraud"].title == f"{len(risky)} new high-risk transactions"
    assert first["ledger"].count == len(wanted("ledger_checks", EXPECTED))
    header = "transaction_id,transaction_time,customer_id,transaction_type,amount,status,is_fraudulent,currency\n"
    row = "N1,2024-03-31T12:00:00,2,PAYMENT,{},COMPLETED,{},USD\n"
    bank.put("transactions/a.csv", header + row.format("5.00", "true"))
    (alert,) = [alert for alert in bank.build().alerts if alert.name == "fraud"]
    assert (alert.count, alert.title) == (1, "1 new high-risk transactions")
    assert alert.rows[0]["transaction_id"] == "N1"
    assert alert.rows[0]["risk_reasons"].startswith("CONFIRMED")
    bank.put("transactions/b.csv", header + row.format("6.00", "true"))  # it is still one
    assert [alert.name for alert in bank.build().alerts] == []
    assert bank.build(rebuild=True).alerts == ()
    bank.put("transactions/c.csv", header + row.format("6.00", "false"))
    assert bank.build().alerts == ()
    bank.put("transactions/d.csv", header + row.format("7.00", "1"))
    assert [alert.count for alert in bank.build().alerts] == [1]


@pytest.mark.usefixtures("few_marts")
def test_the_fraud_desk_gets_its_mail_with_reasons_and_without_personal_data(bank: Place, mail: MailServer) -> None:
    bank.settings["notify"] = {"to": {"desk": mail.address}, "only": {"desk": ["failed", "fraud"]}}
    deliver(bank)
    with mail.up():
        report = bank.run()
    (fraud,) = (alert for alert in report.alerts if alert.name == "fraud")
    (text,) = mail.texts
    assert text.startswith(f"Martwright: {fraud.count} new high-risk transactions")
    lines = {line.split()[1].rstrip(":"): line for line in text.splitlines() if line.startswith("New:")}
    for row in wanted("fact_transactions", EXPECTED):
        if row["is_high_risk"] == "1":
            assert row["risk_reasons"] in lines.pop(row["transaction_id"])
    assert lines == {}
    assert "marts banking risks top" in text
    people = [row for path in CASE.glob("input/customers/**/*.csv") for row in csv.DictReader(path.open())]
    private = {row[name] for row in people for name in ("full_name", "email", "phone") if row.get(name)}
    assert len(private) > 3
    assert [value for value in private if value in text] == []
    with closing(bank.warehouse(read_only=True)) as warehouse:
        events = {notice.event for notice in warehouse.last_notices(9)}
    assert events == {"fraud"}  # nobody wants to hear of the ledger


def test_a_new_day_computes_its_day_only(bank: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.steps.rollup._GOES_ON", timedelta(days=1000))
    monkeypatch.setattr("jobs.steps.rollup._DAYS", 2)
    bank.settings = {**bank.settings, "limits": {"rollup_lines": 60}}
    deliver(bank)
    header = "transaction_id,transaction_time,customer_id,transaction_type,amount,status,merchant_id\n"
    entry = "entry_id,transaction_id,account_id,entry_type,amount,entry_time\n"
    bank.build()
    bank.put("transactions/a.csv", header + "N1,2024-03-29T12:00:00,2,FEE,5.00,FAILED,\n")
    assert bank.build().error is None
    days = days_of(bank, "fact_transactions")
    assert {"29", "28"} <= days.keys()  # all days of a month that was computed whole

    bank.put("transactions/b.csv", header + "N2,2024-03-31T12:00:00,2,PAYMENT,5.00,COMPLETED,501\n")
    bank.put("ledger_entries/b.csv", entry + "E1,N2,101,DEBIT,5.00,2024-03-31\nE2,N2,900,CREDIT,5.00,2024-03-31\n")
    assert bank.build().error is None
    after = days_of(bank, "fact_transactions")
    assert {day for day in after if after[day] != days.get(day)} == {"31"}
    assert new_rows_of(bank, "fact_transactions") == {("", "N2")}

    bank.put("transactions/c.csv", header + "N3,2024-03-29T13:00:00,2,PAYMENT,5.00,COMPLETED,504\n")  # a new merchant
    assert bank.build().error is None
    late = days_of(bank, "fact_transactions")
    assert {day for day in late if late[day] != after[day]} == {"29", "31"}

    marts("erase", "customer", "2", "--why", "asked to", "--yes", "--pack", "banking", *bank.flags)
    assert bank.build().error is None
    by_days = {name: given(bank, name, []) for name in MARTS}
    assert any("-1001" in row.values() for row in by_days["fact_transactions"])
    assert not any(row["customer_key"] == "2" for row in by_days["fact_transactions"])
    assert bank.build(rebuild=True).error is None
    assert by_days == {name: given(bank, name, []) for name in MARTS}


def days_of(bank: Place, table: str) -> dict[str, set[str]]:
    """Return the folders of each day of March that have rows of a table."""
    folders: dict[str, set[str]] = defaultdict(set)
    for path in (bank.folder / "state/facts/month=2024-03").glob(f"day-*/{table}.parquet"):
        folders[path.parent.name[4:6]].add(path.parent.name)
    return folders


def new_rows_of(bank: Place, table: str) -> set[tuple[str, str]]:
    """Return the removed and added transactions of the last build of a mart."""
    newest = max((bank.folder / f"state/marts/{table}").glob("*/done.json"), key=lambda path: path.stat().st_mtime_ns)
    rows = set()
    for change in json.loads(newest.read_text())["changes"]:
        for side in ("removed", "added"):
            if change[side]:
                ids = pq.read_table(bank.folder / "state" / change[side])["transaction_id"].to_pylist()
                rows |= {(name, "") if side == "removed" else ("", name) for name in ids}
    return rows


@pytest.mark.usefixtures("few_marts")
def test_a_ledger_with_many_mistakes_stops_the_run(bank: Place) -> None:
    bank.policy = Policy(max_bad_ratio=1)
    deliver(bank)
    report = bank.build()
    assert report.error
    assert report.error.what == "7 of 30 transactions have wrong entries, more than max_unbalanced_ratio"
    assert report.error.hint.startswith("deliver the missing transactions or entries, or raise max_unbalanced_ratio")
    assert (report.exit_code, report.outcome) == (65, "failed")


def test_mistakes_in_the_sql_of_the_pack_stop_the_run(bank: Place) -> None:
    """Sums of each table are compared with those of the transactions, and keys with those of the dimensions."""
    folder = bank.folder / "changed"
    shutil.copytree(Path(banking.__file__).parent, folder)
    shutil.copytree(Path(banking.__file__).parents[2] / "expectations/banking", folder / "expectations")
    for file, old, new in (
        ("kpi_days", "count(*) AS transaction_count", "count(*) + 1 AS transaction_count"),
        ("pattern_parts", "AS volume", "+ 1 AS volume"),
        ("daily_customer_summary", "sum(revenue)", "2 * sum(revenue)"),
        ("dim_merchant", "FROM merchants;", "FROM merchants WHERE merchant_id <> 501;"),
        ("dim_customer", "covers_from,", "covers_from + 1 AS covers_from,"),
    ):
        path = folder / f"{file}.sql"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    bank.settings = {"pack": str(folder)}
    deliver(bank)
    report = bank.build()
    assert report.error
    assert "has other sums than fact_transactions" in report.error.what or "has no row, or two" in report.error.what
    wrong = {name: {row["name"] for row in stops(bank, name)} for name in ("sums", "keys")}
    assert wrong == {
        "sums": {"channel_city_kpis", "spending_patterns", "daily_customer_summary"},
        "keys": {"dim_merchant", "dim_customer"},
    }


def stops(bank: Place, table: str) -> list[dict[str, str]]:
    """Return the rows of a table that stop a run."""
    return [
        row for path in bank.folder.glob(f"state/marts/{table}/*/*.parquet") for row in pq.read_table(path).to_pylist()
    ]


def test_the_figures_of_segments_add_up_to_those_without_them() -> None:
    sums: dict[tuple[str, ...], list[Decimal]] = defaultdict(list)
    key = ("transaction_date", "channel_key", "city_key")
    added = ("transaction_count", "completed_count", "failed_count", "volume", "revenue", "processing_ms_total")
    added += ("processing_count", "fast_count", "medium_count", "slow_count")
    for row in wanted("channel_city_kpis", EXPECTED):
        values = [Decimal(row[name]) for name in added]
        before = sums[tuple(row[name] for name in key)] or [Decimal(0)] * len(added)
        sums[tuple(row[name] for name in key)] = [a + b for a, b in zip(before, values, strict=True)]
    whole = wanted("channel_city_kpis_without_segment", CASE)
    assert sums == {tuple(row[name] for name in key): [Decimal(row[name]) for name in added] for row in whole}


# in 5016, an account is in the first of two snapshots of a day, and in no other
@pytest.mark.parametrize(("seed", "deliveries"), [(1, 6), (5016, 10)])
def test_a_random_history_gives_what_an_independent_oracle_computes(
    place: Place, tmp_path: Path, seed: int, deliveries: int
) -> None:
    folder = tmp_path / "oracle"
    folder.mkdir()
    builds, wrong = run_history(place, seed, folder, deliveries)
    assert wrong == []
    assert builds > 2
