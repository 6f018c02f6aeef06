"""A domain that the engine has never seen, as one folder: loans of books, given by its path."""

import json
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Self

import pytest
from packs.conftest import Bucket
from support.kit import marts
from support.servers import S3Server

from jobs.adapters.warehouse.open import open_warehouse
from jobs.config.load import load
from jobs.config.packs import _of_folder
from jobs.config.settings import Settings

pytestmark = [pytest.mark.usefixtures("small_builds")]
PACK = Path(__file__).parent / "library"
READERS = "reader_id,name\n1,Ada\n2,Bo\n3,Cy\n"
HEADER = "loan_id,reader_id,branch_id,loaned_on,returned_on,fee\n"
Loan = tuple[str, int, int, date, date | None, Decimal]
"""Id, reader, branch, day, day of return, fee."""


def write_pack(folder: Path, more: str = "", sql: Mapping[str, str] | None = None) -> Path:
    """Write the pack into a folder, with more tables; return its folder."""
    pack = folder / "pack"
    shutil.copytree(PACK, pack)
    with (pack / "pack.toml").open("a") as file:
        file.write(more)
    for name, text in (sql or {}).items():
        (pack / name).write_text(text)
    return pack


class Library:
    """A library whose drops arrive day by day."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.flags = ["--config", str(self.folder / "marts.toml")]
        self._stamp = datetime(2024, 1, 1, tzinfo=UTC)
        (self.folder / "drops").mkdir(parents=True)
        places = {"source": self.folder / "drops", "target": f"duckdb://{self.folder}/m.duckdb", "pack": PACK}
        places["policy"] = self.folder / "policy.toml"
        places["policy"].touch()
        text = "".join(f'{setting} = "{value}"\n' for setting, value in places.items())
        (self.folder / "marts.toml").write_text(text)
        self.put("readers/r.csv", READERS)

    def with_pack(self, more: str, sql: Mapping[str, str]) -> Self:
        """Give it a pack of its own, with more tables."""
        pack = write_pack(self.folder, more, sql)
        config = self.folder / "marts.toml"
        config.write_text(config.read_text().replace(str(PACK), str(pack)))
        return self

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file of its own pack."""
        path = self.folder / "pack" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        _of_folder.cache_clear()  # a command of a shell reads it anew

    @property
    def settings(self) -> Settings:
        return load(str(self.folder / "marts.toml"), {})

    def put(self, key: str, text: str) -> None:
        path = self.folder / "drops" / key
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        self._stamp += timedelta(hours=1)
        os.utime(path, (self._stamp.timestamp(),) * 2)

    def deliver(self, name: str, loans: Iterable[Loan]) -> None:
        rows = (",".join("" if value is None else str(value) for value in loan) for loan in loans)
        self.put(f"loans/{name}.csv", HEADER + "".join(f"{row}\n" for row in rows))

    def policy(self, *lines: str) -> None:
        (self.folder / "policy.toml").write_text("\n".join(lines))

    def build(self, *more: str, as_of: str = "2024-12-31") -> None:
        marts("build", *self.flags, "--as-of", as_of, *more)

    def highlights(self) -> list[Any]:
        """Return the highlights of the last run: fees by month, readers by level, the rows with the highest fees."""
        (report,) = json.loads(marts("status", *self.flags, "--json").stdout)["runs"][:1]
        fees, levels, best = report["report"]["highlights"]
        return [
            [(month["month"], month["total"], month["count"]) for month in fees["months"]],
            [(group["name"], group["count"], group["total"]) for group in levels["groups"]],
            [tuple(row[name] for name in ("reader_id", "month", "fees", "last_loan")) for row in best["rows"]],
        ]

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        (mart,) = (mart for mart in self.settings.domain.marts.values() if mart.table == table)
        names = ", ".join(column.name for column in mart.columns)
        settings = self.settings
        with closing(
            open_warehouse(settings.target or "", settings.mysql, settings.domain, read_only=True)
        ) as warehouse:
            return [tuple(row) for row in warehouse.execute(f"SELECT {names} FROM {table} ORDER BY 1, 2")]


class InS3(Library):
    """A library whose drops and state are in a bucket, and whose tables are in a database server."""

    def __init__(self, folder: Path, name: str, s3: S3Server, bucket: str) -> None:
        self.folder, self.s3, self.bucket = folder / name, s3, bucket
        self.flags = ["--config", str(self.folder / "marts.toml")]
        self.folder.mkdir()
        (self.folder / "policy.toml").touch()
        where = {"source": f"s3://{bucket}/in", "state": f"s3://{bucket}/state", "pack": PACK}
        where["policy"] = self.folder / "policy.toml"
        text = "".join(f'{setting} = "{value}"\n' for setting, value in where.items())
        (self.folder / "marts.toml").write_text(text)
        self.put("readers/r.csv", READERS)

    def put(self, key: str, text: str) -> None:
        self.s3.client().put_object(Bucket=self.bucket, Key=f"in/{key}", Body=text.encode())


@pytest.fixture
def anywhere(bucket: Bucket | None, tmp_path: Path) -> Library:
    """An empty library, in a folder or in a bucket."""
    return InS3(tmp_path, "remote", bucket.s3, bucket.name) if bucket else Library(tmp_path, "here")


def with_one_loan(folder: Path) -> Library:
    library = Library(folder, "one")
    library.deliver("a", [("L1", 1, 1, date(2024, 1, 2), None, Decimal("1.50"))])
    library.build()
    return library


def expected(
    deliveries: Iterable[list[Loan]], names: dict[int, str], late_after: int = 21, often: int = 4, surcharge: int = 0
) -> tuple[list[Any], list[Any]]:
    """Compute both tables row by row: the last row of a loan in a month counts."""
    last: dict[tuple[int, str, str], Loan] = {}
    for loans in deliveries:
        for loan in loans:
            last[loan[1], f"{loan[3]:%Y-%m}", loan[0]] = loan
    by_reader: dict[tuple[int, str], list[Loan]] = defaultdict(list)
    by_branch: dict[tuple[int, str], list[Loan]] = defaultdict(list)
    for (reader, month, _), loan in last.items():
        by_reader[reader, month].append(loan)
        by_branch[loan[2], month].append(loan)
    of = {reader: [loan for loan in last.values() if loan[1] == reader] for reader, _ in by_reader}
    readers = [
        (
            reader,
            month,
            names.get(reader),
            len(own),
            sum(x[5] for x in own),
            len(of[reader]),
            max(x[3] for x in of[reader]),
            sum((x[5] for x in of[reader]), Decimal(0)),
            "often" if len(of[reader]) >= often else "seldom",
        )
        for (reader, month), own in sorted(by_reader.items())
    ]
    branches = [
        (
            branch,
            month,
            len(own),
            fees := sum((x[5] for x in own), Decimal(0)),
            share(sum(x[4] is not None for x in own), len(own)),
            sum(x[4] is not None and (x[4] - x[3]).days > late_after for x in own),
            (fees * surcharge / 100).quantize(Decimal("0.01"), ROUND_HALF_UP),
        )
        for (branch, month), own in sorted(by_branch.items())
    ]
    return readers, branches


def expected_highlights(readers: list[Any], branches: list[Any]) -> list[Any]:
    """Compute the highlights from the rows of both tables."""
    months = sorted({row[1] for row in branches})
    fees = [
        (month, str(sum(r[3] for r in branches if r[1] == month)), sum(r[2] for r in branches if r[1] == month))
        for month in months
    ]
    people = {row[0]: row for row in readers}.values()
    levels = [
        (level, len(own), str(sum(row[7] for row in own)))
        for level in ("often", "seldom")
        if (own := [row for row in people if row[8] == level])
    ]
    most = sorted(readers, key=lambda row: (-row[4], row[0], row[1]))[:3]
    best = [(row[0], row[1], str(row[4]), str(row[6])) for row in most]
    return [fees, sorted(levels, key=lambda level: (-level[1], level[0])), best]


def share(part: int, whole: int) -> Decimal:
    """Return a share in percent, rounded half up."""
    return Decimal((2 * part * 10_000 + whole) // (2 * whole)).scaleb(-2)


def loans_of(chance: random.Random, day: date) -> list[Loan]:
    """Return new loans of a day, and later rows of loans that may be known."""
    loans = []
    for _ in range(chance.randint(1, 6)):
        loaned = day - timedelta(days=chance.randint(0, 40))
        returned = day if chance.random() < 0.5 else None
        fee = Decimal(chance.randint(0, 500)).scaleb(-2)
        loans.append((f"L{chance.randint(1, 9)}", chance.randint(1, 3), chance.randint(1, 2), loaned, returned, fee))
    return loans


@pytest.mark.parametrize("seed", range(2))
def test_days_one_by_one_equal_a_rebuild_and_a_calculation_row_by_row(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    library, deliveries = Library(tmp_path, "days"), []
    for number in range(5):
        loans = loans_of(chance, date(2024, 3, 1) + timedelta(days=number))
        deliveries.append(loans)
        library.deliver(f"day-{number}", loans)
        library.build()
        readers, branches = expected(deliveries, {1: "Ada", 2: "Bo", 3: "Cy"})
        assert library.rows("reader_loans") == readers
        assert library.rows("branch_loans") == branches
        assert library.highlights() == expected_highlights(readers, branches)
    library.build("--rebuild")
    assert library.rows("reader_loans") == readers
    library.policy(
        "late_after_days = 3", "surcharge = 0.05", "levels = [{name = 'often', min_loans = 2}, {name = 'seldom'}]"
    )
    library.build()
    readers, branches = expected(deliveries, {1: "Ada", 2: "Bo", 3: "Cy"}, late_after=3, often=2, surcharge=5)
    assert (library.rows("reader_loans"), library.rows("branch_loans")) == (readers, branches)
    runs = json.loads(marts("status", *library.flags, "--json").stdout)["runs"]
    assert not any("replaced" in text for run in runs for text in run["report"]["warnings"]), (
        "a correction is no surprise"
    )


def test_the_views_of_a_pack_are_commands(tmp_path: Path) -> None:
    library = with_one_loan(tmp_path)
    library.deliver("b", [("L2", 2, 1, date(2024, 2, 2), None, Decimal("0.50"))])
    library.build()
    best = json.loads(marts("readers", "top", *library.flags, "--json").stdout)
    assert best == [{"reader_id": 2, "name": "Bo", "month": "2024-02", "fees": "0.50", "last_loan": "2024-02-02"}]
    best = json.loads(marts("readers", "top", *library.flags, "--month", "2024-01", "--json").stdout)
    assert [row["name"] for row in best] == ["Ada"]
    assert "loans of reader 1 in 2024-01" in marts("readers", "show", "1", *library.flags).stdout
    rows = json.loads(marts("branches", "show", "1", *library.flags, "--json").stdout)
    assert [row["month"] for row in rows] == ["2024-01", "2024-02"]
    assert "branch 7 has no rows" in str(marts("branches", "show", "7", *library.flags, code=2).exception)
    refused = marts("branches", "top", "--month", "2024-01", *library.flags, code=2)
    assert "No such option" in refused.stderr
    assert "No such command 'readers'" in marts("readers", "top", code=2).stderr


def test_days_in_any_place_equal_a_calculation_and_an_erased_reader_is_in_no_table(anywhere: Library) -> None:
    chance, deliveries = random.Random(7), []
    for number in range(3):
        deliveries.append(loans_of(chance, date(2024, 3, 1) + timedelta(days=number)))
        anywhere.deliver(f"day-{number}", deliveries[-1])
        anywhere.build()
    names = {1: "Ada", 2: "Bo", 3: "Cy"}
    readers, branches = expected(deliveries, names)
    assert (anywhere.rows("reader_loans"), anywhere.rows("branch_loans")) == (readers, branches)
    assert {row[0] for row in readers} == {1, 2, 3}
    erased = marts("erase", "person", "1", *anywhere.flags, "--why", "request 7", "--yes").stdout
    assert "erased, as number 1" in erased
    left = [row for row in readers if row[0] != 1]
    assert anywhere.rows("reader_loans") == left
    anywhere.build("--rebuild")
    assert (anywhere.rows("reader_loans"), anywhere.rows("branch_loans")) == (left, branches)
    report = json.loads(marts("status", *anywhere.flags, "--json").stdout)["runs"][0]["report"]
    assert not any(row["reader_id"] == 1 for item in report["highlights"] for row in item.get("rows", ()))
    marts("rollback", *anywhere.flags, "--why", "try")
    assert anywhere.rows("branch_loans") == branches


def test_a_changed_name_and_a_rollback_reach_the_tables(tmp_path: Path) -> None:
    library = with_one_loan(tmp_path)
    library.put("readers/s.csv", "reader_id,name\n1,Ada Lovelace\n")
    library.build()
    assert [row[2] for row in library.rows("reader_loans")] == ["Ada Lovelace"]
    marts("rollback", *library.flags, "--why", "a wrong name")
    assert [row[2] for row in library.rows("reader_loans")] == ["Ada"]


def test_a_table_by_key_is_computed_in_parts_and_a_day_patches_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARTS_LIMITS__FINISH_ROWS", "100")
    library, names = Library(tmp_path, "parts"), {number: f"reader {number}" for number in range(1, 401)}
    library.put("readers/s.csv", "reader_id,name\n" + "".join(f"{number},{name}\n" for number, name in names.items()))
    loans = [(f"L{n}", n + 1, 1, date(2024, 1, 2), None, Decimal(n)) for n in range(400)]
    library.deliver("a", loans)
    library.build()
    written = {path.name for path in (tmp_path / "parts").rglob("readers_mart/*/part-*.parquet")}
    assert written == {f"part-{number:05d}.parquet" for number in range(4)}
    more = [("M1", 7, 2, date(2024, 2, 2), None, Decimal(3))]
    library.deliver("b", more)
    library.build()
    assert len(list((tmp_path / "parts").rglob("readers_mart/*/patch-*.parquet"))) == 1
    assert library.rows("reader_loans") == expected([loans, more], names)[0]


def test_both_sides_of_a_replaced_loan_and_ids_of_several_readers_are_listed(tmp_path: Path) -> None:
    library = with_one_loan(tmp_path)
    library.deliver("b", [("L1", 1, 2, date(2024, 1, 2), date(2024, 1, 9), Decimal(2))])
    library.deliver("c", [("L1", 2, 2, date(2024, 1, 2), None, Decimal(5))])
    library.build()
    sides = json.loads(marts("history", "--replaced", "b.csv", "--json", *library.flags).stdout)
    assert [(row["loan_id"], row["fee"], row["drop"], row["fate"]) for row in sides] == [
        ("L1", "1.50", "loans/a.csv", "replaced"),
        ("L1", "2.00", "loans/b.csv", "counts"),
    ]
    assert "loans/b.csv" in marts("history", "--replaced", "b.csv", *library.flags).stdout
    (shared,) = json.loads(marts("check", "ids", "--json", *library.flags).stdout)["shown"]
    assert (shared["loan_id"], shared["reader_ids"], shared["lines"], shared["total"]) == ("L1", 2, 2, "7.00")
    assert "1 ids of loans are live in several transactions" in marts("check", "ids", *library.flags).stdout


def test_a_target_is_of_one_pack(tmp_path: Path) -> None:
    library = with_one_loan(tmp_path)
    for command in (["build", "--as-of", "2024-12-31"], ["status"], ["rollback"], ["withdraw", "accept"], ["report"]):
        result = marts(*command, "--pack", "retail", *library.flags, code=2)
        assert "the target has the marts branches_mart, readers_mart, of which" in str(result.exception)
    marts("status", "--pack", str(PACK), *library.flags)
    assert [row[4] for row in library.rows("reader_loans")] == [Decimal("1.50")]


def test_bad_rows_are_quarantined_by_the_types_of_the_columns(tmp_path: Path) -> None:
    library = Library(tmp_path, "bad")
    library.put("loans/a.csv", HEADER + "L1,1,1,2024-01-02,,1.50\nL2,x,1,2024-01-02,,1.00\nL3,1,1,2024-01-32,,1.00\n")
    library.build()
    assert [row[4] for row in library.rows("reader_loans")] == [Decimal("1.50")]
    listed = marts("quarantine", "show", "loans/a.csv", *library.flags).stdout
    assert "reader_id is not a whole number" in listed
    assert "loaned_on is not an ISO date" in listed


def test_a_pack_is_checked_before_a_build(tmp_path: Path) -> None:
    checked = marts("pack", "check", str(PACK)).stdout
    assert "reader_months" in checked
    assert "reader_loans" in checked
    assert "retail" in marts("pack", "list").stdout
    assert marts("pack", "check", "retail").exit_code == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("readers.sql", "lines AS loans", "lines AS number", "its SQL gives no column 'loans'"),
        ("readers.sql", "lines AS loans", "nowhere AS loans", "nowhere"),
        ("readers.sql", "reader_id, month_name", "reader_id::VARCHAR AS reader_id, month_name", "reader_id"),
        ("reader_months.sql", "AS fee_cents", "AS fees", "fee_cents"),
        ("reader_months.sql", "FROM loans", "FROM loan", "loan"),
        (
            "readers.sql",
            "LEFT JOIN readers USING (reader_id)",
            "LEFT JOIN read_csv('/etc/passwd') f ON true",
            "disabled",
        ),
        ("branches.sql", "surcharge_ten", "surchage_ten", "did you mean 'surcharge_ten_thousandths'"),
        ("branch_months.sql", "'late_after_days'", "'as_of'", "reads the variable 'as_of'"),
        ("pack.toml", 'order = "fees"', 'order = "fee"', "did you mean 'fees'"),
        ("pack.toml", 'order = "fees"', 'order = "name"', "must be of type count or money"),
        ("pack.toml", 'once_per = "reader_id"', 'once_per = "month"', "once_per must be 'reader_id'"),
        (
            "pack.toml",
            'noun = "reader"',
            'nown = "reader"',
            "'highlights.readers.nown', did you mean 'noun'",
        ),
        ("pack.toml", 'kind = "months"', 'kind = "month"', "highlights.fees"),
        ("pack.toml", "late_after_days =", "max_fall =", "'max_fall' is a number of the engine"),
        ("pack.toml", "default = 21", "default = -1", "late_after_days"),
        ("pack.toml", "views.branches", "views.status", "`marts status` is another command"),
        ("pack.toml", "default = 21", "default = 2.5", "a decimal has digits"),
        ("pack.toml", '{ name = "seldom" }]', '{ name = "seldom", min_loans = 1 }]', "the last one"),
        ("pack.toml", "policy_tables.levels", "policy_tables.readers", "another table"),
        ("readers.sql", "WITH totals", "ATTACH '/tmp/x.duckdb' AS x; WITH totals", "disabled"),
        ("readers.sql", "WITH totals", "SET enable_external_access = true; WITH totals", "configuration"),
        ("pack.toml", 'at = "loaned_on"', 'at = "loaned"', "at names 'loaned'"),
        ("pack.toml", '"money", "Fees of the month."', '"mony", "Fees of the month."', "did you mean 'money'"),
        ("pack.toml", 'sql = "readers.sql"', 'sql = "reader.sql"', "there is no file 'reader.sql'"),
        ("pack.toml", "lookups = { readers", "lookups = { reader", "is no dimension; did you mean 'readers'"),
        ("pack.toml", "publish =", "publishes =", "unknown key"),
    ],
)
def test_what_is_wrong_with_a_pack_is_named(tmp_path: Path, file: str, old: str, new: str, says: str) -> None:
    pack = write_pack(tmp_path)
    text = (pack / file).read_text()
    assert old in text
    (pack / file).write_text(text.replace(old, new) if old.startswith("views") else text.replace(old, new, 1))
    result = marts("pack", "check", str(pack), code=2)
    assert says in str(result.exception)


MART = """
[tables.busy]
publish = "busy_months"
per = "all"
reads = ["branch_months"]
sql = "busy.sql"
key = ["month"]
control = "fees"
columns = [["month", "month", "The month."], ["branches", "count", "Branches with loans."], ["fees", "money", "Fees."]]
"""
SQL = """
SELECT month_name(month) AS month, count(DISTINCT branch_id) AS branches, money(sum(fee_cents)) AS fees
FROM branch_months GROUP BY month
"""
SUITE = {
    "expectations": [
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "branches", "min_value": 1, "max_value": 2},
            "severity": "critical",
        }
    ]
}


def test_a_mart_is_one_sql_file_its_toml_and_its_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = write_pack(tmp_path, MART, {"busy.sql": SQL})
    (pack / "expectations").mkdir(exist_ok=True)
    (pack / "expectations/busy_months.json").write_text(json.dumps(SUITE))
    assert "busy_months" in marts("pack", "check", str(pack)).stdout
    library = Library(tmp_path, "own")
    library.deliver("a", [(f"L{n}", 1, n % 2 + 1, date(2024, n % 2 + 1, 3), None, Decimal(n)) for n in range(6)])
    monkeypatch.setenv("MARTS_PACK", str(pack))
    library.build()
    assert library.rows("busy_months") == [("2024-01", 1, Decimal("6.00")), ("2024-02", 1, Decimal("9.00"))]
    library.deliver("b", [(f"M{n}", 1, n, date(2024, 3, 3), None, Decimal(1)) for n in (1, 2, 3)])
    monkeypatch.setenv("MARTS_QUALITY__JUDGE", "true")
    refused = marts("build", *library.flags, "--as-of", "2024-12-31", code=65)
    assert "busy_months" in refused.output + refused.stderr
    assert len(library.rows("busy_months")) == 2
