"""Mistakes that were made once, each with the smallest case that shows it."""

import gzip
import hashlib
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.kit import SALES, Inline, Place, line, marts, sales
from support.retail import RETAIL

from jobs.adapters.store.folder import Folder
from jobs.adapters.warehouse.sql_ledger import SqlLedger
from jobs.ports.store import ObjectVersion
from jobs.steps.blocks import blocks
from jobs.steps.text_stream import TextStream
from marts.dialect import PLAIN
from marts.errors import OutcomeUnknown, ServiceError
from marts.policy import Policy
from marts.rows.source_block import DEFAULT

NOTED = f"{SALES},note"
WITHOUT_ID = SALES.removeprefix("transaction_id,")


@pytest.fixture
def fed(place: Place) -> Place:
    place.put_dimensions()
    place.policy = Policy(max_unknown_ratio=1)
    return place


def amounts(count: int) -> str:
    """Write lines of 1.00, 2.00, … without an id."""
    rows = [line(customer=1 + n % 3, price=f"{n}.00").removeprefix("T1,") for n in range(count)]
    return sales(*rows, header=WITHOUT_ID)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_stray_quote_does_not_cut_a_record_that_spans_lines(fed: Place, name: str) -> None:
    rows = [line(f"T{n}") + (',"first\nsecond"' if n % 3 == 0 else ",plain") for n in range(300)]
    rows.insert(2, line("BAD") + ',"never closed')
    fed.settings = {"limits": {"split_bytes": 1100}}
    text = sales(*rows, header=NOTED).encode()
    fed.put(f"sales/{name}", gzip.compress(text) if name.endswith("gz") else text)
    totals = fed.build().totals
    assert (totals.rows_read, totals.clean, totals.quarantined) == (301, 300, 1)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_last_record_over_two_lines_needs_no_final_newline(fed: Place, end: str) -> None:
    fed.put("sales/a.csv", sales(line() + ',"a\nb"', header=NOTED).rstrip("\n") + end)
    assert fed.build().totals.clean == 1


def test_a_record_may_be_longer_than_a_block() -> None:
    import io

    text = b'1,a\n2,"' + b"x\n" * 5000 + b'"\n3,c\n'
    text_blocks = list(blocks(TextStream(io.BytesIO(text), DEFAULT), 100, PLAIN))
    assert b"".join(block.text for block in text_blocks) == text
    assert all(block.text.count(b'"') % 2 == 0 for block in text_blocks)


def test_a_scan_that_dies_with_other_splits_leaves_the_old_one_whole(fed: Place) -> None:
    class Dies(Inline):
        def __call__(self, step: str, function: Any, items: Any, at_once: int | None = None) -> Any:
            for number, result in enumerate(super().__call__(step, function, items, at_once)):
                if step == "ScanDrops" and number == 2:
                    raise ServiceError("worker lost")
                yield result

    fed.settings = {"limits": {"split_bytes": 1024}}
    fed.put("sales/a.csv", amounts(100))
    fed.build()
    fed.settings, fed.runner = {"limits": {"split_bytes": 1600}}, Dies()
    assert fed.build(rebuild=True).exit_code == 69
    fed.settings, fed.runner = {"limits": {"split_bytes": 1024}}, Inline()
    fed.put("sales/b.csv", sales(line("Z1", price="0.01")))
    assert str(fed.build().marts[0].total) == "4950.01"


@pytest.mark.parametrize("junk", [b"", b"{", b"[{}]"])
@pytest.mark.parametrize("name", ["00000009-abc.json", ".00000001-abc.json.77.tmp"])
def test_a_damaged_catalog_is_made_again(fed: Place, name: str, junk: bytes) -> None:
    fed.put("sales/a.csv", sales(line()))
    fed.build()
    (fed.folder / "state" / "catalog" / name).write_bytes(junk)
    fed.put("sales/b.csv", sales(line("T2")))
    assert fed.build().totals.clean == 2
    assert fed.build(rebuild=True).outcome == "unchanged"


def test_the_same_object_put_again_keeps_its_place_in_the_order(fed: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Folder._version

    def as_in_s3(self: Folder, path: str, stat: os.stat_result) -> ObjectVersion:
        version = original(self, path, stat)
        etag = hashlib.md5(Path(path).read_bytes()).hexdigest()
        return ObjectVersion(version.key, version.size, etag, version.modified)

    monkeypatch.setattr(Folder, "_version", as_in_s3)
    fed.put("sales/a.csv", sales(line(quantity=1)))
    fed.put("sales/b.csv", sales(line(quantity=5)))
    assert str(fed.build().marts[0].total) == "50.00"
    fed.put("sales/a.csv", sales(line(quantity=1)))
    assert str(fed.build().marts[0].total) == "50.00"
    assert fed.build(rebuild=True).outcome == "unchanged"


def test_an_as_of_in_a_month_without_lines_and_before_all_lines(fed: Place) -> None:
    fed.put("sales/a.csv", sales(line("T1"), line("T2", day="2024-03-15")))
    assert str(fed.build(as_of=date(2024, 3, 1)).marts[0].total) == "10.00"
    report = fed.build(as_of=date(2020, 1, 1))
    assert report.error
    assert (report.exit_code, report.error.what) == (65, "no line is dated up to as_of 2020-01-01")


def test_the_same_content_is_known_whatever_the_splits(fed: Place) -> None:
    fed.settings = {"limits": {"split_bytes": 1024}}
    fed.put("sales/a.csv", amounts(100))
    fed.build()
    fed.settings = {}
    fed.put("sales/b.csv", amounts(100))
    assert str(fed.build().marts[0].total) == "4950.00"


def test_lines_that_differ_in_the_time_of_day_are_two_lines(fed: Place) -> None:
    fed.put("sales/a.csv", sales(line(day="2024-01-10T10:00:01"), line(day="2024-01-10T10:00:05")))
    assert (fed.build().totals.clean, fed.build().totals.duplicates) == (2, 0)


def test_a_header_longer_than_a_split_is_a_header(fed: Place) -> None:
    fed.settings = {"limits": {"split_bytes": 1024}}
    extra = ",".join(f"extra_column_number_{n}" for n in range(60))
    rows = [line(f"T{n}") + "," * 60 for n in range(100)]
    fed.put("sales/a.csv", sales(*rows, header=f"{SALES},{extra}"))
    totals = fed.build().totals
    assert (totals.rows_read, totals.quarantined) == (100, 0)


def test_going_back_to_a_policy_gives_its_marts(fed: Place) -> None:
    fed.put(
        "sales/a.csv", sales(line("T1"), line("R1", price="3.00", quantity=-1), *(line(f"G{n}") for n in range(98)))
    )
    strict = Policy(allow_returns=False, max_unknown_ratio=1)
    assert str(fed.build().marts[0].total) == "987.00"
    assert str(fed.build(policy=strict, rescan=True).marts[0].total) == "990.00"
    assert str(fed.build().marts[0].total) == "987.00"


def test_a_setting_that_was_wrong_can_be_put_right(fed: Place) -> None:
    fed.put("sales/a.csv", sales(line("T1")))
    fed.put("sales/semi.csv", sales(line("T2")).replace(",", ";"))
    assert fed.build().exit_code == 65
    for kind in ("customers", "sales_team", "stores", "sales"):
        for path in (fed.source / kind).glob("*.csv"):
            path.write_text(path.read_text().replace('"1, Lake Road"', "x").replace(",", ";"))
    fed.settings = {"sources": [{"delimiter": ";"}]}
    assert fed.build().totals.clean == 2
    fed.settings = {}
    assert fed.build(rebuild=True).exit_code == 65
    fed.settings = {"sources": [{"delimiter": ";"}]}
    assert (fed.build().exit_code, fed.build().totals.clean) == (0, 2)


def test_a_bound_that_is_raised_lets_a_drop_in(fed: Place) -> None:
    fed.put("sales/good.csv", sales(line("T1")))
    fed.put("sales/a.csv.gz", gzip.compress(amounts(100).encode()))
    fed.settings = {"limits": {"max_inflated_bytes": 1000}}
    assert fed.build().exit_code == 65
    fed.settings = {}
    assert (fed.build().exit_code, fed.build().totals.clean) == (0, 101)


def test_content_of_a_rejected_drop_counts_where_another_block_reads_it(fed: Place) -> None:
    content = sales(line("T2")).replace(",", ";")
    fed.put("sales/good.csv", sales(line("T1")))
    fed.settings = {"sources": [{"match": "sales/semi/**", "delimiter": ";"}]}
    fed.put("sales/b.csv", content)
    assert fed.build().exit_code == 65
    fed.put("sales/semi/b.csv", content)
    assert (fed.build().exit_code, fed.build().totals.clean) == (0, 2)


def test_one_object_that_cannot_be_read_is_rejected_and_tried_again(
    fed: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed.put("sales/good.csv", sales(line("T1")))
    fed.put("sales/secret.csv", sales(line("T2")))
    opened = Path.open

    def refused(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "secret.csv":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refused)
        report = fed.build()
    assert (report.exit_code, report.totals.clean) == (65, 1)
    assert fed.drops()["sales/secret.csv"] == ("rejected", "cannot be read: Permission denied")
    assert (fed.build().exit_code, fed.build().totals.clean) == (0, 2)


def test_a_file_whose_name_is_no_text_is_reported_and_stops_nothing(fed: Place) -> None:
    fed.put("sales/good.csv", sales(line("T1")))
    Path(os.fsdecode(os.fsencode(fed.source / "sales") + b"/\xff.csv")).write_text(sales(line("T2")))
    report = fed.build()
    assert (report.exit_code, report.totals.clean) == (65, 1)
    assert [drop.reason[:24] for drop in report.drops if drop.state == "rejected"] == ["its name is not UTF-8; d"]


def test_quarantine_that_is_lost_is_made_again(fed: Place) -> None:
    import shutil

    fed.put("sales/a.csv", sales(line("BAD", total="1"), *(line(f"G{n}") for n in range(99))))
    fed.build()
    shutil.rmtree(fed.folder / "state" / "quarantine")
    fed.build()
    assert list((fed.folder / "state" / "quarantine").rglob("*.parquet"))


def test_a_blank_transaction_is_none(fed: Place) -> None:
    fed.put("sales/a.csv", sales(line("  "), line("  ")))
    assert (fed.build().totals.clean, fed.mart("customers")[0][9]) == (2, 2)


@pytest.mark.parametrize(
    "uri",
    [
        "mysql://u:p#ss@h/db",
        "mysql://u:p/ss@h/db",
        "mysql://u:p?ss@h:1/db",
        "mysql://u:pass@h:port/db",
        "mysql://u:p@ss@h",
    ],
)
def test_an_address_that_is_wrong_does_not_show_its_password(uri: str) -> None:
    from jobs.adapters.warehouse.mysql import MySQLWarehouse
    from jobs.config.settings import MySQL
    from marts.errors import UsageError

    with pytest.raises(UsageError) as caught:
        MySQLWarehouse(uri, MySQL(), RETAIL)
    assert "ss@" not in str(caught.value)
    assert "pass" not in str(caught.value)


def test_drops_with_duplicates_are_reported_once_and_with_their_counts(place: Place) -> None:
    place.put_dimensions()
    duplicate = "T1,1,1,121,tea,2024-01-10,1,10.00,1,10.00"
    header = (
        "transaction_id,line_no,customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost"
    )
    place.put("sales/a.csv", f"{header}\n{duplicate}\n{duplicate}\n")
    (drop_report,) = (drop for drop in place.build().drops if drop.kind == "sales")
    assert (drop_report.rows_read, drop_report.clean, drop_report.duplicates) == (2, 1, 1)
    assert place.build().drops == ()


def test_vacuum_keeps_what_is_live_where_transactions_go_beyond_a_month(place: Place) -> None:
    place.policy = Policy(transaction_key=("store_id",))
    place.put_golden()
    place.build()
    (place.folder / "policy.toml").write_text('transaction_key = ["store_id"]\n')
    output = marts("vacuum", *place.flags, "--policy", str(place.folder / "policy.toml"), "--dry-run", "--json").stdout
    assert json.loads(output)["removed"] == []


def test_a_run_whose_commit_is_not_answered_asks_the_database_nothing_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the marts change is known before: to ask afterwards would take another deadline, and lose the report."""
    place.put_golden()
    assert place.build(as_of=date(2024, 2, 29)).outcome == "published"

    def die(*_: object) -> None:
        monkeypatch.setattr(SqlLedger, "erasures", lambda _: pytest.fail("the database is asked"))
        raise OutcomeUnknown("the COMMIT was not answered", "target", "look")

    monkeypatch.setattr(SqlLedger, "publish", die)
    report = place.build()
    assert (report.outcome, report.exit_code) == ("unknown", 69)
    assert report.totals.clean == 24
    assert "no drop was read, but the marts change: as_of changed from 2024-02-29 to 2024-03-31" in report.notes
