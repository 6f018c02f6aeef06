"""What people decide and drops that come again, together: repairs, refusals, acceptances, erasures, going back."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow.parquet as pq
import pytest
from support.kit import CUSTOMERS, SALES, Place, line, marts, mentions, numbered, sales, total
from support.servers import S3Server

from jobs.report.run_report import RunReport
from jobs.steps.withdrawals import LEFT
from marts.policy import Policy

pytestmark = [pytest.mark.database, pytest.mark.usefixtures("on_the_server", "small_builds", "dimensions")]
Upload = Callable[[], None]
BROKEN = "A99,5,121,milk,2024-01-10,1,abc,1,5.00"


@pytest.fixture
def upload(
    place: Place, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Upload:
    """Let builds read a bucket, where the same bytes are the same version; return what copies the drops into it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = s3_server.make_bucket(place.folder.name.replace("_", "-"))
    place.settings = {"source": f"s3://{bucket}/q"}
    return lambda: s3_server.upload(place.source, bucket, "q")


def from_bucket(place: Place) -> list[str]:
    return ["--source", place.settings["source"], *place.flags[2:]]


def repair(place: Place, drop: str, old: str, new: str) -> None:
    path = place.folder / "rows.csv"
    marts("quarantine", "export", drop, "--to", str(path), *place.flags)
    path.write_text(path.read_text().replace(old, new))
    marts("quarantine", "replay", drop, str(path), *place.flags)


# Repairs


@pytest.mark.parametrize("twin", ["excel", "gzip"])
def test_a_repaired_drop_and_its_twin_are_one(place: Place, twin: str) -> None:
    """100 lines of 10.00, one of them corrected to 99.00, and a repaired line of 5.00."""
    text = sales(*numbered(100), BROKEN)
    place.put("sales/a.csv", text)
    place.put("sales/c.csv", sales(line("A0", 1, price="99.00")))
    if twin == "excel":
        place.put("sales/a_excel.csv", text.replace("\n", "\r\n"))
    else:
        place.put("sales/a.csv.gz", gzip.compress(text.encode()))
    place.build()
    assert total(place) == Decimal("1089.00")
    repair(place, "sales/a.csv", "abc", "5.00")
    place.build()
    assert total(place) == Decimal("1094.00")


@pytest.mark.parametrize("again", ["excel", "gzip"])
def test_repaired_rows_follow_their_drop_into_a_gzip_and_are_reported_lost_elsewhere(place: Place, again: str) -> None:
    text = sales(*numbered(100), BROKEN)
    place.put("sales/a.csv", text)
    place.build()
    repair(place, "sales/a.csv", "abc", "5.00")
    place.build()
    (place.source / "sales/a.csv").unlink()
    if again == "gzip":  # a job that compresses what is read
        place.put("sales/a.csv.gz", gzip.compress(text.encode()))
        report = place.build()
        assert (report.exit_code, total(place), mentions(report, "in quarantine again")) == (
            0,
            Decimal("1005.00"),
            False,
        )
        return
    place.put("sales/b.csv", text.replace("\n", "\r\n"))
    report = place.build()
    assert (report.exit_code, total(place)) == (0, Decimal("1000.00"))
    assert mentions(report, "sales/a.csv is now delivered as sales/b.csv", "1 rows", "repair them in sales/b.csv")
    repair(place, "sales/b.csv", "abc", "5.00")
    report = place.build()
    assert (total(place), mentions(report, "in quarantine again")) == (Decimal("1005.00"), False)


def test_bad_rows_that_another_drop_has_not_are_no_duplicates(place: Place) -> None:
    place.put("sales/a.csv", sales(*numbered(100)))
    place.build()
    place.put("sales/b.csv", sales(*numbered(100), BROKEN))
    report = place.build()
    assert (report.totals.repeated, report.totals.quarantined, total(place)) == (100, 1, Decimal("1000.00"))
    assert "abc" in marts("quarantine", "list", *place.flags).output or mentions(report, "sales/b.csv", "price")


def test_other_words_that_are_no_ids_apply_to_drops_that_were_compared_before(place: Place) -> None:
    """Five lines of a till that writes "cash" for an id, in two orders: one delivery, or ten sales."""
    rows = [line("cash", n, price=f"{n}.00") for n in range(1, 6)]
    place.put("sales/a.csv", sales(*rows))
    place.put("sales/b.csv", sales(*reversed(rows)))
    place.build()
    assert total(place) == Decimal("15.00")
    place.policy = Policy(max_unknown_ratio=0.2, no_ids=("0", "cash"))
    place.build()
    incremental = place.marts()
    place.build(rebuild=True)
    assert (place.marts(), total(place)) == (incremental, Decimal("30.00"))


# Drops whose objects are deleted, or have no rows any more


@pytest.mark.parametrize("other", [False, True])
def test_a_new_version_without_a_row_replaces_nothing_until_somebody_accepts_it(place: Place, other: bool) -> None:
    """A writer that fails leaves the header; with ``other``, another store had no sales that day: the same bytes."""
    place.put("sales/1.csv", sales(*numbered(100)))
    place.put("sales/2.csv", sales(*numbered(50, "B")))
    if other:
        place.put("sales/0.csv", sales())
    assert place.build().exit_code == 0
    place.put("sales/2.csv", sales())
    report = place.build()
    assert (report.exit_code, total(place)) == (65, Decimal("1500.00"))
    assert mentions(report, "sales/2.csv", "it has no rows, and the version before, of 2024-01-01", "has 50 clean ones")
    place.put("sales/2.csv", sales())  # put again as it was: no news
    report = place.build()
    assert (report.exit_code, total(place)) == (0, Decimal("1500.00"))
    marts("quarantine", "accept", "sales/2.csv", "--why", "nobody bought", *place.flags)
    report = place.build(clock=lambda: datetime.now(UTC))
    assert (report.exit_code, total(place)) == (0, Decimal("1000.00"))
    assert place.build().exit_code == 0


def test_an_empty_version_that_was_accepted_is_asked_about_again_after_another_one(
    place: Place, upload: Upload
) -> None:
    place.put("sales/1.csv", sales(*numbered(100)))

    def build(*rows: str) -> tuple[int, Decimal]:
        place.put("sales/2.csv", sales(*rows))
        upload()
        report = place.build(clock=lambda: datetime.now(UTC))
        return report.exit_code, total(place)

    assert build(*numbered(50, "B")) == (0, Decimal("1500.00"))
    assert build() == (65, Decimal("1500.00"))
    marts("quarantine", "accept", "sales/2.csv", "--why", "nobody bought", *from_bucket(place))
    assert build() == (0, Decimal("1000.00"))
    assert build(*numbered(60, "C")) == (0, Decimal("1600.00"))
    assert build() == (65, Decimal("1600.00"))


def test_a_held_version_that_is_older_than_the_one_that_counts_is_detected(place: Place) -> None:
    place.put("sales/a.csv", sales(*numbered(10)))
    place.build()
    before = place.stamp - timedelta(hours=3)
    place.put("sales/a.csv", sales(*numbered(10), *([BROKEN] * 10)), delivered=before)
    assert (place.build().exit_code, total(place)) == (65, Decimal("100.00"))
    assert "held" in marts("quarantine", "list", *place.flags).output
    marts("quarantine", "accept", "a.csv", "--why", "known", *place.flags)


def test_a_fall_is_seen_with_an_earlier_as_of_too(place: Place) -> None:
    place.policy = Policy(max_unknown_ratio=0.2, max_fall=0.05, max_fall_from=1)
    place.put("sales/a.csv", sales(*numbered(100)))
    place.put("sales/b.csv", sales(*numbered(100, "B")))
    place.build()
    place.put("sales/b.csv", sales(*numbered(10, "B")))
    assert place.build().exit_code == 65
    assert (place.build(as_of=date(2024, 3, 30)).exit_code, total(place)) == (65, Decimal("2000.00"))


def test_drops_without_objects_that_changed_rules_do_not_reach_are_reported(place: Place) -> None:
    place.settings = {"drops": {"withdrawals": "keep"}}
    place.put("sales/a.csv", sales(*numbered(10)))
    place.put("sales/b.csv", sales(*numbered(10, "B")))
    place.build()
    (place.source / "sales/a.csv").unlink()
    place.build()
    place.policy = Policy(max_unknown_ratio=0.2, unknown_ids=(0, -1, 5))
    report = place.build(rescan=True)
    assert mentions(report, "1 drops whose objects were removed were judged by older row rules")


def test_a_dimension_whose_newest_drop_leaves_reports_that_an_older_one_counts(place: Place) -> None:
    place.put("sales/1.csv", sales(*numbered(10)))
    place.put("customers/newest.csv", CUSTOMERS.replace("Asha", "Usha"))
    place.build()
    (place.source / "customers/newest.csv").unlink()
    report = place.build()
    words = "customers/newest.csv was removed: customers/customers.csv, an older table of customers, counts"
    assert (report.exit_code, mentions(report, words)) == (0, True)
    assert not mentions(place.build(), "an older table")


def test_a_dimension_whose_newest_drop_gives_way_to_a_newer_one_is_not_reported(place: Place) -> None:
    place.put("sales/1.csv", sales(*numbered(10)))
    place.build()
    (place.source / "customers/customers.csv").unlink()
    place.put("customers/2.csv", CUSTOMERS.replace("Asha", "Usha"))
    assert not mentions(place.build(), "an older table")
    place.put("customers/2.csv", CUSTOMERS)  # as it was before, under the name of the newest
    assert not mentions(place.build(), "an older table")


@pytest.mark.parametrize("choice", ["refuse", "refuse and build", "keep"])
def test_what_counts_on_without_its_object_is_not_replaced_by_the_next_day_of_its_name(
    place: Place, choice: str
) -> None:
    if choice == "keep":
        place.settings = {"drops": {"withdrawals": "keep"}}
    place.put("sales/daily.csv", sales(*numbered(100)))
    place.build()
    (place.source / "sales/daily.csv").unlink()
    assert place.build().exit_code == (0 if choice == "keep" else 65)
    if choice != "keep":
        marts("withdraw", "refuse", "sales/daily.csv", "--why", "the landing zone is emptied", *place.flags)
    if choice == "refuse and build":
        place.build()
    place.put("sales/daily.csv", sales(*numbered(50, "B")))
    report = place.build()
    assert (report.exit_code, total(place)) == (0, Decimal("1500.00"))
    place.put("sales/daily.csv", sales(*numbered(40, "B")))  # a new version of the second day
    place.build()
    assert total(place) == Decimal("1400.00")


def test_days_that_were_kept_under_one_name_count_on_when_the_setting_changes(place: Place) -> None:
    """Four days in turn under one name; then the fifth, and the landing zone is not emptied any more."""
    place.settings = {"drops": {"withdrawals": "keep"}}
    for day in range(4):
        place.put("sales/daily.csv", sales(*numbered(10, f"D{day}x")))
        place.build()
        (place.source / "sales/daily.csv").unlink()
        place.build()
    place.put("sales/daily.csv", sales(*numbered(10, "D9x")))
    place.build()
    assert total(place) == Decimal("500.00")
    place.settings = {"drops": {"withdrawals": "ask"}}
    codes = [(place.build().exit_code, total(place)) for _ in range(3)]
    assert codes == [(65, Decimal("500.00")), (0, Decimal("500.00")), (0, Decimal("500.00"))]
    out = marts("withdraw", "refuse", "daily.csv", "--why", "they were kept", *place.flags).output
    assert out.count("sales/daily.csv") == 4
    report = place.build(clock=lambda: datetime.now(UTC))
    assert (report.exit_code, total(place)) == (0, Decimal("500.00"))
    place.put("sales/daily.csv", sales(*numbered(5, "D9x")))  # a new version of the fifth day
    place.build()
    assert total(place) == Decimal("450.00")


def test_what_people_were_asked_about_is_asked_about_until_they_answer(place: Place) -> None:
    """Four drops are gone; versions that cannot be read come under three of their names, and go again."""
    for n in range(4):
        place.put(f"sales/{n}.csv", sales(*numbered(10, f"D{n}x")))
    place.put("sales/9.csv", sales(*numbered(10, "Z")))
    place.build()
    for n in range(4):
        (place.source / f"sales/{n}.csv").unlink()
    assert (place.build().exit_code, total(place)) == (65, Decimal("500.00"))
    for n in range(3):
        place.put(f"sales/{n}.csv", f"no,such,header,{n}\n")
    assert (place.build().exit_code, total(place)) == (65, Decimal("500.00"))
    for n in range(3):
        (place.source / f"sales/{n}.csv").unlink()
    assert (place.build().exit_code, total(place)) == (0, Decimal("500.00"))
    assert len(marts("withdraw", "list", *place.flags).output.split("sales/")) == 5
    place.put("sales/3.csv", sales(*numbered(2, "N")))  # the next day under the name of one that waits
    report = place.build()
    assert (total(place), mentions(report, "sales/3.csv was removed and waited for a decision")) == (
        Decimal("420.00"),
        True,
    )
    assert not mentions(place.build(), "waited for a decision; a new version")


@pytest.mark.parametrize("again", ["excel", "gzip"])
def test_a_drop_that_was_taken_back_and_comes_under_other_bytes_has_its_old_place(place: Place, again: str) -> None:
    """A0 was corrected to 20.00 after a.csv came; a.csv leaves, and comes back as another program writes it."""
    place.settings = {"drops": {"withdrawals": "apply"}}
    text = sales(*numbered(30))
    place.put("sales/a.csv", text)
    place.build()
    place.put("sales/c.csv", sales(line("A0", 1, price="20.00")))
    place.build()
    (place.source / "sales/a.csv").unlink()
    place.build()
    assert total(place) == Decimal("20.00")
    if again == "excel":
        place.put("sales/saved.csv", text.replace("\n", "\r\n"))
    else:
        place.put("sales/a.csv.gz", gzip.compress(text.encode()))
    report = place.build()
    assert (report.exit_code, total(place)) == (0, Decimal("310.00"))
    assert place.build().exit_code == 0
    assert total(place) == Decimal("310.00")


def test_an_acceptance_ends_when_the_object_comes_back(place: Place, s3_server: S3Server, upload: Upload) -> None:
    """In S3, where an object that is put back is the version that it was."""
    place.put("sales/big.csv", sales(*numbered(50)))
    place.put("sales/a.csv", sales(*numbered(40, "B")))
    upload()
    bucket = place.settings["source"].split("/")[2]

    def build() -> RunReport:  # a decision is older than what the next run sees
        return place.build(clock=lambda: datetime.now(UTC))

    build()
    sums = []
    for step in ("gone", "accept", "back", "gone"):
        if step == "gone":
            s3_server.client().delete_object(Bucket=bucket, Key="q/sales/a.csv")
        elif step == "back":
            upload()
        else:
            marts("withdraw", "accept", "sales/a.csv", "--why", "it was a test", *from_bucket(place))
            continue
        report = build()
        sums.append((report.exit_code, total(place)))
    assert sums == [(65, Decimal("900.00")), (0, Decimal("900.00")), (65, Decimal("900.00"))]


def test_after_going_back_only_what_was_live_is_taken_from_the_fall(place: Place) -> None:
    place.policy = Policy(max_unknown_ratio=0.2, max_fall=0.05, max_fall_from=1)
    place.settings = {"drops": {"withdrawals": "apply"}}
    place.put("sales/a.csv", sales(*numbered(100)))
    place.put("sales/e.csv", sales(*numbered(30, "E")))
    place.build()
    place.put("sales/d.csv", sales(*numbered(50, "D")))
    place.build()
    marts("rollback", "--why", "d was wrong", "--target", place.address)
    (place.source / "sales/d.csv").unlink()
    place.put("sales/e.csv", sales(*numbered(1, "E")))
    report = place.build()  # 1,300.00 is live, and 1,010.00 is left
    assert (report.exit_code, total(place)) == (65, Decimal("1300.00"))
    assert mentions(report, "max_fall")


# Identity


def test_a_person_who_is_erased_keeps_the_tills_of_their_transactions_apart(place: Place) -> None:
    place.policy = Policy(max_unknown_ratio=0.2, transaction_key=("store_id", "day", "till"))
    header = f"{SALES},till"
    place.put("sales/1.csv", sales(f"{line('1', 1)},1", f"{line('1', 2)},1", header=header))
    place.put("sales/2.csv", sales(f"{line('1', 1, price='20.00')},2", f"{line('1', 3)},2", header=header))
    place.build()
    before = place.mart("sales_team")
    (place.folder / "policy.toml").write_text(
        'max_unknown_ratio = 0.2\ntransaction_key = ["store_id", "day", "till"]\n'
    )
    policy = ["--policy", str(place.folder / "policy.toml")]
    marts("erase", "customer", "1", "--why", "asked for", "--yes", *place.flags, *policy)
    place.build()
    # The customers mart has nothing of them.
    assert (place.mart("sales_team"), sum(row[4] for row in before)) == (before, Decimal("50.00"))


def test_blanks_around_a_column_of_the_key_are_none_for_an_erased_person_too(place: Place) -> None:
    place.policy = Policy(max_unknown_ratio=0.2, transaction_key=("store_id", "day", "till"))
    header = f"{SALES},till"
    place.put("sales/1.csv", sales(f"{line('T1')},1", f"{line('T2', 2)},1", header=header))
    place.put("sales/2.csv", sales(f"{line('T1', price='20.00')}, 1 ", header=header))
    place.build()
    before = place.mart("sales_team")
    (place.folder / "policy.toml").write_text(
        'max_unknown_ratio = 0.2\ntransaction_key = ["store_id", "day", "till"]\n'
    )
    policy = ["--policy", str(place.folder / "policy.toml")]
    marts("erase", "customer", "1", "--why", "asked for", "--yes", *place.flags, *policy)
    place.build()
    assert place.mart("sales_team") == before


def test_a_person_who_is_erased_is_known_with_any_white_space_around_the_id(place: Place) -> None:
    place.put("sales/a.csv", sales(line("T1"), line("T2", 2), line("T3", 3)))
    place.build()
    marts("erase", "customer", "1", "--why", "asked for", "--yes", *place.flags)
    place.build()
    for n, written in enumerate(("\u00a01", "1\u2003", "\x0b1", " " * 70 + "1")):
        place.put(f"sales/b{n}.csv", sales(line("T1", written, quantity=2), line("T9", 2)))
        place.put(f"customers/new{n}.csv", CUSTOMERS.replace("\n1,", f"\n{written},"))
        place.build()
        assert 1 not in {row[0] for row in place.mart("customers")}, written
        assert sum(row[4] for row in place.mart("sales_team")) == Decimal("50.00")


def test_a_person_is_erased_from_the_quarantine_of_each_drop_that_had_a_name(place: Place) -> None:
    place.settings = {"drops": {"withdrawals": "keep"}}
    bad = [f"B{who},{who},121,tea,soon,1,10.00,1,10.00" for who in (4444, 5555)]
    place.put("sales/daily.csv", sales(*numbered(200), *bad))
    place.build()
    (place.source / "sales/daily.csv").unlink()
    place.build()
    rows = [",".join(reversed(row.split(","))) for row in (SALES, *numbered(100, "C"))]
    place.put("sales/daily.csv", "\n".join([*rows, ""]))
    place.build()
    marts("erase", "customer", "5555", "--why", "asked for", "--yes", *place.flags)
    files = [path for path in (place.folder / "state").rglob("*.parquet") if "quarantine" in str(path)]
    texts = [text for path in files for text in pq.read_table(path)["raw"].to_pylist()]
    assert any("4444" in text for text in texts)
    assert [text for text in texts if "5555" in text] == []


def test_a_column_of_the_key_is_read_without_blanks_around_it(place: Place) -> None:
    place.policy = Policy(max_unknown_ratio=0.2, transaction_key=("store_id", "day", "till"))
    for number, (till, price) in enumerate((("1", "10.00"), (" 1 ", "12.00"))):
        place.put(f"sales/{number}.csv", sales(f"{line('T1', price=price)},{till}", header=f"{SALES},till"))
    place.build()
    assert total(place) == Decimal("12.00")


@pytest.mark.parametrize(("price", "quantity"), [("10.00", -1), ("-10.00", 1)])
def test_a_refund_that_names_its_sale_counts_however_it_is_written(place: Place, price: str, quantity: int) -> None:
    place.put("sales/a.csv", sales(line("T1"), line("T2")))
    place.put("sales/r.csv", sales(line("T1", price=price, quantity=quantity)))
    place.build()
    assert total(place) == Decimal("10.00")


@pytest.mark.parametrize("first", ["empty", "small"])
def test_a_drop_without_a_row_weighs_nothing_when_it_vanishes(place: Place, first: str) -> None:
    """Three small drops are taken back unasked; a fourth would be asked about."""
    place.put("sales/a.csv", sales(*numbered(200)))
    place.put("sales/empty.csv", sales())
    small = [f"sales/small{number}.csv" for number in range(3)]
    for number, key in enumerate(small):
        place.put(key, sales(line(f"S{number}", 1)))
    place.build()
    assert total(place) == Decimal("2030.00")
    for keys in (["sales/empty.csv"], small) if first == "empty" else (small, ["sales/empty.csv"]):
        for key in keys:
            (place.source / key).unlink()
        assert place.build().exit_code == 0
    assert total(place) == Decimal("2000.00")
    events = json.loads(marts("history", "empty.csv", "--json", *place.flags[2:4]).stdout)["drops"]
    assert [event["reason"] for event in events if event["state"] == "withdrawn"] == [LEFT]
