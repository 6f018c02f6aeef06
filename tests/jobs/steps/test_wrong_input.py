"""Wrong input does what the table in the documentation describes: each is named, nothing is lost, nothing crashes."""

import gzip
import random
import zlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.kit import CUSTOMERS, SALES, SALES_TEAM, Inline, Place, line, sales

from jobs.report.run_report import DropReport, RunReport
from marts.policy import Policy

GOOD = sales(line("T1"), line("T2", customer=2))


@pytest.fixture
def fed(place: Place) -> Place:
    """A place with dimensions and one good drop."""
    place.put_dimensions()
    place.put("sales/good.csv", GOOD)
    return place


def drop_report(report: RunReport, key: str) -> DropReport:
    return next(drop for drop in report.drops if drop.key == key)


def quarantine(place: Place) -> list[dict[str, Any]]:
    paths = sorted((place.folder / "state" / "quarantine").rglob("*.parquet"))
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


BIG = sales(*(line(f"B{n}", product=f"p{random.Random(n).random()}") for n in range(3000)))


NOT_USABLE = {
    "a.csv": (b"", "the object is empty"),
    "b.csv": (GOOD.replace("store_id", "shop").encode(), "missing column: store_id"),
    "c.csv": (b"\x89PNG\r\n\x1a\n\0\0", "a picture"),
    "d.csv": (b"\0" * 5000, "binary data"),
    "e.csv": (b"a" * (2 << 20), "the header is longer than 1,048,576 bytes"),
    "f.csv": ((SALES + "," + ",".join(f"c{n}" for n in range(100_000)) + "\n").encode(), "more than 2,000 columns"),
    "g.csv.gz": (b"not gzip at all", "its name is that of a gzip, but it is none"),
    "h.csv.gz": (gzip.compress(BIG.encode())[:-20], "the archive is truncated or damaged"),
    "i.csv.gz": (gzip.compress(BIG.encode())[:-6] + b"\0\0\0\0\0\0", "the archive is truncated or damaged"),
    "j.csv.gz": (zlib.compress(BIG.encode()), "its name is that of a gzip, but it is none"),
}


def test_a_drop_that_cannot_be_used_is_rejected_and_the_others_go_on(fed: Place) -> None:
    for name, (content, _) in NOT_USABLE.items():
        fed.put(f"sales/{name}", content)
    report = fed.build()
    assert (report.outcome, report.exit_code, report.totals.clean) == ("published", 65, 2)
    tasks = fed.runner.tasks["ScanDrops"]
    again = fed.build()
    assert (again.outcome, again.exit_code, fed.runner.tasks["ScanDrops"]) == ("unchanged", 0, tasks)
    for name, (_, reason) in NOT_USABLE.items():
        drop = drop_report(report, f"sales/{name}")
        assert (drop.state, drop_report(again, f"sales/{name}").state) == ("rejected", "rejected")
        assert reason in drop.reason


def test_a_rejected_drop_that_is_delivered_right_counts(fed: Place) -> None:
    fed.put("sales/x.csv", b"nonsense")
    assert fed.build().exit_code == 65
    fed.put("sales/x.csv", sales(line("T3")))
    report = fed.build()
    assert (report.exit_code, report.totals.clean) == (0, 3)
    assert fed.drops()["sales/x.csv"][0] in ("live", "withdrawn")


def test_a_gzip_cut_anywhere_is_never_half_counted(fed: Place) -> None:
    whole = gzip.compress(BIG.encode())
    cuts = range(1, 60, 7)
    for cut in cuts:
        fed.put(f"sales/{cut}.csv.gz", whole[: len(whole) * cut // 60])
    report = fed.build()
    assert {drop_report(report, f"sales/{cut}.csv.gz").state for cut in cuts} == {"rejected"}
    assert report.totals.clean == 2


BROKEN = {
    "T9,1,121,tea,2024-01-10,1,10.00,1": "the row does not have 9 fields: 8",
    "T9,1,121,tea,2024-01-10,1,10.00,1,10.00,x": "the row does not have 9 fields: 10",
    line("T9", total="9.99"): "total_cost is not price * quantity: 9.99",
    line("T9", quantity=0): "quantity is 0: 0",
    'T9,1,121,"tea,2024-01-10,1,10.00,1,10.00': "a quote is not closed, or stands in the wrong place",
    line("T9", product="t\0ea"): "holds a NUL byte",
    line("T9", product="x" * (1 << 20)): "longer than 1,048,576 bytes",
}


def test_a_broken_row_goes_to_quarantine_with_line_raw_text_and_reason(fed: Place) -> None:
    for number, broken in enumerate(BROKEN):
        rows = [line(f"G{number}-{n}") for n in range(100)]
        fed.put(f"sales/{number}.csv", sales(*rows[: 50 + number], broken, *rows[50 + number :]))
    report = fed.build()
    bad = {row["line"]: row for row in quarantine(fed)}
    assert len(bad) == len(BROKEN)
    for number, (broken, reason) in enumerate(BROKEN.items()):
        drop = drop_report(report, f"sales/{number}.csv")
        assert (drop.state, drop.rows_read, drop.clean, drop.quarantined) == ("live", 101, 100, 1)
        row = bad[52 + number]
        assert row["reasons"] == [reason]
        assert row["raw"] == broken or row["raw"].startswith(broken[:900])


@pytest.mark.parametrize(("others", "broken"), [("tea", b"caf\xff"), ("Käse", b"caf\xe9")])
def test_a_row_that_is_not_utf8_costs_that_row(fed: Place, others: str, broken: bytes) -> None:
    """In a drop that has other letters in UTF-8, or a byte that no encoding of Windows has."""
    rows = [line(f"G{n}", product=others).encode() for n in range(60)]
    fed.put("sales/x.csv", b"\n".join([SALES.encode(), *rows, line("T9").encode().replace(b"tea", broken), b""]))
    assert drop_report(fed.build(), "sales/x.csv").quarantined == 1
    assert quarantine(fed)[0]["raw"].count("caf\\x") == 1


def test_a_drop_in_another_encoding_is_no_drop_with_some_bad_rows(fed: Place) -> None:
    rows = [line(f"G{n}").encode() for n in range(60)]
    fed.put("sales/x.csv", b"\n".join([SALES.encode(), *rows, line("T9").encode().replace(b"tea", b"caf\xe9"), b""]))
    drop = drop_report(fed.build(), "sales/x.csv")
    assert drop.state == "held"
    assert 'may be in cp1252; write a [[source]] block with match = "sales/**" and encoding = "cp1252"' in drop.reason


def test_a_rule_for_totals_is_no_advice_for_rows_that_break_another_rule_too(fed: Place) -> None:
    good, bad = (line(f"G{n}") for n in range(97)), (line("T9", quantity=0, total="1") for _ in range(3))
    fed.put("sales/x.csv", sales(*good, *bad))
    drop = drop_report(fed.build(), "sales/x.csv")
    assert drop.reason == "3 of 100 rows are bad (3.0%), more than max_bad_ratio 2.0%"


def test_more_bad_rows_than_the_policy_allows_hold_the_drop(fed: Place) -> None:
    fed.put("sales/x.csv", sales(*(line(f"G{n}") for n in range(97)), *(line("T9", total="1") for _ in range(3))))
    report = fed.build()
    drop = drop_report(report, "sales/x.csv")
    assert (report.exit_code, drop.state, drop.rows_read, drop.quarantined) == (65, "held", 100, 3)
    assert drop.reason.startswith("3 of 100 rows are bad (3.0%), more than max_bad_ratio 2.0%; set total_cost_rule")
    assert [(r.rule, r.rows, r.line) for r in drop.reasons] == [("total_cost is not price * quantity", 3, 99)]
    assert (report.totals.rows_read, report.totals.held_rows) == (2, 100)
    assert len(fed.mart("customers")) == 2
    assert fed.build().exit_code == 0
    assert fed.build(policy=Policy(max_bad_ratio=0.05)).exit_code == 0
    assert fed.mart("customers")[0][9] == 1 + 97


def test_unknown_columns_are_kept_and_warned_of_once(fed: Place) -> None:
    for n in range(2):
        fed.put(f"sales/x{n}.csv", sales(line(f"T{n + 5}") + f",{n}", header=SALES + ",Colour"))
    report = fed.build()
    assert sum("additional_columns: colour" in warning for warning in report.warnings) == 1
    kept = [
        row["additional_columns"]
        for path in (fed.folder / "state" / "lines").rglob("*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    ]
    assert sorted(filter(None, kept)) == ['{"colour": "0"}', '{"colour": "1"}']


def test_a_bomb_is_rejected_before_it_fills_the_memory(fed: Place) -> None:
    fed.settings = {"limits": {"max_inflated_bytes": 50 << 20}}
    fed.put("sales/x.csv.gz", gzip.compress((SALES + "\n").encode() + b"7" * (200 << 20), 1))
    assert "inflates to more than" in drop_report(fed.build(), "sales/x.csv.gz").reason


def test_the_bound_of_a_bomb_is_not_one_of_a_plain_drop(fed: Place) -> None:
    fed.settings = {"limits": {"max_inflated_bytes": 1000}}
    fed.put("sales/x.csv", sales(*(line(f"P{n}", product='"a\nb"') for n in range(100))))
    assert fed.build().totals.clean == 2 + 100


def test_a_field_without_an_end_is_one_bad_row(fed: Place) -> None:
    rows = [line(f"G{n}") for n in range(100)]
    fed.put("sales/x.csv.gz", gzip.compress(sales(*rows[:60], "9" * (70 << 20), *rows[60:]).encode(), 1))
    drop = drop_report(fed.build(), "sales/x.csv.gz")
    assert (drop.rows_read, drop.clean, drop.quarantined) == (101, 100, 1)
    assert quarantine(fed)[0]["reasons"] == ["longer than 1,048,576 bytes"]


def test_a_header_without_rows_is_a_drop_without_rows(fed: Place) -> None:
    fed.put("sales/x.csv", SALES)
    report = fed.build()
    assert (report.exit_code, drop_report(report, "sales/x.csv").rows_read) == (0, 0)


def test_other_files_are_passed_over_and_reported(fed: Place) -> None:
    fed.put("sales/readme.md", "hello")
    assert "1 objects under sales/ are not .csv or .csv.gz" in fed.build().warnings


@pytest.mark.parametrize("quoted_newlines", [False, True])
def test_a_large_drop_is_split_and_its_lines_keep_their_numbers(place: Place, quoted_newlines: bool) -> None:
    place.put_dimensions()
    place.settings = {"limits": {"split_bytes": 4096}}
    product = '"two\nlines"' if quoted_newlines else '"one, line"'
    rows = [line(f"G{n}", product=product) for n in range(1000)]
    for at in (100, 555, 990):
        rows[at] = line(f"G{at}", total="1", product="x")
    place.put("sales/x.csv", sales(*rows))
    report = place.build()
    drop = drop_report(report, "sales/x.csv")
    assert (drop.rows_read, drop.clean, drop.quarantined) == (1000, 997, 3)
    before = 100 * (2 if quoted_newlines else 1) + 2
    assert [(r.rule, r.rows, r.line) for r in drop.reasons] == [("total_cost is not price * quantity", 3, before)]
    assert place.mart("customers")[0][9] == 997


def test_an_object_that_changes_while_it_is_read_is_planned_again(fed: Place) -> None:
    class Meddling(Inline):
        meddled = False

        def __call__(self, step: str, function: Any, items: Any, at_once: int | None = None) -> Any:
            if step == "ScanDrops" and not self.meddled:
                self.meddled = True
                fed.put("sales/good.csv", sales(line("T1"), line("T2"), line("T3")))
            return super().__call__(step, function, items, at_once)

    fed.runner = Meddling()
    report = fed.build()
    assert (report.exit_code, report.totals.clean) == (0, 3)


def test_an_object_that_never_stands_still_is_left_for_the_next_run(fed: Place) -> None:
    class Restless(Inline):
        def __call__(self, step: str, function: Any, items: Any, at_once: int | None = None) -> Any:
            if step == "ScanDrops":
                fed.put("sales/restless.csv", sales(*(line(f"R{n}") for n in range(random.randrange(50)))))
            return super().__call__(step, function, items, at_once)

    fed.put("sales/restless.csv", sales(line("T7")))
    fed.runner = Restless()
    report = fed.build()
    assert (report.exit_code, report.totals.clean, drop_report(report, "sales/restless.csv").state) == (
        75,
        2,
        "deferred",
    )
    fed.runner = Inline()
    assert fed.build().exit_code == 0


def test_an_object_that_vanishes_while_it_is_read_is_not_counted(fed: Place) -> None:
    class Vanishing(Inline):
        def __call__(self, step: str, function: Any, items: Any, at_once: int | None = None) -> Any:
            if step == "ScanDrops":
                (fed.source / "sales/gone.csv").unlink(missing_ok=True)
            return super().__call__(step, function, items, at_once)

    fed.put("sales/gone.csv", sales(line("T7")))
    fed.runner = Vanishing()
    report = fed.build()
    assert (report.exit_code, report.totals.clean) == (0, 2)


def test_a_key_that_a_dimension_has_twice_fails_the_run(fed: Place) -> None:
    fed.build()
    before = fed.marts()
    stores = "id,address,store_pincode,store_manager_name,store_opening_date,reviews\n7,,,,,\n7,North,,,,\n"
    products = "id,name,current_price,old_price,created_date,updated_date,expiry_date\n7,a,,,,,\n7,b,,,,,\n"
    for key, content, message in (
        ("customers/new.csv", CUSTOMERS + "1,Again,Rao,,,,\n", "duplicate customer_id: 1"),
        ("sales_team/new.csv", SALES_TEAM + "2,Again,Rao,,,,,\n2,Once more,Rao,,,,,\n", "duplicate id: 2"),
        ("stores/new.csv", stores, "duplicate id: "),
        ("products/new.csv", products, "duplicate id: "),
    ):
        path = fed.put(key, content)
        report = fed.build()
        assert report.error
        assert (report.outcome, report.exit_code) == ("failed", 65)
        assert message in report.error.what
        assert fed.marts() == before
        path.unlink()


def test_a_dimension_drop_that_cannot_be_used_gives_way_to_the_one_before(fed: Place) -> None:
    fed.put("customers/broken.csv", "customer_id,name\n1,x\n")
    report = fed.build()
    assert (report.outcome, report.exit_code, drop_report(report, "customers/broken.csv").state) == (
        "published",
        65,
        "rejected",
    )
    assert fed.mart("customers")[0][1] == "Asha Rao"


def test_too_many_unknown_people_stop_the_run_before_it_publishes(fed: Place) -> None:
    fed.build()
    before = fed.marts()
    fed.put("sales/x.csv", sales(*(line(f"U{n}", customer=5000 + n) for n in range(10))))
    report = fed.build(policy=Policy())
    assert report.error
    assert (report.outcome, report.exit_code) == ("failed", 65)
    assert "10 of 12 lines (83.3%) have no row in customers" in report.error.what
    assert fed.marts() == before
    assert fed.build(policy=Policy(max_unknown_ratio=0.9)).exit_code == 0


def test_a_source_without_drops_is_reported(place: Place) -> None:
    report = place.build()
    assert report.error
    assert (report.exit_code, report.error.what) == (2, "the folder does not exist")
    place.put_dimensions()
    report = place.build()
    assert report.error
    assert (report.exit_code, report.error.what) == (65, "no drop under sales/")


def test_a_new_version_that_cannot_be_read_replaces_nothing(fed: Place) -> None:
    fed.build()
    before = fed.marts()
    fed.put("sales/good.csv", b"broken now")
    report = fed.build()
    assert (report.outcome, report.exit_code) == ("unchanged", 65)
    assert any("this one counts on" in warning for warning in report.warnings)
    assert fed.marts() == before


def test_mixed_currencies_are_warned_of(fed: Place) -> None:
    fed.put("sales/x.csv", sales(line("T5") + ",EUR", line("T6") + ",USD", header=SALES + ",currency"))
    assert any("EUR, USD" in warning for warning in fed.build().warnings)


def test_changed_rules_apply_to_new_drops_and_to_old_ones_by_rescan(fed: Place) -> None:
    fed.put("sales/x.csv", sales(line("T5", quantity=-1), *(line(f"G{n}") for n in range(99))))
    fed.build()
    strict = Policy(allow_returns=False)
    report = fed.build(policy=strict)
    assert report.totals.quarantined == 0
    assert any("older row rules" in warning for warning in report.warnings)
    report = fed.build(policy=strict, rescan=True)
    assert report.totals.quarantined == 1
    assert not any("older row rules" in warning for warning in report.warnings)


def test_a_disk_that_cannot_be_written_is_reported_and_the_live_marts_stay(fed: Place, monkeypatch: Any) -> None:
    fed.build()
    before = fed.marts()
    fed.put("sales/x.csv", sales(line("T5")))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        report = fed.build()
    assert report.error
    assert report.exit_code == 69
    assert "No space left" in report.error.what
    assert fed.marts() == before
    assert fed.build().exit_code == 0


def fuzzed(generator: random.Random, name: str) -> bytes:
    """Write a drop of 200 rows, and change some of its bytes."""
    products = ('"a, b"', "tea", '"x\ny"')
    text = bytearray(sales(*(line(f"{name}{n}", product=generator.choice(products)) for n in range(200))).encode())
    for _ in range(generator.randrange(1, 40)):
        at = generator.randrange(len(SALES) + 1, len(text))
        text[at : at + generator.randrange(3)] = generator.choice([b'"', b"\n", b"\r", b"\0", b"\xff", b",", b"", b"9"])
    return bytes(text)


@pytest.mark.parametrize("split_bytes", [2048, 1 << 25])
def test_fuzzed_drops_lose_no_row(place: Place, split_bytes: int) -> None:
    place.put_dimensions()
    place.policy = Policy(max_bad_ratio=1, max_unknown_ratio=1)
    place.settings = {"limits": {"split_bytes": split_bytes}}
    for seed in range(20):
        place.put(f"sales/{seed}.csv", fuzzed(random.Random(seed), f"G{seed}-"))
    report = place.build()
    assert report.error is None
    totals = report.totals
    assert totals.rows_read == totals.clean + totals.quarantined + totals.duplicates
    drops = [drop_report(report, f"sales/{seed}.csv") for seed in range(20)]
    assert all(drop.state == "held" or drop.rows_read >= 190 for drop in drops)
    assert sum(drop.rows_read for drop in drops if drop.state != "held") == totals.rows_read
    assert len(quarantine(place)) == sum(drop.quarantined for drop in drops)
