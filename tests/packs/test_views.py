"""Views of a pack: below a command of their own, with sections of other marts, for one value or every."""

import csv
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from packs.test_library import Library
from support.kit import marts

pytestmark = [pytest.mark.usefixtures("small_builds")]
VISITS = """
[tables.visits]
publish = "visits"
per = "all"
reads = ["reader_months"]
sql = "visits.sql"
key = ["branch_id"]
columns = [
    ["branch_id", "id", "The branch."],
    ["visits", "count", "Visits."],
    ["first_visit", "date?", "Day of the first.", "null if it is not known"],
]

[[views.branches.show.also]]
table = "visits"
title = "visits of branch {}"
by = "branch_id"
order = ["branch_id"]
columns = ["first_visit", "visits"]
headings = { first_visit = "since" }
"""
SQL = "SELECT 1::BIGINT AS branch_id, 5 AS visits, NULL::DATE AS first_visit UNION ALL SELECT 9, 7, DATE '2024-01-01'"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """A library whose views are below a command of their own, with a section below a branch."""
    library = Library(tmp_path, "own").with_pack(VISITS, {"visits.sql": SQL})
    library.edit("pack.toml", 'about = "Who', 'command = "library"\nabout = "Who')
    library.edit("pack.toml", 'noun = "reader"\norder', 'noun = "reader"\nevery = "loans of {month}"\norder')
    library.edit("pack.toml", 'noun = "branch"', 'noun = "branch"\nfirst = ["fees", "month"]')
    days = [(1, date(2024, 1, 2)), (1, date(2024, 2, 2)), (2, date(2024, 2, 3))]
    library.deliver("a", [(f"L{n}", reader, 1, day, None, Decimal(n)) for n, (reader, day) in enumerate(days)])
    library.build()
    return library


def test_a_pack_may_have_a_command_of_its_own(library: Library) -> None:
    best = json.loads(marts("library", "readers", "top", *library.flags, "--json").stdout)
    assert [row["name"] for row in best] == ["Bo", "Ada"]
    assert "No such command 'readers'" in marts("readers", "top", *library.flags, code=2).stderr
    refused = marts("library", "readers", "show", "9", *library.flags, code=2).exception
    assert "list some with: marts library readers top" in getattr(refused, "hint", "")


def test_help_lists_the_command_and_its_views(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_CONFIG", library.flags[1])
    printed = marts("--help").stdout
    assert "Query the library marts." in printed
    assert "Query the loans of readers." not in printed
    assert "Query the loans of readers." in marts("help", "library").stdout
    assert "--install-completion" not in marts("help", "library").stdout
    assert "The reader_id; all by default" in marts("library", "readers", "show", "--help").stdout


def test_rows_of_another_mart_are_shown_below(library: Library) -> None:
    show = ("library", "branches", "show")
    both = json.loads(marts(*show, "1", *library.flags, "--json").stdout)
    assert list(both) == ["branch_loans", "visits"]
    assert [list(row)[:2] for row in both["branch_loans"]] == [["fees", "month"]] * 2
    assert both["visits"] == [{"first_visit": None, "visits": 5}]
    lines = marts(*show, "1", *library.flags).stdout.splitlines()
    below = next(at for at, line in enumerate(lines) if line.strip() == "visits of branch 1")
    assert [line.split() for line in lines[below + 1 :]] == [["since", "visits"], ["-", "5"]]
    assert lines[below - 1].strip() == ""
    printed = marts(*show, "1", *library.flags, "--csv")
    assert [row["month"] for row in csv.DictReader(io.StringIO(printed.stdout))] == ["2024-01", "2024-02"]
    assert "--csv has the rows of branch_loans only" in printed.stderr


def test_a_value_that_only_a_section_has_is_shown(library: Library) -> None:
    printed = marts("library", "branches", "show", "9", *library.flags).stdout
    assert "no rows" in printed
    assert "visits of branch 9" in printed
    refused = marts("library", "branches", "show", "3", *library.flags, code=2).exception
    assert "branch 3 has no rows" in str(refused)


def test_without_a_value_every_row_of_the_month_is_shown(library: Library) -> None:
    show = ("library", "readers", "show")
    rows = json.loads(marts(*show, *library.flags, "--json").stdout)
    assert [(row["reader_id"], row["month"]) for row in rows] == [(1, "2024-02"), (2, "2024-02")]
    assert "loans of 2024-01" in marts(*show, "--month", "2024-01", *library.flags).stdout
    refused = marts(*show, "--month", "2023-01", *library.flags, code=2).exception
    assert "there are no rows" in str(refused)


def test_a_pack_that_cannot_be_read_is_named_instead_of_its_commands(library: Library) -> None:
    library.edit("pack.toml", 'order = "fees"', 'order = "fee"')
    assert "did you mean 'fees'" in str(marts("library", "readers", "top", *library.flags, code=2).exception)
