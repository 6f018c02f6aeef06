"""The same rows again: compressed, copied with another time, saved again, in an older table; and broken twins."""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from support.kit import CUSTOMERS, SALES, Place, line, marts, mentions, numbered, sales, total

from marts.policy import Policy

pytestmark = [pytest.mark.database, pytest.mark.usefixtures("on_the_server", "small_builds", "dimensions")]
KEEP = {"drops": {"withdrawals": "keep"}}
APPLY = {"drops": {"withdrawals": "apply"}}


def anonymous(*products: int) -> str:
    """Lines of 10.00 without an id, distinguished by their products."""
    rows = [line(product=f"p{n}").removeprefix("T1,") for n in products]
    return sales(*rows, header=SALES.removeprefix("transaction_id,"))


def names(place: Place) -> set[str]:
    return {str(row[1]) for row in place.mart("customers")}


def test_a_copy_with_an_older_time_does_not_move_what_has_its_place(place: Place) -> None:
    """c.csv corrects T1 to 99.00, and came before a.csv: a.csv's 10.00 counts."""
    noon = datetime(2024, 1, 5, 12, tzinfo=UTC)
    text = sales(line("T1", price="10.00"), *numbered(30))
    place.put("sales/c.csv", sales(line("T1", price="99.00")), delivered=noon)
    place.put("sales/a.csv", text, delivered=noon + timedelta(hours=2))
    place.build()
    assert total(place) == Decimal("310.00")
    for key, copy in (("a_bak.csv", text.replace("\n", "\r\n")), ("a.csv.gz", gzip.compress(text.encode()))):
        place.put(f"sales/{key}", copy, delivered=noon - timedelta(hours=2))
        assert (place.build().exit_code, total(place)) == (0, Decimal("310.00")), key


@pytest.mark.parametrize("meanwhile", ["vacuum", "rebuild", "lost state", ""])
@pytest.mark.parametrize("again", ["excel", "gzip"])
def test_rows_that_were_taken_back_have_their_place_whatever_happens_to_the_state(
    place: Place, again: str, meanwhile: str
) -> None:
    place.settings = APPLY
    text = sales(*numbered(30))
    place.put("sales/a.csv", text)
    place.build()
    place.put("sales/c.csv", sales(line("A0", 1, price="20.00")))
    place.build()
    (place.source / "sales/a.csv").unlink()
    place.build(rebuild=meanwhile == "rebuild")
    if meanwhile == "vacuum":
        marts("vacuum", *place.flags)
    elif meanwhile == "lost state":
        for path in (place.folder / "state").rglob("*"):
            if path.is_file():
                path.unlink()
    if again == "gzip":
        place.put("sales/a.csv.gz", gzip.compress(text.encode()))
    else:
        place.put("sales/saved.csv", text.replace("\n", "\r\n"))
    place.build()
    assert total(place) == Decimal("310.00")


@pytest.mark.parametrize("meanwhile", ["vacuum", ""])
def test_rows_of_a_version_that_was_replaced_have_their_place_when_they_come(place: Place, meanwhile: str) -> None:
    text = sales(*numbered(30))
    place.put("sales/a.csv", text)
    place.build()
    place.put("sales/c.csv", sales(line("A0", 1, price="20.00")))
    place.build()
    place.put("sales/a.csv", sales(*numbered(30)[1:]))
    place.build()
    assert total(place) == Decimal("310.00")
    if meanwhile:
        marts("vacuum", *place.flags)
    place.put("sales/a_old.csv", text.replace("\n", "\r\n"))
    place.build()
    assert total(place) == Decimal("310.00")


def test_small_drops_without_ids_are_one_with_their_gzip_whatever_else_is_there(place: Place) -> None:
    text = anonymous(*range(5))
    place.put("sales/a.csv", text)
    place.put("sales/a.csv.gz", gzip.compress(text.encode()))
    place.build()
    assert total(place) == Decimal("50.00")
    place.put("sales/b.csv", anonymous(*reversed(range(5))))
    report = place.build()
    assert (total(place), mentions(report, "too few to treat them as one drop")) == (Decimal("100.00"), True)
    assert (place.build().outcome, total(place)) == ("unchanged", Decimal("100.00"))


@pytest.mark.parametrize("settings", [KEEP, {}])
def test_a_small_drop_without_ids_that_is_compressed_is_the_same(place: Place, settings: dict[str, object]) -> None:
    place.settings = settings
    text = anonymous(*range(5))
    place.put("sales/a.csv", text)
    place.build()
    (place.source / "sales/a.csv").unlink()
    place.put("sales/a.csv.gz", gzip.compress(text.encode()))
    report = place.build()
    assert (report.exit_code, total(place)) == (0, Decimal("50.00"))


def test_a_small_drop_that_is_saved_again_under_its_name_is_no_pair(place: Place) -> None:
    place.put("sales/a.csv", anonymous(*range(5)))
    place.build()
    place.put("sales/a.csv", anonymous(*range(5)).replace("\n", "\r\n"))
    report = place.build()
    assert (total(place), mentions(report, "too few to treat them as one drop")) == (Decimal("50.00"), False)


def test_an_older_table_that_is_compressed_is_still_older(place: Place) -> None:
    place.put("sales/a.csv", sales(line()))
    place.build()
    place.put("customers/new.csv", CUSTOMERS.replace("Asha", "Usha"))
    place.build()
    (place.source / "customers/customers.csv").unlink()
    place.put("customers/customers.csv.gz", gzip.compress(CUSTOMERS.encode()))
    place.build()
    assert names(place) == {"Usha Rao"}


def test_a_drop_that_was_accepted_stays_so_when_it_is_compressed(place: Place) -> None:
    bad = [f"B{n},1,121,milk,2024-01-10,1,abc,1,5.00" for n in range(9)]
    text = sales(*numbered(9), *bad)
    place.put("sales/good.csv", sales(*numbered(100, "G")))
    place.put("sales/bad.csv", text)
    place.build()
    marts("quarantine", "accept", "sales/bad.csv", "--why", "known", *place.flags)
    place.build()
    assert total(place) == Decimal("1090.00")
    (place.source / "sales/bad.csv").unlink()
    place.put("sales/bad.csv.gz", gzip.compress(text.encode()))
    assert (place.build().exit_code, total(place)) == (0, Decimal("1090.00"))


@pytest.mark.parametrize("order", ["same", "reversed"])
def test_rows_with_a_bad_one_are_the_same_in_another_order_of_columns(place: Place, order: str) -> None:
    refunds = [line(f"S{n}", n % 5 + 1, quantity=-1) for n in range(60)]
    rows = [SALES, *refunds, "S99,1,121,milk,2024-01-10,1,abc,-1,-5.00"]
    place.put("sales/sold.csv", sales(*(line(f"S{n}", n % 5 + 1, quantity=3) for n in range(60))))
    place.put("sales/a.csv", "\n".join([*rows, ""]))
    place.build()
    turned = [",".join(reversed(row.split(","))) for row in rows] if order == "reversed" else rows
    place.put("sales/b.csv", "\r\n".join([*turned, ""]))
    report = place.build()
    assert (total(place), report.totals.repeated) == (Decimal("1200.00"), 61)


def test_many_tables_of_no_use_do_not_hide_the_one_that_counts(place: Place) -> None:
    place.put("sales/a.csv", sales(line()))
    place.build()
    for n in range(6):
        place.put(f"customers/bad{n}.csv", f"no,such,{n}\n")
    report = place.build()
    assert (report.exit_code, names(place)) == (65, {"Asha Rao"})
    assert not mentions(report, "changed or was removed")
    assert place.build().exit_code == 0


def test_the_same_error_page_under_many_names_is_rejected_at_once(place: Place) -> None:
    place.put("sales/good.csv", sales(line()))
    for n in range(10):
        place.put(f"sales/{n}.csv", "<html>503</html>\n")
    report = place.build()
    states = [drop.state for drop in report.drops if drop.key != "sales/good.csv" and drop.kind == "sales"]
    assert (report.exit_code, states) == (65, ["rejected"] * 10)
    assert place.build().exit_code == 0


def test_a_target_that_was_lost_while_drops_are_kept_is_reported(place: Place) -> None:
    place.settings = KEEP
    place.put("sales/a.csv", sales(*numbered(10)))
    place.put("sales/b.csv", sales(*numbered(10, "B")))
    place.build()
    (place.source / "sales/a.csv").unlink()
    place.build()
    if not place.address.startswith("duckdb"):
        pytest.skip("a server has one database for each test")
    state = f"{place.folder}/state"
    place.target, place.settings = f"duckdb:///{place.folder}/other.duckdb", {**KEEP, "state": state}
    report = place.build()
    assert mentions(report, "the state has 1 sales drops whose objects were removed, and the ledger is empty")


def test_a_column_of_the_key_that_no_drop_has_is_refused(place: Place) -> None:
    place.policy = Policy(max_unknown_ratio=0.2, transaction_key=("store_id", "day", "payment_mode"))
    place.put("sales/a.csv", sales(line()))
    report = place.build()
    assert report.exit_code == 2
    assert mentions(report, "transaction_key names 'payment_mode', which no drop of sales has")


def test_an_unknown_id_of_more_than_64_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64 bits"):
        Policy(unknown_ids=(2**63,))
