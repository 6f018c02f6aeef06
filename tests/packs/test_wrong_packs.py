"""Mistakes in a pack: `marts pack check` and builds name them, and rows that SQL cannot handle."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from packs.test_library import Library, write_pack
from support.kit import marts

from marts.compute.identity import NAMES
from marts.compute.versions import INFERRED, VERSION_COLUMNS
from marts.errors import UsageError
from marts.pack import EXTRA
from marts.reserved_words import OF_DIMENSIONS, OF_FACTS, OF_VERSIONS
from marts.rows.cast import DELETED, TIME

pytestmark = [pytest.mark.usefixtures("small_builds")]
PERSON = '["reader_id", "id", "who borrowed"]'
NAME = '["name", "text", "name of the reader", "personal"]'
SUBJECT = 'key = "reader_id" }'
HISTORY = 'versions = true\nkey = "reader_id"\ncolumns = ['
OF_READERS = 'key = "reader_id"\ncolumns = ['
OF_BRANCHES = 'per = "all"\nreads = ["branch_months"]\nsql = "branches.sql"\nkey = ["branch_id", "month"]'
READER_MONTHS = 'sql = "reader_months.sql"\n'
BRANCH_MONTHS = 'sql = "branch_months.sql"\n'
BRANCHES = "[tables.branches_mart]"
ALERT = """[alerts.late]
table = "readers_mart"
title = "{count} new"
order = "fees"
columns = [["reader_id", "Reader"]]
hint = "x"

"""
ALSO = """[[views.branches.show.also]]
table = "readers_mart"
title = "readers of {}"
by = "reader_id"
order = ["month"]
columns = ["month", "loans"]

"""
ALSO_OWN = ALSO.replace("readers_mart", "branches_mart").replace("reader_id", "branch_id")
STOPS = """[tables.stopping]
per = "all"
reads = ["branch_months"]
sql = "branches.sql"
key = ["branch_id"]
stops = { says = "{branch_id} and {none}", hint = "y" }
columns = [["branch_id", "id", "The branch."]]

"""
SO_FAR = 'so_far = ["reader_months"]\n'
MERGE = 'merge = { lines = "sum", fee_cents = "sum", last_loan = "max" }\n'
LOOKS_BACK = "lookback = { reader_months = 1 }\n"
SWAPPED = ('"branch_id", "month"', '"month", "branch_id"')


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        # The people who can be erased.
        ("pack.toml", SUBJECT, 'key = "reader" }', "subject.key: 'reader' is not the key of readers, 'reader_id'"),
        ("pack.toml", 'drop = "readers"', 'drop = "loans"', "subject.drop: 'loans' is no dimension"),
        ("pack.toml", PERSON, '["reader_id", "integer", "who"]', "drops.loans: reader_id names a person"),
        ("pack.toml", '["reader_id", "id", "The reader."]', '["reader_id", "count", "x"]', "tables.readers_mart"),
        ("pack.toml", SUBJECT, 'key = "reader_id", also = ["who"] }', "subject.also: no table has a column 'who'"),
        ("pack.toml", SUBJECT, 'key = "reader_id", also = ["level"] }', "tables.readers_mart: level names a person"),
        ("pack.toml", OF_READERS, 'reports = ["name"]\n' + OF_READERS, "reports is for a dimension with versions"),
        ("pack.toml", OF_READERS, 'reports = ["size"]\n' + HISTORY, "reports names 'size', which is no column"),
        # Alerts.
        ("pack.toml", BRANCHES, ALERT + BRANCHES, "alerts.late.columns: reader_id names"),
        ("pack.toml", BRANCHES, ALERT.replace("reader_id", "who") + BRANCHES, "'who'"),
        ("pack.toml", BRANCHES, ALERT.replace("readers_mart", "x") + BRANCHES, "no mart"),
        ("pack.toml", BRANCHES, ALERT.replace("late]", "failed]") + BRANCHES, "'failed' is an event of every run"),
        ("pack.toml", BRANCHES, ALERT.replace("late]", "alert]") + BRANCHES, "'alert' is an event of every run"),
        # Tables that stop a build.
        ("pack.toml", OF_BRANCHES, 'stops = { says = "x", hint = "y" }\n' + OF_BRANCHES, "stops is for tables"),
        ("pack.toml", BRANCHES, STOPS + BRANCHES, "stops.says has '{none}'"),
        # Names that the engine has.
        ("pack.toml", '"branch_id", "id", "where"', '"bucket", "id", "where"', "'bucket' is reserved"),
        ("pack.toml", '["fee", "amount", "what was paid"]', '["fee", "amount", "x", "stored as bucket"]', "'bucket'"),
        ("pack.toml", '"returned_on", "date?", "when', '"delivery", "text?", "when', "'delivery' is reserved"),
        ("pack.toml", '"returned_on", "date?"', '"order", "date?"', "'order' is reserved"),
        ("pack.toml", NAME, '["deleted", "text", "x"]', "'deleted' is reserved"),
        ("pack.toml", NAME, '["op", "text", "x"]', "'op' is reserved"),
        ("pack.toml", OF_READERS, HISTORY + '["covers_from", "text", "x"],', "'covers_from' is reserved"),
        ("pack.toml", '["level", "text(20)", "Name', '["as_of_date", "text(20)", "Name', "'as_of_date' is reserved"),
        ("pack.toml", 'publish = "reader_loans"', 'publish = "marts_runs"', "'marts_runs' is reserved"),
        ("pack.toml", 'publish = "reader_loans"', 'publish = "order"', "'order' is reserved"),
        ("pack.toml", 'publish = "reader_loans"', 'publish = "branch_loans"', "two tables have the name"),
        ("pack.toml", "late_after_days =", "as_of =", "'as_of' is a number of the engine"),
        ("pack.toml", "[policy_tables.levels]", "[policy_tables.loans_rows]", "'loans_rows' is reserved"),
        # Types and emptiness of what the engine reads.
        ("pack.toml", '["loaned_on", "date"', '["loaned_on", "date?"', "at: loaned_on is in every row"),
        ("pack.toml", '"id", "who borrowed"', '"id?", "who borrowed"', "shard: reader_id is in every row"),
        ("pack.toml", '"fee", "amount"', '"fee", "amount?"', "control: fee is in every row"),
        ("pack.toml", '"fee", "amount"', '"fee", "decimal(4)"', "control: fee must be of type money or amount"),
        ("pack.toml", '"id", "key"', '"id", "key", "optional"', "key: reader_id is in every row"),
        ("pack.toml", '"id", "who borrowed"', '"id", "who borrowed", "stored as reader"', "stored under its own name"),
        ("pack.toml", '"what was paid"', '"what was paid", "stored as Fee paid"', "is not a name"),
        ("pack.toml", '"what was paid"', '"what was paid", "null if free"', "unknown flag 'null if free'"),
        ("pack.toml", '"where"', '"where", "guests"', None),
        ("pack.toml", '"what was paid"', '"what was paid", "guests"', "guests is a flag of ids"),
        ("pack.toml", 'control = "fees"\nlookups', 'control = "loans"\nlookups', "control: loans must be"),
        ("pack.toml", 'control = "fee_cents"', 'control = "last_loan"', "no whole number of cents"),
        ("pack.toml", 'readers = { on = "reader_id" }', 'readers = { on = "reader" }', "looks up 'reader' of"),
        # Months by day.
        ("pack.toml", READER_MONTHS, READER_MONTHS + 'merge = { lines = "sum" }\n', "it lacks fee_cents, last_loan"),
        ("pack.toml", READER_MONTHS, READER_MONTHS + MERGE.replace("}", ', fees = "sum" }'), "gives no column 'fees'"),
        ("pack.toml", READER_MONTHS, READER_MONTHS + MERGE.replace("{", '{ reader_id = "max",'), "is in its key"),
        ("pack.toml", READER_MONTHS, READER_MONTHS + MERGE.replace('"max"', '"avg"'), "'sum', 'min' or 'max'"),
        ("pack.toml", BRANCH_MONTHS, BRANCH_MONTHS + MERGE + LOOKS_BACK + SO_FAR, "but reader_months has no merge"),
        ("pack.toml", BRANCH_MONTHS, BRANCH_MONTHS + LOOKS_BACK + SO_FAR, "is not in lookback, or merge is missing"),
        ("pack.toml", OF_BRANCHES, OF_BRANCHES + '\nmerge = { loans = "sum" }', "merge is for tables of months"),
        ("pack.toml", READER_MONTHS, READER_MONTHS + MERGE, None),
        # Keys of marts of keys.
        ("pack.toml", OF_BRANCHES, OF_BRANCHES.replace('"all"', '"key"').replace(*SWAPPED), "begins with 'month'"),
        # What tables read.
        ("pack.toml", OF_BRANCHES, OF_BRANCHES.replace("branch_months", "loans"), "'loans' is a fact: only tables of"),
        ("pack.toml", 'reads = ["branch_months"]', 'reads = "branch_months"', "must be a list"),
        ("branches.sql", "FROM branch_months", "FROM reader_months", "add 'reader_months' to its reads"),
        # SQL.
        ("readers.sql", "*", "", "selects no rows"),
        ("reader_months.sql", "*", "-- later", "selects no rows"),
        ("reader_months.sql", "count(*) AS lines", "count(*) AS lines, count(*) AS lines", "'lines' twice"),
        ("readers.sql", "lines AS loans", "lines AS loans, lines AS loans", "'loans' twice"),
        ("readers.sql", "lines AS loans", "line AS loans", 'Candidate bindings: "lines"'),
        # Views and highlights.
        ("pack.toml", 'title = "readers of {month}"', 'title = "readers of {year}"', "title has '{year}'"),
        ("pack.toml", 'title = "branch {}"', 'title = "branch {"', "title has '{'"),
        ("pack.toml", 'about = "Who', 'command = "status"\nabout = "Who', "command: `marts status` is another command"),
        ("pack.toml", 'about = "Who', 'command = "Books"\nabout = "Who', "command"),
        ("pack.toml", 'noun = "branch"', 'noun = "branch"\nfirst = ["fee"]', "names 'fee', which is no column"),
        ("pack.toml", 'noun = "branch"', 'noun = "branch"\nevery = "branches"', "every is for a view with month"),
        ("pack.toml", 'noun = "reader"\norder', 'noun = "reader"\nevery = "of {year}"\norder', "every has '{year}'"),
        ("pack.toml", BRANCHES, ALSO.replace("readers_mart", "reader_months") + BRANCHES, "is no mart"),
        ("pack.toml", BRANCHES, ALSO_OWN + BRANCHES, "are there already"),
        ("pack.toml", BRANCHES, ALSO + ALSO + BRANCHES, "are there already"),
        ("pack.toml", BRANCHES, ALSO.replace('"loans"', '"loan"') + BRANCHES, "did you mean 'loans'"),
        ("pack.toml", BRANCHES, ALSO.replace('"reader_id"', '"level"') + BRANCHES, "level is of type text"),
        ("pack.toml", BRANCHES, ALSO.replace('"reader_id"', '"loans"') + BRANCHES, "must be of type id or text"),
        ("pack.toml", BRANCHES, ALSO.replace("{}", "{month}") + BRANCHES, "title has '{month}'"),
        ("pack.toml", BRANCHES, ALSO + BRANCHES, None),
        ("pack.toml", 'details = { month = "in {}" }', 'details = { month = "in {x}" }', "month has '{x}'"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, file: str, old: str, new: str, says: str | None) -> None:
    pack = write_pack(tmp_path)
    text = (pack / file).read_text()
    assert old in text or old == "*"
    (pack / file).write_text(new if old == "*" else text.replace(old, new, 1))
    result = marts("pack", "check", str(pack), code=2 if says else 0)
    if says:
        error = result.exception
        assert isinstance(error, UsageError)
        assert says in f"{error} {error.hint}"


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("max(loaned_on) AS last_loan", ""),
        ("max(getvariable('last_day')) AS last_loan", "its SQL reads last_day"),
        ("sum(fee_cents / 3) AS last_loan", "sums of last_loan, a floating-point number"),
    ],
)
def test_sql_whose_days_cannot_be_merged_is_named(tmp_path: Path, sql: str, says: str) -> None:
    pack = write_pack(tmp_path)
    of_months, text = pack / "reader_months.sql", (pack / "pack.toml").read_text()
    of_months.write_text(of_months.read_text().replace("max(loaned_on) AS last_loan", sql))
    merge = MERGE.replace('"max"', '"sum"') if "floating" in says else MERGE
    (pack / "pack.toml").write_text(text.replace(READER_MONTHS, READER_MONTHS + merge))
    result = marts("pack", "check", str(pack), code=2 if says else 0)
    assert says in f"{result.exception}"


def test_the_names_of_the_engine_are_reserved() -> None:
    assert {*NAMES, TIME, EXTRA, "bucket", "delivery", "position"} <= OF_FACTS
    assert DELETED in OF_DIMENSIONS
    assert {*VERSION_COLUMNS.names, INFERRED} <= OF_VERSIONS


def test_a_build_refuses_a_pack_that_does_not_fit(tmp_path: Path) -> None:
    library = with_loans(tmp_path)
    library.edit("readers.sql", "lines AS loans", "lines AS number")
    printed = marts("build", *library.flags, code=2).stderr
    assert "its SQL gives no column 'loans'" in printed
    (run, *_) = json.loads(marts("status", *library.flags, "--json").stdout)["runs"]
    assert (run["outcome"], run["exit_code"]) == ("failed", 2)
    assert len(library.rows("reader_loans")) == 3


def test_a_suite_of_nothing_is_refused(tmp_path: Path) -> None:
    library = with_loans(tmp_path)
    suites = library.folder / "pack/expectations"
    suites.mkdir()
    (suites / "reader_loan.json").write_text('{"expectations": []}')
    for command in (["build"], ["pack", "check", str(library.folder / "pack")]):
        result = marts(*command, *([] if command[1:] else library.flags), code=2)
        assert "does not have the name of a suite; did you mean 'reader_loans'" in f"{result.stderr}{result.exception}"


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("readers.sql", "totals.last_loan,", "nullif(totals.last_loan, DATE '2024-02-02') AS last_loan,",
         ("last_loan is NULL in 1 rows, such as reader_id 2, month 2024-02", "where: tables.readers_mart")),
        ("readers.sql", "readers.name,", "repeat(readers.name, 200) AS name,",
         ("name has a text of 600 characters, more than text(255)", "where: tables.readers_mart")),
        ("readers.sql", "LEFT JOIN readers", "JOIN (FROM readers WHERE name <> 'Ada') readers",
         ("fees of the mart sums to 5.00, but its lines sum to 6.00", "SQL of reader_months or readers_mart")),
        ("reader_months.sql", "FROM loans", "FROM loans WHERE reader_id <> 2",
         ("fees of the mart sums to 4.00, but its lines sum to 6.00", "where: tables.readers_mart")),
        ("reader_months.sql", "sum(fee_cents)::BIGINT", "(sum(fee_cents) * 1000000000000000000)::BIGINT",
         ("its SQL fails: Conversion Error", "where: tables.reader_months", "hint: correct its .sql file")),
        ("branches.sql", "sum(lines)::BIGINT AS loans", "(SELECT branch_id FROM branch_months) AS loans",
         ("its SQL fails: Invalid Input Error: More than one row", "where: tables.branches_mart")),
        ("branches.sql", "money(sum(fee_cents))", "money(sum(fee_cents) * 10000000000000000)",
         ("an amount does not fit DECIMAL(18,2)", "where: tables.branches_mart", "absurd prices")),
    ],
    ids=["null", "text", "join", "where", "cast", "subquery", "amount"],
)  # fmt: skip
def test_sql_that_fails_on_the_rows_is_named(
    tmp_path: Path, file: str, old: str, new: str, says: tuple[str, ...]
) -> None:
    library = with_loans(tmp_path)
    library.edit(file, old, new)
    printed = marts("build", *library.flags, "--as-of", "2024-12-31", code=65).stderr
    for text in says:
        assert text in printed
    assert len(library.rows("reader_loans")) == 3


def test_other_columns_of_a_mart_are_computed_anew(tmp_path: Path) -> None:
    library = with_loans(tmp_path)
    library.edit("pack.toml", '["level", "text(20)", "Name of the', '["level", "text(21)", "Name of the')
    library.edit("branches.sql", "sum(late)::BIGINT AS late", "sum(late)::BIGINT AS late, 7 AS shelves")
    library.edit(
        "pack.toml", '["late", "count", "Loans', '["shelves", "count", "Shelves."],\n    ["late", "count", "Loans'
    )
    library.build()
    assert {row[5] for row in library.rows("branch_loans")} == {7}


def test_a_mart_that_left_the_pack_stays_as_it_is_with_a_warning(tmp_path: Path) -> None:
    library = with_loans(tmp_path)
    library.deliver("b", [("L9", 1, 1, date(2024, 5, 2), None, Decimal(5))])
    library.build()
    text = (library.folder / "pack/pack.toml").read_text()
    start, stop = text.index("[tables.branches_mart]"), text.index("[views.branches]")
    middle = text.index("[highlights.fees]"), text.index("[highlights.readers]")
    end = text.index("[tables.reader_months]")
    parts = (text[: middle[0]], text[middle[1] : stop], text[end:start])
    library.edit("pack.toml", text, "".join(parts))
    library.deliver("c", [("L10", 1, 1, date(2024, 5, 2), None, Decimal(5))])
    printed = marts("build", *library.flags, "--as-of", "2024-12-31").stderr
    assert "branches_mart is live, but not in the pack" in printed
    marts("rollback", *library.flags)
    assert sum(row[4] for row in library.rows("reader_loans")) == Decimal(11)
    result = marts("rollback", *library.flags)
    assert result.exit_code == 0
    assert sum(row[4] for row in library.rows("reader_loans")) == Decimal(16)


def with_loans(folder: Path) -> Library:
    """Return a library with a pack of its own that is built."""
    library = Library(folder, "own").with_pack("", {})
    library.deliver("a", [(f"L{n}", n, 1, date(2024, n, 2), None, Decimal(n)) for n in (1, 2, 3)])
    library.build()
    return library
