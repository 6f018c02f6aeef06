"""Tables that read other tables: several tables of months, and marts in a chain."""

import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from packs.test_facts import FINES, SQL, Fine, WithFines, fines_of, monthly
from packs.test_library import Loan, expected, loans_of, write_pack
from support.kit import marts

pytestmark = [pytest.mark.usefixtures("small_builds")]
CHAIN = """
[tables.years]
publish = "library_years"
per = "all"
reads = ["levels_of_readers", "branches_mart"]
sql = "years.sql"
key = ["year"]
control = "fees"
columns = [
    ["year", "count", "The year."],
    ["fees", "money", "Fees."],
    ["often", "count", "Readers who borrow often."],
]

[tables.levels_of_readers]
publish = "reader_levels"
per = "all"
reads = ["readers_mart"]
sql = "levels.sql"
key = ["reader_id"]
columns = [["reader_id", "id", "The reader."], ["level", "text(20)", "Their level."]]

[tables.balance]
publish = "month_balance"
per = "all"
reads = ["branch_months", "fine_months"]
sql = "balance.sql"
key = ["month"]
columns = [["month", "month", "The month."], ["income", "money", "Fees and fines."]]
"""
MORE_SQL = {
    "years.sql": "SELECT left(month, 4)::BIGINT AS year, sum(fees)::DECIMAL(18,2) AS fees, (SELECT count(*) FROM "
    "levels_of_readers WHERE level = 'often') AS often FROM branches_mart GROUP BY 1",
    "levels.sql": "SELECT DISTINCT reader_id, level FROM readers_mart",
    "balance.sql": "SELECT month_name(month) AS month, money(sum(cents)::BIGINT) AS income FROM (SELECT month, "
    "fee_cents AS cents FROM branch_months UNION ALL SELECT month, cents FROM fine_months) GROUP BY month",
}


class WithChain(WithFines):
    """A library with tables that read others."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name, CHAIN)
        for file_name, text in MORE_SQL.items():
            (self.folder / "pack" / file_name).write_text(text)


def summed(loans: list[list[Loan]], fines: list[list[Fine]]) -> list[list[Any]]:
    """Compute the three tables from the tables that they read."""
    readers, branches = expected(loans, {1: "Ada", 2: "Bo", 3: "Cy"})
    levels = sorted({(row[0], row[8]) for row in readers})
    often = sum(level == "often" for _, level in levels)
    years, months = dict[int, Decimal](), dict[str, Decimal]()
    for row in branches:
        years[int(row[1][:4])] = years.get(int(row[1][:4]), Decimal(0)) + row[3]
        months[row[1]] = months.get(row[1], Decimal(0)) + row[3]
    for (_, month), amount in monthly(fines).items():
        months[month] = months.get(month, Decimal(0)) + amount
    return [sorted((year, fees, often) for year, fees in years.items()), levels, sorted(months.items())]


def tables(library: WithChain) -> list[list[Any]]:
    return [library.rows(table) for table in ("library_years", "reader_levels", "month_balance")]


def test_tables_that_read_tables_follow_each_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_LIMITS__FINISH_ROWS", "2")  # the mart that they read has parts, and patches over them
    chance, library = random.Random(3), WithChain(tmp_path, "chain")
    loans, fines = list[list[Loan]](), list[list[Fine]]()
    for number in range(4):
        day = date(2024, 3, 1) + timedelta(days=number)
        loans.append(loans_of(chance, day))
        library.deliver(f"day-{number}", loans[-1])
        if number > 1:
            fines.append(fines_of(chance, day))
            library.fine(f"day-{number}", fines[-1])
        library.build()
        assert tables(library) == summed(loans, fines)
    library.build("--rebuild")
    assert tables(library) == summed(loans, fines)
    assert len(list(library.folder.rglob("marts/years/*/done.json"))) > 1


def test_a_table_that_is_not_published_is_computed_for_those_that_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARTS_LIMITS__FINISH_ROWS", "2")
    chance, library = random.Random(4), WithChain(tmp_path, "hidden")
    library.edit("pack.toml", 'publish = "reader_levels"\n', "")
    loans = list[list[Loan]]()
    for number in range(4):
        loans.append(loans_of(chance, date(2024, 3, 1) + timedelta(days=number)))
        library.deliver(f"day-{number}", loans[-1])
        library.build()
        assert library.rows("library_years") == summed(loans, [])[0]
        marts("vacuum", *library.flags)
    listed = marts("status", *library.flags).stdout
    assert "years" in listed
    assert "levels_of_readers" not in listed
    before = {*library.folder.rglob("marts/levels_of_readers/*/done.json")}
    assert before  # vacuum keeps what a mart was computed from
    library.build(as_of="2024-12-30")
    assert library.rows("library_years") == summed(loans, [])[0]


def test_a_new_drop_of_another_fact_computes_no_table_that_does_not_depend_on_it(tmp_path: Path) -> None:
    library = WithChain(tmp_path, "apart")
    library.deliver("a", [("L1", 1, 1, date(2024, 1, 2), None, Decimal("1.50"))])
    library.build()
    library.fine("a", [("F1", 1, date(2024, 1, 3), Decimal(2))])
    library.build()
    computed = {name: len(list(library.folder.rglob(f"marts/{name}/*/done.json"))) for name in ("years", "balance")}
    assert computed == {"years": 1, "balance": 2}


def test_only_one_mart_is_built_with_those_that_it_reads(tmp_path: Path) -> None:
    library = WithChain(tmp_path, "one")
    library.deliver("a", [("L1", 1, 1, date(2024, 1, 2), None, Decimal("1.50"))])
    library.build("--mart", "levels_of_readers")
    assert library.rows("reader_levels") == [(1, "seldom")]
    assert [row[0] for row in library.rows("reader_loans")] == [1]
    listed = marts("status", *library.flags).stdout
    assert "library_years" not in listed
    library.build()
    wrong = marts("build", *library.flags, "--as-of", "2024-12-30", "--mart", "levels_of_readers", code=2)
    assert "as_of is 2024-12-30, and the other marts of this target are as of 2024-12-31" in wrong.output
    library.build("--mart", "levels_of_readers")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('reads = ["readers_mart"]', 'reads = ["years"]', "tables that read each other: years, levels_of_readers"),
        ('reads = ["readers_mart"]', 'reads = ["reader_mart"]', "did you mean 'readers_mart'"),
        (
            'per = "all"\nreads = ["branch_months",',
            'per = "key"\nreads = ["branch_months",',
            "begins with 'month'",
        ),
        ("sum(fees)::DECIMAL(18,2)", "sum(fees)", "fees is declared as money, DECIMAL(18,2)"),
    ],
)
def test_what_is_wrong_with_such_tables_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    sql = {name: text.replace(old, new, 1) for name, text in (SQL | MORE_SQL).items()}
    pack = write_pack(tmp_path, FINES + CHAIN.replace(old, new, 1), sql)
    assert says in str(marts("pack", "check", str(pack), code=2).exception)


def test_a_total_that_a_table_loses_stops_the_build(tmp_path: Path) -> None:
    library = WithChain(tmp_path, "lost")
    text = MORE_SQL["years.sql"].replace("GROUP BY 1", "WHERE month <> '2024-01' GROUP BY 1")
    (library.folder / "pack" / "years.sql").write_text(text)
    library.deliver("a", [("L1", 1, 1, date(2024, m, 2), None, Decimal("1.50")) for m in (1, 2)])
    printed = marts("build", "--as-of", "2024-12-31", *library.flags, code=65).stderr
    assert "fees of the mart sums to 1.50, but branches_mart to 3.00" in printed
    assert "hint: correct the SQL of branches_mart or levels_of_readers or years" in printed
