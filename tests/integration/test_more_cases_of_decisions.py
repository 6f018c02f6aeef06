"""What people decide and drops that come again, together: repairs, refusals, acceptances, erasures, going back."""

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from kit import CUSTOMERS, SALES, Place, line, marts, mentions, sales, total
from servers import S3Server

from jobs.report import RunReport
from marts.policy import Policy

pytestmark = [pytest.mark.database, pytest.mark.usefixtures("on_the_server", "small_builds")]
BROKEN = "A99,5,121,milk,2024-01-10,1,abc,1,5.00"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.put_dimensions()
    return made


def numbered(count: int, prefix: str = "A") -> list[str]:
    return [line(f"{prefix}{n}", n % 5 + 1) for n in range(count)]


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


def test_a_repaired_row_that_comes_under_other_bytes_is_in_quarantine_again_and_that_is_said(place: Place) -> None:
    text = sales(*numbered(100), BROKEN)
    place.put("sales/a.csv", text)
    place.build()
    repair(place, "sales/a.csv", "abc", "5.00")
    place.build()
    (place.source / "sales/a.csv").unlink()  # a job that compresses what is read
    place.put("sales/a.csv.gz", gzip.compress(text.encode()))
    report = place.build()
    assert (report.exit_code, total(place)) == (0, Decimal("1000.00"))
    assert mentions(report, "sales/a.csv is sales/a.csv.gz now", "1 rows", "repair them in sales/a.csv.gz")
    repair(place, "sales/a.csv.gz", "abc", "5.00")
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


# Drops whose objects are gone, or say nothing any more


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
    assert mentions(report, "sales/2.csv", "it has no rows, and the version before has 50 clean ones")
    place.put("sales/2.csv", sales())  # put again as it was: no news
    report = place.build()
    assert (report.exit_code, total(place)) == (0, Decimal("1500.00"))
    marts("quarantine", "accept", "sales/2.csv", "--why", "nobody bought", *place.flags)
    report = place.build(clock=lambda: datetime.now(UTC))
    assert (report.exit_code, total(place)) == (0, Decimal("1000.00"))
    assert place.build().exit_code == 0


def test_a_dimension_whose_newest_drop_leaves_says_that_an_older_one_counts(place: Place) -> None:
    place.put("sales/1.csv", sales(*numbered(10)))
    place.put("customers/newest.csv", CUSTOMERS.replace("Asha", "Usha"))
    place.build()
    (place.source / "customers/newest.csv").unlink()
    report = place.build()
    words = "customers/newest.csv is gone from the source: customers/customers.csv, an older table of customers, counts"
    assert (report.exit_code, mentions(report, words)) == (0, True)
    assert not mentions(place.build(), "an older table")


def test_a_dimension_whose_newest_drop_gives_way_to_a_newer_one_is_nothing_to_tell(place: Place) -> None:
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


def test_an_acceptance_ends_when_the_object_comes_back(
    place: Place, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In S3, where an object that is put back is the version that it was."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = s3_server.make_bucket("comes-back")
    place.put("sales/big.csv", sales(*numbered(50)))
    place.put("sales/a.csv", sales(*numbered(40, "B")))
    s3_server.upload(place.source, bucket, "q")
    place.settings = {"source": f"s3://{bucket}/q"}

    def build() -> RunReport:  # a decision is older than what the next run sees
        return place.build(clock=lambda: datetime.now(UTC))

    build()
    sums = []
    for step in ("gone", "accept", "back", "gone"):
        if step == "gone":
            s3_server.client().delete_object(Bucket=bucket, Key="q/sales/a.csv")
        elif step == "back":
            s3_server.upload(place.source, bucket, "q")
        else:
            flags = ["--source", f"s3://{bucket}/q", *place.flags[2:]]
            marts("withdraw", "accept", "sales/a.csv", "--why", "it was a test", *flags)
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
