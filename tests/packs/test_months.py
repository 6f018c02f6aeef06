"""Tables of months that read other months, dimensions with versions and each other, and that are published."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from packs.conftest import Bucket
from packs.test_library import InS3, Library, Loan, loans_of, write_pack
from support.kit import marts

pytestmark = [pytest.mark.usefixtures("small_builds")]
LOOKBACK = "lookback = { reader_months = 2 }"
WHOLE = 'partition = "month"\nwhole = true\n'
TABLES = """
[drops.branches]
key = "branch_id"
versions = true
columns = [
    ["branch_id", "id", "key"],
    ["city", "text", "where it is"],
    ["share", "percent", "of the fees that it keeps"],
]

[tables.shares]
per = "month"
whole = true
reads = ["branch_months", "branches"]
sql = "shares.sql"
key = ["branch_id", "covers_from"]

[tables.ranks]
per = "month"
whole = true
reads = ["reader_months"]
sql = "ranks.sql"
key = ["reader_id"]

[tables.scored]
publish = "scored_loans"
per = "month"
partition = "day"
reads = ["loans", "shares", "ranks"]
lookback = { reader_months = 2 }
sql = "scored.sql"
key = ["reader_id", "loan_id", "month"]
control = "fee"
columns = [
    ["loan_id", "text", "The loan."],
    ["reader_id", "id", "The reader."],
    ["month", "month", "Its month."],
    ["loaned_on", "date", "When."],
    ["fee", "money", "What was paid."],
    ["city", "text?", "Of the branch on that day.", "null if no snapshot has the branch"],
    ["kept", "money?", "Share of the branch on that day.", "null if no snapshot has the branch"],
    ["loans_before", "count", "Loans of the reader in the two months before."],
    ["is_high", "flag", "Whether it costs more than twice their mean; not for readers without any."],
    ["place", "count", "Place of the reader among those of the month, by fees."],
]

[tables.city_months]
publish = "city_months"
per = "month"
partition = "month"
whole = true
reads = ["scored"]
sql = "city_months.sql"
key = ["month", "city"]
control = "fees"
columns = [
    ["month", "month", "The month."],
    ["city", "text", "The city."],
    ["loans", "count", "Loans of the month."],
    ["fees", "money", "Fees of the month."],
    ["high", "count", "Loans that are high."],
]

[tables.cities]
publish = "cities"
per = "all"
reads = ["scored", "city_months"]
sql = "cities.sql"
key = ["city"]
control = "fees"
columns = [
    ["city", "text", "The city."],
    ["fees", "money", "Fees of all months."],
    ["readers", "count", "Readers of all months."],
    ["months", "count", "Months with loans."],
]

[highlights.kept]
kind = "months"
table = "scored"
title = "Fees of loans"
by = "month"
sum = "fee"

[views.loans]
table = "scored"
help = "Query loans."

[views.loans.top]
title = "dearest loans"
help = "List the loans with the highest fees."
order = "fee"
columns = ["loan_id", "reader_id", "fee"]
"""
OF_SEVERAL = """
[tables.held]
publish = "held_shares"
per = "all"
reads = ["shares"]
sql = "held.sql"
key = ["city"]
columns = [["city", "text", "The city."], ["months", "count", "Months in which a branch was there."]]

[tables.sums]
per = "month"
whole = true
reads = ["reader_months"]
sql = "sums.sql"
key = ["one_row"]

[tables.parts]
publish = "reader_parts"
per = "month"
partition = "month"
reads = ["reader_months", "sums", "ranks"]
lookback = { sums = 1 }
sql = "parts.sql"
key = ["reader_id", "month"]
columns = [
    ["reader_id", "id", "A reader."],
    ["month", "month", "The month."],
    ["loans", "count", "Loans in it."],
    ["of_all", "count", "Loans of all readers."],
    ["of_before", "count", "Those of the month before."],
    ["ranked", "count", "Readers with a place, of those of the same shards."],
]
"""
LAPSED = """
[tables.lapsed]
publish = "lapsed_readers"
per = "month"
partition = "month"
reads = ["reader_months"]
lookback = { reader_months = 2 }
sql = "lapsed.sql"
key = ["reader_id", "month"]
columns = [
    ["reader_id", "id", "A reader without a loan in the month."],
    ["month", "month", "The month."],
    ["loans", "count", "Loans in the two months before."],
]
"""
SQL = {
    "shares.sql": "SELECT branch_id, covers_from, covers_to, city, share_hundredths FROM branches "
    "SEMI JOIN branch_months USING (branch_id) ORDER BY branch_id, covers_from",
    "ranks.sql": "SELECT reader_id, rank() OVER (ORDER BY fee_cents DESC) AS place FROM reader_months "
    "ORDER BY reader_id",
    "scored.sql": """
        WITH habits AS (
            SELECT reader_id, sum(lines)::BIGINT AS loans_before, sum(fee_cents)::BIGINT AS cents
            FROM reader_months_before GROUP BY reader_id
        )
        SELECT loan_id, reader_id, loaned_on, money(fee_cents) AS fee, city,
            money(div_half_up(fee_cents * share_hundredths, 10000)) AS kept, coalesce(loans_before, 0) AS loans_before,
            coalesce(fee_cents * loans_before > 2 * cents, FALSE) AS is_high, place
        FROM loans LEFT JOIN habits USING (reader_id) JOIN ranks USING (reader_id)
        LEFT JOIN shares ON shares.branch_id = loans.branch_id AND loaned_on >= covers_from AND loaned_on < covers_to
        ORDER BY reader_id, loan_id
    """,
    "city_months.sql": "SELECT coalesce(city, '-') AS city, count(*) AS loans, sum(fee)::DECIMAL(18, 2) AS fees, "
    "count(*) FILTER (is_high) AS high FROM scored GROUP BY 1 ORDER BY 1",
    "cities.sql": "SELECT city, sum(fees)::DECIMAL(18, 2) AS fees, any_value(readers) AS readers, count(*) AS months "
    "FROM city_months JOIN (SELECT coalesce(city, '-') AS city, count(DISTINCT reader_id) AS readers FROM scored "
    "GROUP BY 1) USING (city) GROUP BY city",
}
MARTS = ("scored_loans", "city_months", "cities")
Branch = tuple[int, str, str]
"""Id, city, share in percent."""


def with_tables(library: Library) -> Library:
    """Return a library with a pack of its own that has these tables."""
    return library.with_pack(TABLES, SQL)


def anywhere(bucket: Bucket | None, folder: Path) -> Library:
    """Return the library in a folder, or in a bucket."""
    return with_tables(InS3(folder, "remote", bucket.s3, bucket.name) if bucket else Library(folder, "here"))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return with_tables(Library(tmp_path, "here"))


def snapshot(library: Library, day: date, branches: Iterable[Branch]) -> None:
    rows = "".join(f"{branch},{city},{share}\n" for branch, city, share in branches)
    library.put(f"branches/{day}.csv", f"branch_id,city,share\n{rows}")


def expected(deliveries: Iterable[list[Loan]], snapshots: dict[date, list[Branch]]) -> list[list[Any]]:
    """Compute the three tables row by row."""
    last = {(loan[1], f"{loan[3]:%Y-%m}", loan[0]): loan for loans in deliveries for loan in loans}
    scored = []
    for loan_id, reader, branch, day, _, fee in last.values():
        number = day.year * 12 + day.month
        earlier = [x for x in last.values() if x[1] == reader and 0 < number - x[3].year * 12 - x[3].month < 3]
        city, share = branch_on(branch, day, snapshots)
        kept = None if share is None else (fee * share / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
        high = bool(earlier) and fee * len(earlier) > 2 * sum(x[5] for x in earlier)
        fees = defaultdict[int, Decimal](Decimal)
        for other in last.values():
            fees[other[1]] += other[5] if f"{other[3]:%Y-%m}" == f"{day:%Y-%m}" else 0
        place = 1 + sum(fees[other] > fees[reader] for other in fees)
        scored.append((loan_id, reader, f"{day:%Y-%m}", day, fee, city, kept, len(earlier), high, place))
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in scored:
        groups[row[2], row[5] or "-"].append(row)
    of_months = [
        (month, city, len(own), sum(row[4] for row in own), sum(row[8] for row in own))
        for (month, city), own in sorted(groups.items())
    ]
    cities = [
        (
            city,
            sum(row[3] for row in of_months if row[1] == city),
            len({row[1] for row in scored if (row[5] or "-") == city}),
            sum(row[1] == city for row in of_months),
        )
        for city in sorted({city for _, city in groups})
    ]
    return [sorted(scored, key=lambda row: (row[0], row[1], row[2])), of_months, cities]


def branch_on(branch: int, day: date, snapshots: dict[date, list[Branch]]) -> tuple[str | None, Decimal | None]:
    """Return the city and the share of a branch on a day: of the newest snapshot up to it, or else of the first."""
    rows = [(when, row) for when, rows in sorted(snapshots.items()) for row in rows if row[0] == branch]
    if not rows:
        return None, None
    (_, city, share) = next((row for when, row in reversed(rows) if when <= day), rows[0][1])
    return city, Decimal(share)


def tables(library: Library) -> list[list[Any]]:
    scored, of_months, cities = (library.rows(table) for table in MARTS)
    ordered = sorted((*row[:8], bool(row[8]), row[9]) for row in scored) if scored else []
    return [sorted(ordered, key=lambda row: (row[0], row[1], row[2])), of_months, cities]


@pytest.mark.parametrize(("lines", "seed"), [("1500000", 0), ("4", 2)], ids=["one", "several"])
def test_days_one_by_one_equal_a_rebuild_and_a_calculation(
    library: Library, monkeypatch: pytest.MonkeyPatch, lines: str, seed: int
) -> None:
    monkeypatch.setenv("MARTS_LIMITS__ROLLUP_LINES", lines)
    chance = random.Random(seed)
    deliveries, snapshots = list[list[Loan]](), dict[date, list[Branch]]()
    for number in range(5):
        day = date(2024, 1, 10) + timedelta(days=24 * number)
        if not snapshots or chance.random() < 0.6:
            when = day - timedelta(days=chance.randrange(40))  # it may be late
            snapshots[when] = [(n, chance.choice("AB"), chance.choice(["1.25", "2", "3.5"])) for n in (1, 2)]
            snapshot(library, when, snapshots[when])
        deliveries.append(loans_of(chance, day))
        library.deliver(f"day-{number}", deliveries[-1])
        library.build()
        assert tables(library) == expected(deliveries, snapshots)
    library.build("--rebuild")
    assert tables(library) == expected(deliveries, snapshots)


def test_a_new_day_of_a_month_loads_its_rows_only(library: Library) -> None:
    snapshot(library, date(2024, 1, 1), [(1, "A", "2")])
    library.deliver("a", [loan(n, date(2024, 1, 5 + n % 3), "5.00", reader=2) for n in range(20)])
    library.build()
    library.deliver("b", [loan(99, date(2024, 1, 9))])
    library.build()
    saved = [json.loads(path.read_text()) for path in library.folder.rglob("marts/scored/*/done.json")]
    (changes,) = [item["changes"] for item in saved if item["changes"]]
    assert [(item["removed_rows"], item["added_rows"]) for item in changes] == [(0, 1)]
    assert len(library.rows("scored_loans")) == 21


def loan(number: int, day: date, fee: str = "1.00", reader: int = 1, branch: int = 1) -> Loan:
    return (f"L{number}", reader, branch, day, None, Decimal(fee))


@contextmanager
def computed(library: Library) -> Iterator[dict[str, list[str]]]:
    """Give, at the end, the months of each table whose rows were computed meanwhile."""
    before, result = {*library.folder.rglob("month=*/*/*.parquet")}, dict[str, list[str]]()
    yield result
    for path in sorted({*library.folder.rglob("month=*/*/*.parquet")} - before):
        result.setdefault(path.stem, []).append(path.parts[-3].removeprefix("month="))


def test_rows_do_not_depend_on_the_parts_of_months(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_LIMITS__ROLLUP_LINES", "4")
    with (library.folder / "pack" / "pack.toml").open("a") as file:
        file.write(LAPSED + OF_SEVERAL)
    for name, text in {
        "held.sql": "SELECT city, count(*) AS months FROM shares GROUP BY city",
        "sums.sql": "SELECT 1 AS one_row, sum(lines)::BIGINT AS lines FROM reader_months",
        "parts.sql": "SELECT r.reader_id, r.lines AS loans, (SELECT sum(lines)::BIGINT FROM sums) AS of_all, "
        "coalesce((SELECT sum(lines)::BIGINT FROM sums_before), 0) AS of_before, "
        "(SELECT count(*) FROM ranks) AS ranked FROM reader_months r ORDER BY reader_id",
    }.items():
        (library.folder / "pack" / name).write_text(text)
    (library.folder / "pack" / "lapsed.sql").write_text(
        "SELECT reader_id, sum(lines)::BIGINT AS loans FROM reader_months_before "
        "WHERE reader_id NOT IN (SELECT reader_id FROM reader_months) GROUP BY reader_id ORDER BY reader_id"
    )
    library.put("readers/r.csv", "reader_id,name\n" + "".join(f"{n},R{n}\n" for n in range(1, 41)))
    branches = {date(2024, 1, 1): [(1, "A", "2")]}
    snapshot(library, date(2024, 1, 1), branches[date(2024, 1, 1)])
    chance, loans = random.Random(1), list[Loan]()
    for month, count in ((1, 60), (2, 5), (3, 25), (4, 1), (5, 40)):  # 16, 1, 8, 1 and 8 parts
        loans += [loan(100 * month + n, date(2024, month, 5), "1.00", chance.randint(1, 40)) for n in range(count)]
    library.deliver("a", loans)
    library.build()
    assert tables(library) == expected([loans], branches)
    readers = {month: [x[1] for x in loans if x[3].month == month] for month in range(-1, 6)}
    assert library.rows("lapsed_readers") == sorted(
        (reader, f"2024-{month:02}", before.count(reader))
        for month in range(1, 6)
        for before in [readers[month - 2] + readers[month - 1]]
        for reader in set(before) - set(readers[month])
    )
    assert library.rows("held_shares") == [("A", 5)]
    parts = library.rows("reader_parts")
    assert [row[:5] for row in parts] == sorted(
        (reader, f"2024-{month:02}", readers[month].count(reader), len(readers[month]), len(readers[month - 1]))
        for month in range(1, 6)
        for reader in set(readers[month])
    )
    assert {row[5] for row in parts if row[1] == "2024-01"} != {len({*readers[1]})}  # their own rows only
    assert len(list(library.folder.rglob("month=2024-01/*/scored.parquet"))) == 16
    assert len(list(library.folder.rglob("month=2024-02/*/scored.parquet"))) == 1


def test_a_late_row_computes_again_the_months_that_look_back_to_it(library: Library) -> None:
    snapshot(library, date(2024, 1, 1), [(1, "A", "2")])
    days = [loan(n, date(2024, n, 5)) for n in range(1, 7)]
    library.deliver("a", days)
    library.build()
    late = [loan(9, date(2024, 2, 7), "5.00")]
    library.deliver("late", late)
    with computed(library) as months:
        library.build()
    assert months["reader_months"] == ["2024-02"]
    assert months["scored"] == ["2024-02", "2024-03", "2024-04"]
    assert tables(library) == expected([days, late], {date(2024, 1, 1): [(1, "A", "2")]})


def test_a_snapshot_computes_again_the_months_whose_rows_it_changes(library: Library) -> None:
    first, later = (
        {date(2024, 1, 1): [(1, "A", "2"), (2, "B", "2")]},
        {date(2024, 3, 5): [(1, "A", "3"), (2, "B", "2")]},
    )
    snapshot(library, date(2024, 1, 1), first[date(2024, 1, 1)])
    days = [loan(n, date(2024, n, 5), branch=1 + (n == 4)) for n in range(1, 6)]
    library.deliver("a", days)
    library.build()
    snapshot(library, date(2024, 3, 5), later[date(2024, 3, 5)])
    with computed(library) as months:
        library.build()
    assert "reader_months" not in months
    assert months["shares"] == ["2024-01", "2024-02", "2024-03", "2024-04", "2024-05"]
    assert months["scored"] == ["2024-03", "2024-05"]  # the loan of April is of a branch that did not change
    assert tables(library) == expected([days], first | later)
    snapshot(library, date(2024, 3, 9), later[date(2024, 3, 5)])
    with computed(library) as months:
        library.build()
    assert set(months) == {"shares", "ranks", "digests"}  # it costs the small tables only


def test_only_the_parts_of_months_that_differ_are_written(library: Library) -> None:
    snapshot(library, date(2024, 1, 1), [(1, "A", "2")])
    library.deliver("a", [loan(n, date(2024, n, 5)) for n in range(1, 7)])
    library.build()
    before = {*library.folder.rglob("marts/scored/*/part-*.parquet")}
    assert len(before) == 6
    library.deliver("late", [loan(9, date(2024, 5, 7), "5.00")])
    library.build()
    added = {*library.folder.rglob("marts/scored/*/part-*.parquet")} - before
    assert sorted(pq.read_table(path)["month"][0].as_py() for path in added) == ["2024-05", "2024-06"]


def test_rows_after_as_of_are_not_in_it_and_an_earlier_as_of_gives_what_was(library: Library) -> None:
    branches = {date(2024, 1, 1): [(1, "A", "2")], date(2024, 4, 1): [(1, "B", "3")]}
    for day, rows in branches.items():
        snapshot(library, day, rows)
    days = [loan(n, date(2024, n, 5), f"{n}.00") for n in range(1, 7)]
    library.deliver("a", days)
    library.build()
    library.build(as_of="2024-03-20")
    assert tables(library) == expected([days[:3]], {date(2024, 1, 1): [(1, "A", "2")]})
    marts("rollback", *library.flags, "--why", "test")
    assert tables(library) == expected([days], branches)


def test_the_month_that_goes_on_ends_with_as_of(library: Library) -> None:
    branches = {date(2024, 1, 1): [(1, "A", "2")]}
    snapshot(library, date(2024, 1, 1), branches[date(2024, 1, 1)])
    days = [loan(1, date(2024, 1, 5)), loan(2, date(2024, 2, 5)), loan(3, date(2024, 2, 25)), loan(4, date(2024, 3, 5))]
    library.deliver("a", days)
    library.build(as_of="2024-02-10")
    assert tables(library) == expected([days[:2]], branches)


def test_a_damaged_file_is_rebuilt(library: Library) -> None:
    """One of each table, cut or removed: each late row has the next build read it."""
    branches = {date(2024, 1, 1): [(1, "A", "2")]}
    snapshot(library, date(2024, 1, 1), branches[date(2024, 1, 1)])
    delivered = [[loan(n, date(2024, n, 5)) for n in range(1, 4)]]
    library.deliver("a", delivered[0])
    library.build()
    damages = product(("digests", "reader_months", "shares", "scored"), ("cut", "removed"))
    for number, (name, damage) in enumerate(damages, 10):
        paths = sorted(library.folder.rglob(f"month=2024-02/*/{name}.parquet"))
        assert paths
        for path in paths:
            if damage == "cut":
                path.write_bytes(path.read_bytes()[:-9])
            else:
                path.unlink()
        delivered.append([loan(number, date(2024, 3, 7), "5.00")])
        library.deliver(f"late-{number}", delivered[-1])
        library.build()
        assert tables(library) == expected(delivered, branches)


def test_vacuum_keeps_what_the_next_build_reads(library: Library) -> None:
    snapshot(library, date(2024, 1, 1), [(1, "A", "2")])
    library.deliver("a", [loan(n, date(2024, n, 5)) for n in range(1, 7)])
    library.build()
    library.deliver("late", [loan(9, date(2024, 2, 7), "5.00")])
    library.build()
    marts("vacuum", *library.flags)
    left = {path.parts[-2] for path in library.folder.rglob("month=2024-02/*/scored.parquet")}
    assert len(left) == 1
    library.deliver("more", [loan(10, date(2024, 6, 7))])
    with computed(library) as months:
        library.build()
    assert months["scored"] == ["2024-06"]


def test_tables_in_any_place_are_erased_rolled_back_and_shown(bucket: Bucket | None, tmp_path: Path) -> None:
    library = anywhere(bucket, tmp_path)
    branches = {date(2024, 1, 1): [(1, "A", "2")], date(2024, 2, 10): [(1, "B", "2.5"), (2, "C", "1")]}
    for day, rows in branches.items():
        snapshot(library, day, rows)
    chance, deliveries = random.Random(5), list[list[Loan]]()
    for number in range(4):
        deliveries.append(loans_of(chance, date(2024, 1, 20) + timedelta(days=25 * number)))
        library.deliver(f"day-{number}", deliveries[-1])
        library.build()
        assert tables(library) == expected(deliveries, branches)
    listed = json.loads(marts("loans", "top", *library.flags, "--json").stdout)
    fees = sorted((row[4] for row in library.rows("scored_loans")), reverse=True)
    assert [Decimal(row["fee"]) for row in listed] == fees[: len(listed)]
    marts("rollback", *library.flags, "--why", "test")
    assert tables(library) == expected(deliveries[:-1], branches)
    marts("erase", "person", "2", *library.flags, "--why", "asked", "--yes")
    if not bucket:
        files = [
            path for path in library.folder.rglob("month=*/*/*.parquet") if "reader_id" in pq.read_schema(path).names
        ]
        assert files
        assert not any(2 in pq.read_table(path)["reader_id"].to_pylist() for path in files)
    library.build("--rebuild")
    scored, *others = expected(deliveries, branches)
    of_nobody = [
        (row[0], -1001 if row[1] == 2 else row[1], *row[2:]) for row in scored
    ]  # the fees are those of the drops
    assert tables(library) == [sorted(of_nobody, key=lambda row: (row[0], row[1], row[2])), *others]


def test_a_key_that_several_months_have_is_named(bucket: Bucket | None, tmp_path: Path) -> None:
    library = anywhere(bucket, tmp_path)
    library.edit("pack.toml", 'key = ["reader_id", "loan_id", "month"]', 'key = ["reader_id", "loan_id"]')
    snapshot(library, date(2024, 1, 1), [(1, "A", "2")])
    library.deliver("a", [loan(1, date(2024, 1, 5)), loan(1, date(2024, 2, 5)), loan(2, date(2024, 2, 6))])
    printed = marts("build", *library.flags, "--as-of", "2024-12-31", code=65).stderr
    assert "1 keys of scored_loans have several rows, such as reader_id 1, loan_id L1" in printed
    assert "where: tables.scored" in printed


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (LOOKBACK, 'lookback = { reader_month = 2 }', "did you mean 'reader_months'"),
        (LOOKBACK, 'lookback = { reader_months = 0 }', "lookback.reader_months"),
        (LOOKBACK, 'lookback = { branch_months = 2 }', "key of branch_months must contain reader_id"),
        (LOOKBACK, 'lookback = { city_months = 2 }', "read each other: scored, city_months"),
        ('reads = ["branch_months", "branches"]', 'reads = ["branches"]', "a table of months reads a fact"),
        ("whole = true\n", "", "divided among tasks by reader_id, which is not in its key"),
        (WHOLE, 'partition = "month"\n', "divided among tasks by reader_id, which is not in its key"),
        ('true\nreads = ["reader_months"]', 'false\nreads = ["shares"]', "reads only tables with whole = true"),
        (WHOLE, WHOLE + "lookback = { fine = 1 }\n", "lookback: 'fine' is no other table of months"),
        ('reads = ["scored"]', 'reads = ["scored", "loans"]', "so it cannot read fact loans"),
        ('partition = "day"\n', 'partition = "day"\nwhole = true\n', "so it cannot read fact loans"),
        ('reads = ["scored", "city_months"]', 'whole = true\nreads = ["scored"]', "whole is for tables of months"),
        ('partition = "day"\n', "", "publish and partition"),
        ('    ["loaned_on", "date", "When."],\n', "", 'partition = "day" needs a column of type date'),
        ('per = "all"\nreads', 'per = "all"\npartition = "day"\nreads', "partition is for tables of months"),
        ('["month", "month", "Its month."]', '["month", "date", "Its month."]', "its type is month"),
        ('by = "month"\nsum = "fee"', 'by = "month"\nsum = "fee"\nonce_per = "reader_id"', "a key may be in several"),
        ("money(fee_cents) AS fee", "fee_cents AS fee", "fee is declared as money, DECIMAL(18,2)"),
        ("FROM reader_months_before", "FROM reader_month_before", "reader_month_before does not exist"),
        ("covers_to, city", "valid_to, city", "valid_to"),
        ("count(*) AS loans", "'2024-01' AS month, count(*) AS loans", "a column 'month', which the engine adds"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_such_tables_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in TABLES + "".join(SQL.values())
    sql = {name: text.replace(old, new, 1) for name, text in SQL.items()}
    pack = write_pack(tmp_path, TABLES.replace(old, new, 1), sql)
    assert says in str(marts("pack", "check", str(pack), code=2).exception)


def test_a_pack_with_such_tables_is_checked(library: Library) -> None:
    listed = marts("pack", "check", str(library.folder / "pack")).stdout
    assert "scored_loans" in listed
    assert listed.count("city_months") == 2  # its name, and that of its table in the database
