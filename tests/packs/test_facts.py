"""A pack with two facts: loans and fines, each with tables of its own, and one table of months that reads both."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from packs.test_library import Library, Loan, expected, loans_of
from support.kit import marts

pytestmark = [pytest.mark.usefixtures("small_builds")]
Fine = tuple[str, int, date, Decimal]
"""Id, reader, day, amount."""
FINES = """
[drops.fines]
at = "fined_on"
shard = "reader_id"
control = "amount"
identity = { id = "fine_id", within = ["month"], repeats = "replace" }
columns = [
    ["fine_id", "text", "the fine; a later row of it replaces the earlier one"],
    ["reader_id", "id", "who pays"],
    ["fined_on", "date", "when"],
    ["amount", "amount", "how much"],
]

[tables.fine_months]
per = "month"
reads = ["fines"]
sql = "fine_months.sql"
key = ["reader_id"]
control = "cents"

[tables.fines_mart]
publish = "reader_fines"
per = "key"
reads = ["fine_months"]
sql = "fines.sql"
key = ["reader_id", "month"]
control = "fines"
lookups = { readers = { on = "reader_id" } }
columns = [
    ["reader_id", "id", "The reader."],
    ["month", "month", "The month."],
    ["fines", "money", "Fines of the month."],
]
"""
BOTH = """
[tables.paid_months]
per = "month"
reads = ["loans", "fines"]
sql = "paid_months.sql"
key = ["reader_id"]

[tables.paid]
publish = "reader_paid"
per = "key"
reads = ["paid_months"]
sql = "paid.sql"
key = ["reader_id", "month"]
columns = [
    ["reader_id", "id", "The reader."],
    ["month", "month", "The month."],
    ["paid", "money", "Fees and fines of the month."],
]
"""
SQL = {
    "fine_months.sql": "SELECT reader_id, count(*) AS lines, sum(amount_cents)::BIGINT AS cents FROM fines "
    "GROUP BY reader_id ORDER BY reader_id",
    "fines.sql": "SELECT reader_id, month_name(month) AS month, money(cents) AS fines FROM fine_months",
    "paid_months.sql": "SELECT reader_id, sum(cents)::BIGINT AS cents FROM (SELECT reader_id, fee_cents AS cents "
    "FROM loans UNION ALL SELECT reader_id, amount_cents FROM fines) GROUP BY reader_id ORDER BY reader_id",
    "paid.sql": "SELECT reader_id, month_name(month) AS month, money(cents) AS paid FROM paid_months",
}


OF_TABLES = BOTH.replace('["loans", "fines"]', '["reader_months", "fine_months"]').replace(
    'sql = "paid_months.sql"', 'sql = "paid_of_tables.sql"'
)
SQL["fined.sql"] = "SELECT money(max(cents)) AS largest FROM fine_months HAVING count(*) > 0"
SQL["balance.sql"] = (
    "SELECT reader_id, month_name(month) AS month, money(sum(cents)::BIGINT) AS paid, (SELECT largest FROM fined) AS "
    "largest FROM (SELECT reader_id, month, fee_cents AS cents FROM reader_months UNION ALL SELECT reader_id, month, "
    "cents FROM fine_months) GROUP BY reader_id, month"
)
SQL["paid_of_tables.sql"] = (
    "SELECT reader_id, sum(cents)::BIGINT AS cents FROM (SELECT reader_id, fee_cents AS cents FROM reader_months "
    "UNION ALL SELECT reader_id, cents FROM fine_months) GROUP BY reader_id ORDER BY reader_id"
)


class WithFines(Library):
    """A library that fines its readers."""

    def __init__(self, folder: Path, name: str, more: str = "") -> None:
        super().__init__(folder, name)
        self.with_pack(FINES + more, SQL)

    def fine(self, name: str, fines: Iterable[Fine]) -> None:
        rows = (",".join(map(str, fine)) for fine in fines)
        self.put(f"fines/{name}.csv", "fine_id,reader_id,fined_on,amount\n" + "".join(f"{row}\n" for row in rows))


def fines_of(chance: random.Random, day: date) -> list[Fine]:
    return [
        (f"F{chance.randrange(9)}", chance.randrange(1, 4), day - timedelta(days=chance.randrange(40)), Decimal(n + 1))
        for n in range(6)
    ]


def monthly(deliveries: Iterable[list[Fine]]) -> dict[tuple[int, str], Decimal]:
    last = {(fine[1], f"{fine[2]:%Y-%m}", fine[0]): fine[3] for fines in deliveries for fine in fines}
    sums: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for (reader, month, _), amount in last.items():
        sums[reader, month] += amount
    return sums


def rows_of(sums: dict[tuple[int, str], Decimal]) -> list[Any]:
    return sorted((reader, month, amount) for (reader, month), amount in sums.items())


@pytest.mark.parametrize("more", ["", BOTH, OF_TABLES], ids=["apart", "together", "of tables"])
def test_days_of_two_facts_give_what_a_rebuild_and_a_calculation_give(tmp_path: Path, more: str) -> None:
    chance, library = random.Random(5), WithFines(tmp_path, "two", more)
    loans, fines = list[list[Loan]](), list[list[Fine]]()
    for number in range(4):
        day = date(2024, 3, 1) + timedelta(days=number)
        if number != 1:  # no fines yet, loans that come late
            loans.append(loans_of(chance, day))
            library.deliver(f"day-{number}", loans[-1])
        if number:
            fines.append(fines_of(chance, day))
            library.fine(f"day-{number}", fines[-1])
        library.build()
        readers, branches = expected(loans, {1: "Ada", 2: "Bo", 3: "Cy"})
        assert library.rows("reader_loans") == readers
        assert library.rows("branch_loans") == branches
        assert library.rows("reader_fines") == rows_of(monthly(fines))
        if more:
            paid = monthly(fines)
            for row in readers:
                paid[row[0], row[1]] += row[4]
            assert library.rows("reader_paid") == rows_of(paid)
    before = [library.rows(table) for table in ("reader_loans", "branch_loans", "reader_fines")]
    report = json.loads(marts("status", *library.flags, "--json").stdout)["runs"][0]["report"]
    totals = report["totals"]["facts"]
    assert Decimal(totals["fines"]["counted_total"]) == sum(monthly(fines).values())
    assert Decimal(totals["loans"]["counted_total"]) == sum(row[4] for row in before[0])
    assert set(report["newest"]) == {"loans", "fines"}
    library.build("--rebuild")
    assert [library.rows(table) for table in ("reader_loans", "branch_loans", "reader_fines")] == before


def test_a_month_of_one_fact_is_computed_alone_where_no_table_reads_both(tmp_path: Path) -> None:
    """A drop of fines does not compute the months of loans again; with a table of both, it does."""
    for number, (more, folders) in enumerate((("", 1), (BOTH, 2), (OF_TABLES, 2))):
        library = WithFines(tmp_path, f"months-{number}", more)
        library.deliver("a", [("L1", 1, 1, date(2024, 1, 2), None, Decimal("1.50"))])
        library.build()
        library.fine("a", [("F1", 1, date(2024, 1, 3), Decimal(2))])
        library.build()
        computed = {path.parent for path in library.folder.rglob("facts/month=2024-01/*/reader_months.parquet")}
        assert len(computed) == folders


def test_a_fall_of_one_fact_stops_a_build_although_another_rises(tmp_path: Path) -> None:
    library = WithFines(tmp_path, "fall")
    library.policy("max_fall_from = 1")
    library.deliver("a", [(f"L{n}", 1, 1, date(2024, 1, 2), None, Decimal(10)) for n in range(4)])
    library.fine("a", [(f"F{n}", 1, date(2024, 1, 3), Decimal(10)) for n in range(4)])
    library.build()
    library.fine("a", [("F0", 1, date(2024, 1, 3), Decimal(10))])
    library.deliver("b", [(f"M{n}", 1, 1, date(2024, 1, 2), None, Decimal(10)) for n in range(9)])
    result = marts("build", *library.flags, "--as-of", "2024-12-31", "--json", code=65)
    error = json.loads(result.stdout)["error"]
    assert "the total of fines up to 2024-12-31 falls from 40.00 to 10.00" in error["what"]
    assert library.rows("reader_fines") == [(1, "2024-01", Decimal(40))]
    run = json.loads(result.stdout)["run_id"]
    marts("accept-fall", run, "--why", "a correction", *library.flags)
    library.build()
    assert library.rows("reader_fines") == [(1, "2024-01", Decimal(10))]


def test_equal_rows_of_two_facts_are_no_copies_and_ids_are_checked_in_each(tmp_path: Path) -> None:
    library = WithFines(tmp_path, "ids")
    library.fine("a", [("F1", 1, date(2024, 1, 3), Decimal(2)), ("F1", 2, date(2024, 1, 3), Decimal(5))])
    library.deliver("a", [("F1", 1, 1, date(2024, 1, 3), None, Decimal(2))])
    library.build()
    listed = json.loads(marts("check", "ids", "--json", *library.flags).stdout)
    assert listed["ids"] == 1
    assert listed["shown"][0]["fine_id"] == "F1"
    library.fine("b", [("F1", 1, date(2024, 1, 3), Decimal(3))])
    library.build()
    sides = json.loads(marts("history", "--replaced", "fines/b.csv", "--json", *library.flags).stdout)
    assert [(row["fine_id"], row["amount"], row["fate"]) for row in sides] == [
        ("F1", "2.00", "replaced"),
        ("F1", "3.00", "counts"),
    ]
    wrong = marts("history", "--replaced", "readers/r.csv", *library.flags, code=2)
    assert "is a drop of the dimension readers" in str(wrong.exception)


def test_tables_of_months_that_read_each_other_are_refused(tmp_path: Path) -> None:
    library = WithFines(tmp_path, "circle", OF_TABLES)
    library.edit("pack.toml", 'reads = ["fines"]', 'reads = ["fines", "paid_months"]')
    result = marts("pack", "check", str(library.folder / "pack"), code=2)
    assert "tables that read each other: fine_months, paid_months" in str(result.exception)


BY_KEYS = """
[tables.fined]
per = "all"
reads = ["fine_months"]
sql = "fined.sql"
key = ["largest"]
columns = [["largest", "money", "The largest amount that a reader was fined in a month."]]

[tables.balance]
publish = "reader_balance"
per = "key"
reads = ["reader_months", "fine_months", "fined"]
sql = "balance.sql"
key = ["reader_id", "month"]
columns = [
    ["reader_id", "id", "The reader."],
    ["month", "month", "The month."],
    ["paid", "money", "Fees and fines of the month."],
    ["largest", "money?", "The largest fines of a reader in a month.", "null if there are no fines"],
]
"""


def test_a_mart_of_keys_reads_the_rows_of_its_keys_in_several_tables_of_months(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARTS_LIMITS__FINISH_ROWS", "30")  # two ranges of keys, and a patch over the first
    chance, library = random.Random(6), WithFines(tmp_path, "keys", BY_KEYS)
    library.policy('unknown_people = "warn"')
    loans, fines = list[list[Loan]](), list[list[Fine]]()
    for number in range(7):
        day = date(2024, 3, 1) + timedelta(days=number)
        if number != 2:
            readers = (1, 2, 3) if number < 5 else (1,)  # later days change few keys: a patch
            others = [(f"X{n}", n, 1, day, None, Decimal(1)) for n in range(4, 40)] if number == 0 else []
            loans.append([*others, *(loan for loan in loans_of(chance, day) if loan[1] in readers)])
            library.deliver(f"day-{number}", loans[-1])
        if number in (1, 2, 3):
            largest = Decimal(1) if number == 2 else Decimal(50)  # of an id of its own: the largest may stay
            fines.append([*fines_of(chance, day), (f"G{number}", 2, day, largest)])
            library.fine(f"day-{number}", fines[-1])
        library.build()
        assert library.rows("reader_balance") == _balance(loans, fines)
    library.build("--rebuild")
    assert library.rows("reader_balance") == _balance(loans, fines)
    assert list(library.folder.rglob("marts/balance/*/patch-*.parquet"))


def _balance(loans: Iterable[list[Loan]], fines: Iterable[list[Fine]]) -> list[Any]:
    of_fines = monthly(fines)
    paid = defaultdict(Decimal, of_fines)
    for row in expected(list(loans), {1: "Ada", 2: "Bo", 3: "Cy"})[0]:
        paid[row[0], row[1]] += row[4]
    largest = max(of_fines.values(), default=None)
    return [(*row, largest) for row in rows_of(paid)]
