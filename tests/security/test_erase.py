"""A person who is erased is nowhere any more, and stays out; the audit trail records that it was done, not to whom."""

import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.kit import CUSTOMERS, SALES, Once, Place, line, marts, sales
from support.servers import MariaDB

from jobs.ports.audit import AuditEntry, AuditEvent, bound, broken

WHO = 424242
TRACES = ("Zoëcanary", "Canaryson", "Canary Lane", "+49 1234567", "canary@example.org", str(WHO))
"""What identifies the person."""
PERSON = f'{WHO},Zoëcanary,Canaryson,"9, Canary Lane",99999,+49 1234567,2023-01-01\n'


def person_line(transaction: str, **more: Any) -> str:
    return line(transaction, customer=WHO, **more) + ",canary@example.org"


@pytest.fixture
def fed(place: Place, once: Once) -> Place:
    """Two publications with a person in sales, customers, quarantine and reports."""
    once(publish, place)
    return place


@pytest.fixture(params=["DuckDB", "MariaDB"])
def everywhere(request: pytest.FixtureRequest, place: Place) -> Place:
    """The same in both kinds of target, with pages."""
    place.judge = True
    if request.param == "MariaDB":
        database: MariaDB = request.getfixturevalue("mariadb")
        place.target = database.make_database(f"erase_{abs(hash(request.node.name)) % 10**9}")
    return publish(place)


def publish(place: Place) -> Place:
    place.policy = place.policy.model_copy(update={"max_bad_ratio": 1.0, "max_unknown_ratio": 1.0})
    place.put_dimensions()
    place.put("customers/c.csv", CUSTOMERS + PERSON)
    header = f"{SALES},mail"
    rows = [line(f"T{n}", customer=n % 3 + 1) + "," for n in range(6)]
    rows += [
        person_line("A"),
        person_line("B", day="2024-02-11", price="7.50", quantity=2),
        person_line("B", day="2024-02-11", price="7.50", quantity=2),
    ]
    rows += [
        person_line("C").replace("2024-01-10", "2024/01/10"),
        person_line("D") + ",one too many",
        f'"{person_line("E")}',
    ]
    rows += [person_line("").removeprefix(",").removesuffix(",canary@example.org")]
    place.put("sales/a.csv", sales(*rows, header=header))
    place.build()
    place.put("sales/b.csv", sales(person_line("F", price="3.00"), line("T9") + ",", header=header))
    place.build()
    return place


def where(place: Place) -> list[str]:
    (place.folder / "policy.toml").write_text("max_bad_ratio = 1.0\nmax_bad_rows = 0\nmax_unknown_ratio = 1.0\n")
    return [*place.flags, "--policy", str(place.folder / "policy.toml")]


def erase(place: Place, customer: int = WHO) -> str:
    return marts("erase", "customer", str(customer), "--why", "request 17", "--yes", *where(place)).output


def everything(place: Place) -> Iterator[tuple[str, str]]:
    """Read all that we keep, as text: Parquet by its values."""
    for path in sorted((place.folder / "state").rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            parquet = path.suffix == ".parquet"
            text = (
                json.dumps(pq.read_table(io.BytesIO(data)).to_pylist(), default=str, ensure_ascii=False)
                if parquet
                else ""
            )
            yield str(path), text or data.decode("utf-8", "replace")
    warehouse = place.warehouse()
    try:
        if place.target:
            tables = [name for (name,) in warehouse.execute("SHOW TABLES")]
        else:
            tables = [name for (name,) in warehouse.execute("SELECT table_name FROM duckdb_tables()")]
        for table in tables:
            yield table, repr(warehouse.execute(f"SELECT * FROM {table}"))
    finally:
        warehouse.close()


def traces(place: Place) -> list[str]:
    return [f"{trace} in {name}" for name, text in everything(place) for trace in TRACES if trace in text]


def quarantined(place: Place) -> list[Path]:
    return sorted((place.folder / "state/quarantine/sales").rglob("*.parquet"))


def rows_of(path: Path) -> str:
    return "".join(pq.read_table(path)["raw"].to_pylist())


def test_the_person_is_everywhere_before(fed: Place) -> None:
    """The search finds what it looks for."""
    hits = traces(fed)
    assert {trace for trace in TRACES if any(hit.startswith(trace) for hit in hits)} == set(TRACES)
    kinds = {"lines/", "dimensions/", "quarantine/", "facts/", "marts/customers/"}
    assert {kind for kind in kinds if any(kind in hit for hit in hits)} == kinds


def test_an_id_that_nobody_has_is_named_and_erased_for_later(fed: Place) -> None:
    result = marts("erase", "customer", "99999999", "--yes", "--why", "asked to", *fed.flags)
    assert "99999999 is in no drop and no mart: check the id" in result.stderr
    assert "check the id" not in erase(fed)


def test_an_erased_person_is_nowhere_and_stays_out(everywhere: Place, figure: Callable[[str], None]) -> None:
    fed = everywhere
    before = fed.marts()
    output = erase(fed)
    assert "erased, as number 1" in output
    assert "sales/a.csv\n  sales/b.csv" in output
    assert traces(fed) == []
    assert fed.mart("customers") == [row for row in before["customers"] if row[0] != WHO]
    looked = 0
    for options in ({}, {"rebuild": True}, {"rescan": True}):
        report = fed.build(**options)
        assert report.error is None
        assert report.totals.rows_read == report.totals.clean + report.totals.quarantined + report.totals.duplicates
        assert (report.totals.rows_read, report.totals.quarantined, report.totals.duplicates) == (15, 4, 0)
        assert traces(fed) == []
        assert fed.mart("customers") == [row for row in before["customers"] if row[0] != WHO]
        assert fed.mart("sales_team") == before["sales_team"], "what people earned does not change"
        looked += len(list(everything(fed)))
    figure(f"{len(TRACES)} traces of a person searched in {looked} files and tables after four builds: 0 found")


def test_no_kept_generation_holds_the_person(fed: Place) -> None:
    erase(fed)
    marts("rollback", "--target", where(fed)[3])
    assert traces(fed) == []
    assert WHO not in {row[0] for row in fed.mart("customers")}


@pytest.fixture
def emptied(fed: Place) -> Place:
    """The same, and all drops of sales and customers are gone from the landing zone, and count on."""
    fed.settings = {"drops": {"withdrawals": "keep"}}
    fed.put("sales/b.csv", (fed.source / "sales/b.csv").read_text() + line("T0", quantity=0) + ",\n")
    fed.build()
    (fed.folder / "marts.toml").write_text('[drops]\nwithdrawals = "keep"\n')
    for folder in ("sales", "customers"):
        for path in (fed.source / folder).iterdir():
            path.unlink()
    report = fed.build()
    assert (report.exit_code, report.totals.drops, report.totals.rows_read) == (0, 0, 16)
    return fed


def test_a_person_is_erased_from_lines_whose_drops_are_gone(emptied: Place) -> None:
    before, rows = emptied.marts(), emptied.build().totals
    output = erase(emptied)
    assert "rewritten in the state, the only copy: customers/c.csv, sales/a.csv, sales/b.csv" in output
    assert "still in drops" not in output
    assert traces(emptied) == []
    for options in ({}, {"rebuild": True}, {"rescan": True}):
        report = emptied.build(**options)
        assert report.error is None
        assert report.totals == rows
        assert traces(emptied) == []
        assert emptied.mart("customers") == [row for row in before["customers"] if row[0] != WHO]
        assert emptied.mart("sales_team") == before["sales_team"], "what people earned does not change"
    assert "was changed" not in marts("quarantine", "show", "a.csv", "--reveal", *where(emptied)).output
    marts("vacuum", *where(emptied))
    assert emptied.build(rebuild=True).totals == rows


def test_two_people_are_erased_from_lines_whose_drops_are_gone(emptied: Place) -> None:
    team = emptied.mart("sales_team")
    erase(emptied)
    assert "as number 2" in erase(emptied, 1)
    assert "as number 1: 0 rows" in erase(emptied)
    assert emptied.build().error is None
    assert {row[0] for row in emptied.mart("customers")} == {2, 3}
    assert emptied.mart("sales_team") == team
    assert traces(emptied) == []


def test_lines_that_were_rewritten_are_the_same_as_those_of_a_drop_that_comes_again(emptied: Place) -> None:
    """Whole as a drop of other bytes, and one by one."""
    erase(emptied)
    again = sales(
        line("T9") + ",", person_line("F", price="3.00"), line("T0", quantity=0) + ",", header=f"{SALES},mail"
    )
    emptied.put("sales/again.csv", again)
    emptied.put("sales/other.csv", sales(person_line("A"), line("T11") + ",", header=f"{SALES},mail"))
    report = emptied.build()
    assert emptied.drops()["sales/b.csv"] == ("withdrawn", "now delivered as sales/again.csv")
    assert (report.totals.repeated, report.totals.replaced) == (1, 0)
    assert traces(emptied) == []


def test_a_person_who_is_delivered_again_stays_out(fed: Place) -> None:
    erase(fed)
    fed.put("customers/c2.csv", CUSTOMERS + PERSON)
    fed.put("sales/c.csv", sales(person_line("G")[: -len(",canary@example.org")], line("T10")))
    report = fed.build()
    assert report.totals.clean == 13
    assert traces(fed) == []


def test_a_repaired_row_of_the_person_goes_back_to_quarantine(fed: Place) -> None:
    repaired = fed.folder / "repaired.csv"
    marts("quarantine", "export", "a.csv", "--to", str(repaired), *where(fed))
    repaired.write_text(repaired.read_text().replace("C,424242,121,tea,2024/01/10", "C,424242,121,tea,2024-01-10"))
    marts("quarantine", "replay", "a.csv", str(repaired), *where(fed), code=None)
    assert fed.build().totals.quarantined == 3
    erase(fed)
    assert traces(fed) == []
    assert fed.build().totals.quarantined == 4
    assert traces(fed) == []


def test_two_people_are_two_numbers_and_one_that_was_interrupted_goes_on(fed: Place) -> None:
    erase(fed)
    assert "as number 2" in erase(fed, 1)
    assert "as number 1: 0 rows" in erase(fed)
    assert len(json.loads(marts("audit", "list", "--json", "--target", where(fed)[3]).output)) == 2
    assert fed.build().error is None
    assert {row[0] for row in fed.mart("customers")} == {2, 3}


def test_a_person_of_whom_nothing_is_known_is_kept_out_of_what_comes(fed: Place) -> None:
    assert "0 rows of the marts" in erase(fed, 777)
    fed.put("sales/c.csv", sales(line("T10", customer=777)))
    fed.build()
    assert 777 not in {row[0] for row in fed.mart("customers")}


def test_an_erasure_must_be_confirmed(fed: Place) -> None:
    assert "Aborted" in marts("erase", "customer", str(WHO), "--why", "x", *where(fed), code=1).output
    assert traces(fed)


# What a review found


def test_others_keep_their_money_and_their_reports_although_the_id_is_a_small_number(fed: Place) -> None:
    fed.put("sales/d.csv", sales(line("R", customer=2).replace("2024-01-10", "2024/01/10"), line("R2", customer=2)))
    fed.build()
    repaired = fed.folder / "repaired.csv"
    marts("quarantine", "export", "d.csv", "--to", str(repaired), *where(fed))
    repaired.write_text(repaired.read_text().replace("121,tea,2024/01/10", "121,tea,2024-01-10"))
    marts("quarantine", "replay", "d.csv", str(repaired), *where(fed))
    fed.build()
    before = fed.mart("sales_team")
    erase(fed, 121)
    assert fed.build().error is None
    assert fed.mart("sales_team") == before


def test_an_id_in_another_spelling_is_the_same_person(fed: Place) -> None:
    first, *rest = PERSON.split(",")
    spellings = ("0424242", "424242.0", " 424242 ", '"424242"')
    for n, written in enumerate(spellings):
        fed.put(f"customers/c{n}.csv", CUSTOMERS + ",".join([written, *rest]).replace("2023-01-01", "never"))
        fed.put(f"sales/e{n}.csv", sales(line(f"H{n}", customer=WHO, quantity=0).replace(first, written)))
    fed.build()
    raw = "".join(map(rows_of, (fed.folder / "state/quarantine").rglob("*.parquet")))
    assert all(written in raw for written in spellings), "each drop of sales has a row in quarantine"
    output = erase(fed)
    assert all(f"\n  sales/{name}.csv" in output for name in ("a", "b", "e0", "e1", "e2", "e3"))
    assert traces(fed) == []
    fed.build()
    fed.build(rebuild=True)
    assert traces(fed) == []


def test_a_number_of_many_digits_stops_no_build(fed: Place) -> None:
    erase(fed)
    fed.put("sales/e.csv", sales(line("H").replace(",1,121", f",{'9' * 5000},121"), line("I")))
    assert fed.build().error is None


def test_an_export_from_before_brings_nobody_back(fed: Place) -> None:
    repaired = fed.folder / "repaired.csv"
    marts("quarantine", "export", "a.csv", "--to", str(repaired), *where(fed))
    repaired.write_text(repaired.read_text().replace("C,424242,121,tea,2024/01/10", "C,424242,121,tea,2024-01-10"))
    erase(fed)
    fed.build()
    assert "was erased" in marts("quarantine", "replay", "a.csv", str(repaired), *where(fed), code=65).output
    repaired.unlink()
    assert traces(fed) == []


def test_a_run_that_failed_because_of_the_person_does_not_name_them(fed: Place) -> None:
    fed.put("customers/c4.csv", CUSTOMERS + PERSON + PERSON.replace("Canary Lane", "Canary Lane 2"))
    assert fed.build().error
    assert [hit for hit in traces(fed) if "marts_runs" in hit]
    erase(fed)
    assert traces(fed) == []


def test_an_oversized_row_of_the_person_is_kept_out(fed: Place) -> None:
    erase(fed)
    header = CUSTOMERS.splitlines()[0]
    fed.put("customers/c5.csv", f"{header}\n{PERSON.strip()[:-10]}{'x' * (2 << 20)},2023-01-01\n")
    fed.build()
    assert traces(fed) == []


def test_a_damaged_file_does_not_keep_a_person_in(fed: Place) -> None:
    path = next((fed.folder / "state/lines").rglob("*.parquet"))
    (path.parent / "left.parquet").write_bytes(path.read_bytes()[:100])
    erase(fed)
    assert traces(fed) == []


# Ids and rows as [[source]] blocks have them

HEADER = "transaction_id,customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost"


def with_block(place: Place, block: str) -> None:
    """Read the drops below sales/own by a block."""
    (place.folder / "marts.toml").write_text(f'[[source]]\nmatch = "sales/own/**"\n{block}\n')


def own(place: Place, name: str, data: str) -> None:
    place.put(f"sales/own/{name}", data)


def assert_erased(place: Place) -> None:
    """Erase the person, and build as often as it takes to read everything again."""
    rows = place.build().totals.rows_read
    assert traces(place)
    team = place.mart("sales_team")
    erase(place)
    assert traces(place) == []
    for options in ({}, {"rebuild": True}, {"rescan": True}):
        report = place.build(**options)
        assert report.error is None
        assert report.totals.rows_read == rows
        assert traces(place) == []
        assert place.mart("sales_team") == team


@pytest.mark.parametrize("prefix", ["C2-", "#Kü 2024/"])
def test_an_id_with_a_prefix_is_the_same_person(fed: Place, prefix: str) -> None:
    with_block(fed, f'id_prefix = {{customer_id = "{prefix}"}}')
    who = f"{prefix}{WHO}"
    rows = [f"P1,{who},121,tea,2024-03-01,1,5.00,1,5.00", f"P2,{prefix}1,121,tea,2024-03-01,1,5.00,1,5.00"]
    rows += [f"P3,{who},121,tea,never,1,5.00,1,5.00", f"P4,{who},121,tea,2024-03-01,1,5.00,1,5.00,one too many"]
    rows += [f'"P5,{who},121,tea,2024-03-01,1,5.00,1,5.00']
    own(fed, "a.csv", "\n".join([HEADER, *rows]) + "\n")
    assert_erased(fed)


def test_a_person_is_erased_from_lines_of_other_dialects(fed: Place) -> None:
    with_block(fed, 'delimiter = ";"\nquote = "\'"\ndecimal = ","\nthousands = "."')
    row = "{};'424.242';121;'Tea; green';{};1;5,00;1;5,00"
    rows = [row.format("P1", "2024-03-01"), row.format("P2", "never"), row.format("P3", "2024-03-01") + ";more"]
    rows += [row.format("P4", "2024-03-01").replace("424.242", "424242,0"), "'" + row.format("P5", "2024-03-01")]
    own(fed, "a.csv", "\n".join([HEADER.replace(",", ";"), *rows]) + "\n")
    assert_erased(fed)


def test_a_person_is_erased_from_json_that_is_broken(fed: Place) -> None:
    with_block(fed, 'format = "jsonl"\nid_prefix = {customer_id = "C2-"}')
    names = HEADER.split(",")
    values = ["P1", f"C2-{WHO}", 121, "tea", "2024-03-01", 1, 5, 1, 5]
    whole = json.dumps(dict(zip(names, values, strict=True)))
    wrong = json.dumps(dict(zip(names, ["P2", *values[1:4], "never", *values[5:]], strict=True)))
    own(fed, "a.jsonl", "\n".join([whole, wrong, whole[:-1], wrong.replace('"tea"', "tea")]) + "\n")
    assert_erased(fed)


def test_a_text_that_is_computed_from_the_id_is_hidden(fed: Place) -> None:
    with_block(fed, "compute = {transaction_id = \"customer_id || '/' || sales_date\", tag = \"'c' || customer_id\"}")
    header = HEADER.removeprefix("transaction_id,")
    rows = [f"{WHO},121,tea,2024-03-0{day},1,5.00,1,5.00" for day in (1, 2)]
    own(fed, "a.csv", "\n".join([header, *rows, "1,121,tea,2024-03-01,1,5.00,1,5.00"]) + "\n")
    before = fed.build().totals
    assert_erased(fed)
    assert (fed.build().totals.clean, fed.build().totals.duplicates) == (before.clean, before.duplicates)


def test_a_person_whose_id_is_in_the_key_of_the_drop(fed: Place) -> None:
    with_block(fed, 'from_path = "customer=(?P<customer_id>[0-9]+)/"')
    header = HEADER.replace("customer_id,", "")
    rows = ["P1,121,tea,2024-03-01,1,5.00,1,5.00", "P2,121,canary@example.org,2024-03-01,1,5.00,1,5.00,more"]
    own(fed, "customer=1/a.csv", "\n".join([header, *rows]).replace("canary@example.org", "tea") + "\n")
    own(fed, f"customer={WHO}/a.csv", "\n".join([header, *rows]) + "\n")
    erase(fed)
    report = fed.build()
    assert report.error is None
    assert not [trace for trace in traces(fed) if "canary@example.org" in trace]


def test_rows_of_a_drop_with_another_quote_are_repaired(fed: Place) -> None:
    with_block(fed, 'delimiter = ";"\nquote = "\'"')
    row = "P1;1;121;'Tea; \"green\", loose';{};1;5.00;1;5.00"
    own(fed, "a.csv", HEADER.replace(",", ";") + f"\n{row.format('never')}\n")
    fed.build()
    repaired = fed.folder / "repaired.csv"
    marts("quarantine", "export", "own/a.csv", "--to", str(repaired), *where(fed))
    text = repaired.read_text()
    assert text.count("never") == 3
    repaired.write_text(text.replace(";never;", ";2024-03-01;"))
    marts("quarantine", "replay", "own/a.csv", str(repaired), *where(fed))
    report = fed.build()
    assert report.error is None
    assert not [drop for drop in report.drops if drop.key == "sales/own/a.csv" and drop.quarantined]


# The audit trail


def test_the_trail_records_what_was_done_and_not_to_whom(fed: Place) -> None:
    erase(fed)
    marts("rollback", "--why", "try", "--target", where(fed)[3])
    output = marts("audit", "list", "--json", "--target", where(fed)[3]).output
    entries = json.loads(output)
    assert [(entry["number"], entry["action"]) for entry in entries] == [(1, "erase"), (2, "rollback")]
    assert str(WHO) not in output
    assert entries[0]["why"] == "request 17"
    assert "2 entries, none was changed" in marts("audit", "verify", "--target", where(fed)[3]).output


def test_an_entry_that_is_edited_or_cut_off_in_the_database_is_detected(fed: Place) -> None:
    erase(fed)
    marts("rollback", "--why", "try", "--target", where(fed)[3])
    fed.build()
    target = where(fed)[3]
    warehouse = fed.warehouse()
    try:
        warehouse.execute("UPDATE marts_audit SET why = 'trx' WHERE number = 2")
    finally:
        warehouse.close()
    changed = str(marts("audit", "verify", "--target", target, code=65).exception)
    assert "entry 2 or the one before it was changed" in changed
    warehouse = fed.warehouse()
    try:
        warehouse.execute("DELETE FROM marts_audit WHERE number = 2")
    finally:
        warehouse.close()
    assert "were cut off" in str(marts("audit", "verify", "--target", target, code=65).exception)


def _trail() -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    for number in range(4):
        event = AuditEvent(
            f"id-{number}", f"2026-01-0{number + 1}T00:00:00", "ann", "accept", f"sales/a{number}.csv", "checked"
        )
        entries.append(bound(event, entries[-1] if entries else None))
    return entries


def test_any_one_byte_edit_of_the_trail_is_detected(figure: Callable[[str], None]) -> None:
    entries = _trail()
    assert broken(entries, [entries[-1].hash, entries[1].hash]) == ""
    tried = 0
    for place, entry in enumerate(entries):
        for name, value in asdict(entry).items():
            changes = (
                [value + 1, 0]
                if isinstance(value, int)
                else [value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :] for at in range(len(value))]
            )
            for changed in changes:
                edited = [*entries[:place], replace(entry, **{name: changed}), *entries[place + 1 :]]
                assert broken(edited), (place, name, changed)
                tried += 1
    for place in range(len(entries)):
        assert broken([*entries[:place], *entries[place + 1 :]], [entries[-1].hash])
        assert broken(entries[:place], [entries[-1].hash])
        tried += 2
    assert broken([entries[1], entries[0], *entries[2:]])
    figure(f"{tried:,} edits of the audit trail tried, all found")


def test_drops_that_share_a_file_of_quarantine_lose_nothing_and_are_not_named(fed: Place) -> None:
    fed.put("sales/others.csv", sales(line("O1"), line("O2", day="yesterday")))
    fed.put("sales/theirs.csv", sales(line("P1"), line("P2", customer=WHO, day="yesterday")))
    report = fed.build()
    shared = [path for path in quarantined(fed) if "O2" in rows_of(path)]
    assert [str(WHO) in rows_of(path) for path in shared] == [True], "what one task has read is in one file"
    output = erase(fed)
    assert "sales/theirs.csv" in output
    assert "others.csv" not in output
    assert traces(fed) == []
    after = fed.build()
    assert after.totals == report.totals.model_copy(update={"scanned": after.totals.scanned})
    assert "O2" in marts("quarantine", "show", "others.csv", "--reveal", *where(fed)).output
    assert traces(fed) == []


def test_bad_rows_of_a_drop_that_was_refused_at_its_end_go_too(fed: Place) -> None:
    """Its header is not kept, so any number like the id counts."""
    rows = gzip.compress(
        sales(line("R", customer=WHO, day="yesterday"), *(line(f"R{n}") for n in range(50_000))).encode()
    )
    fed.settings = {"limits": {"split_bytes": 1 << 16}}
    fed.put("sales/cut.csv.gz", rows[: len(rows) * 3 // 4])
    fed.build()
    assert any(f"R,{WHO}" in rows_of(path) for path in quarantined(fed)), "the scan had begun"
    assert "sales/cut.csv.gz" in erase(fed)
    assert traces(fed) == []
