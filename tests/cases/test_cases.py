"""What people who load daily drops run into: each folder of tests/cases, its steps in turn, a build after each."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from support.kit import marts
from support.servers import S3Server
from support.shop import CASES, Shop, lay, open_shop

pytestmark = [pytest.mark.database, pytest.mark.usefixtures("on_the_server", "small_builds")]


@dataclass(frozen=True)
class Case:
    """A folder, and what must come out: sums and exit codes step by step."""

    folder: str
    sums: Sequence[str]
    """Of both marts; "customers / sales team" where they differ, "none" where nothing is published."""
    codes: Sequence[int] = ()
    """0 for each step by default."""
    says: Sequence[str] = ()
    """What the text of the last build must name, in any case of letters."""
    policy: str = ""
    name: str = ""
    blocks: str = ""
    """The [[source]] block that the case needs."""
    settings: str = ""
    """Other lines of marts.toml that it needs."""
    duplicates: Sequence[int] = field(default=())
    """Rows that do not count, in all, after each step."""


CASES_THAT_COME = [
    # 60 rows without ids, again with BOM and CRLF: row-equal, 60 >= 20, the later is a duplicate.
    Case("14-same-drop-saved-again", ["1500.00", "1500.00"], says=["2024-01 (1).csv", "duplicate"]),
    # Names that begin with _ or . are no data.
    Case("21-spark-leftovers", ["1500.00"]),
    Case("22-mac-resource-forks", ["1500.00"]),
    # Of eight, one is read; the seven others are days of sales that must be reported.
    Case(
        "24-other-suffixes",
        ["1500.00"],
        [65],
        [f"sales-0{n}" for n in ("2.tsv", "3.txt", "4.csv.zip", "5.parquet", "6.csv.bz2", "7.csv.zst", "8.gz")],
    ),
    # tea 0 to 2, then tea 3, 4, 0: the later has not tea 1, so it is a part; 66 lines.
    Case("40-basket-cut-by-part-files", ["1650.00"], says=["warning"], duplicates=[0]),
    # Receipts 1 to 10 by store and day: 300 + 320 + 500 + 520.
    Case("42-receipt-numbers-begin-anew", ["1640.00"], duplicates=[0]),
    # 987.50 less two refunds of 12.50.
    Case("43-refunds-name-the-sale", ["987.50", "962.50"], duplicates=[0, 0]),
    Case("44-refunds-in-the-same-file", ["962.50"], duplicates=[0]),
    # Three days of nine lines of 225.00.
    Case("45-placeholder-ids", ["675.00"], duplicates=[0]),
    # Ten of twelve are gone: more than three, nothing is taken back; the new 487.50 counts.
    Case("47-landing-zone-is-emptied", ["12000.00", "12487.50"], [0, 65], ["sales/2023-01.csv", "marts withdraw"]),
    # 487.50 - 37.50 + 3.00; a mart of 20 lines is below max_fall_from.
    Case("48-old-drop-put-again", ["487.50", "453.00", "453.00"], duplicates=[0, 1, 1]),
    Case("48-old-drop-put-again", ["487.50", "453.00", "453.00"], policy="max_fall = 0.1", name="max-fall"),
    # One person is named, eight of nine are not: the marts of step 1 stay.
    Case("49-customers-as-changes", ["1500.00", "1500.00"], [0, 65], ["customers/2024-01-02.csv"]),
    # The second holds half of its 40 lines from the first, the third all of the first's 20: both wait.
    Case("50-month-to-date-drops", ["487.50"], [65], ["2024-01-20.csv", "2024-01-31.csv", "held"]),
    # By day they are two sales of 37.50; without the day, one that moves to February.
    Case("51-correction-to-another-month", ["487.50", "525.00"], duplicates=[0, 0]),
    Case(
        "51-correction-to-another-month",
        ["487.50", "487.50"],
        policy='transaction_key = ["store_id"]',
        name="without-day",
        duplicates=[0, 1],
    ),
    Case(
        "49-customers-as-changes",
        ["1500.00", "1500.00"],
        blocks="match = 'customers/**'\ndelivers = 'changes'",
        name="changes",
    ),
    Case(
        "50-month-to-date-drops",
        ["1500.00"],
        blocks="match = 'sales/**'\ndelivers = 'month-to-date'",
        name="month-to-date",
    ),
    Case(
        "50-month-to-date-drops", ["1500.00"], blocks="match = 'sales/**'\ndelivers = 'everything'", name="everything"
    ),
    # total_amount is no column of the contract: February is rejected by name, January counts.
    Case("53-columns-change", ["487.50"], [65], ["sales/2.csv", "total_amount", "total_cost"]),
    Case("55b-moved-control", ["12000.00", "12000.00"]),
    # 30 lines of 750.00 and three scans of 12.50.
    Case("56-scanned-three-times", ["787.50"], says=["warning"], duplicates=[0]),
    # 15 of 60 lines are guests'; each 25.00 on average: 375.00 in all.
    Case("60-guests", ["1125.00 / 1500.00"], says=["guest"]),
    # C-00001, S1, EMP11: ids are names. The lists of stores and sales people beside the case are by number.
    Case("62-ids-with-letters", ["1500.00"], policy="max_unknown_ratio = 1.0", settings='ids = "text"'),
    # 60 times 1.459 * 10 = 14.59.
    Case("66-prices-of-three-digits", ["875.40"]),
    # Two rows of customer 4 differ; the later counts where the block sets that.
    Case("78-a-customer-twice", ["none"], [65], ["customers/c.csv", "customer_id", "line"]),
    Case(
        "78-a-customer-twice", ["1500.00"], blocks="match = 'customers/**'\nduplicates = 'last'", name="the-last-counts"
    ),
    # Five lines come again with a blank after the id: repeated.
    Case("79-stray-blanks-in-ids", ["487.50", "487.50"], duplicates=[0, 5]),
]


@pytest.mark.parametrize("case", CASES_THAT_COME, ids=lambda case: "-".join(filter(None, (case.folder, case.name))))
def test_a_case_ends_as_its_users_expect(tmp_path: Path, case: Case) -> None:
    shop, steps = open_shop(tmp_path, case.folder)
    shop.policy_text = case.policy
    shop.config_text = f"[[source]]\n{case.blocks}\n" if case.blocks else case.settings
    assert len(steps) == len(case.sums)
    for number, step in enumerate(steps):
        lay(shop, step)
        built = shop.built()
        first, _, second = case.sums[number].partition(" / ")
        expected = None if first == "none" else (Decimal(first), Decimal(second or first))
        assert shop.sums() == expected, built.text
        assert built.code == (case.codes[number] if case.codes else 0), built.text
        if case.duplicates:
            assert built.report["totals"]["duplicates"] == case.duplicates[number]
    for word in case.says:
        assert word.lower() in built.text.lower()


def test_every_folder_of_cases_is_tried() -> None:
    tried = {case.folder for case in CASES_THAT_COME}
    reading = (Path(__file__).parent / "test_reading.py").read_text()
    folders = [path.name for path in CASES.iterdir() if path.name[0].isdigit()]
    assert [name for name in folders if name not in tried and f'"{name}"' not in reading] == []


@pytest.mark.parametrize(
    "case", ["14-same-drop-saved-again", "24-other-suffixes", "50-month-to-date-drops", "53-columns-change"]
)
def test_what_a_run_has_warned_of_once_ends_no_later_one(tmp_path: Path, case: str) -> None:
    shop, steps = open_shop(tmp_path, case)
    for step in steps:
        lay(shop, step)
    shop.built()
    sums = shop.sums()
    assert (shop.built().code, shop.sums()) == (0, sums)


@pytest.mark.parametrize(("case", "count"), [("21-spark-leftovers", 3), ("22-mac-resource-forks", 2)])
def test_the_plan_counts_the_names_that_are_no_data(tmp_path: Path, case: str, count: int) -> None:
    shop, steps = open_shop(tmp_path, case)
    lay(shop, steps[0])
    lines = shop.command("plan").output.splitlines()
    assert any(str(count) in text.split() and "data" in text for text in lines), lines


def test_a_basket_cut_by_files_is_one_purchase(tmp_path: Path) -> None:
    """Customer 1 has T0000, T0009, T0018, T0027, T0036, T0045, T0054 and the basket of six lines: 150.00."""
    shop, steps = open_shop(tmp_path, "40-basket-cut-by-part-files")
    lay(shop, steps[0])
    shop.built()
    row = shop.mart("customers")[0]
    assert (row[0], row[9], row[12]) == (1, 8, Decimal("150.00"))


@pytest.mark.parametrize(
    ("decision", "sums", "codes"),
    # Accepted: 2 months of 1,000.00 and the new 487.50 are left. Refused: what was loaded counts on.
    [("accept", "2487.50", [0, 0]), ("refuse", "12487.50", [0, 0])],
)
def test_people_decide_what_an_emptied_landing_zone_takes_back(
    tmp_path: Path, decision: str, sums: str, codes: list[int]
) -> None:
    shop, steps = open_shop(tmp_path, "47-landing-zone-is-emptied")
    for step in steps:
        lay(shop, step)
        shop.built()
    listed = shop.command("withdraw", "list").output
    assert all(f"sales/2023-{month:02d}.csv" in listed for month in range(1, 11))
    assert "sales/2023-11.csv" not in listed
    shop.command("withdraw", decision, "--why", "moved to the archive")
    assert [shop.built().code for _ in codes] == codes
    assert shop.sums() == (Decimal(sums), Decimal(sums))


@pytest.mark.parametrize(("choice", "sums"), [("apply", "2487.50"), ("keep", "12487.50")])
def test_the_setting_withdrawals_decides_without_asking(tmp_path: Path, choice: str, sums: str) -> None:
    shop, steps = open_shop(tmp_path, "47-landing-zone-is-emptied")
    shop.config_text = f'[drops]\nwithdrawals = "{choice}"\n'
    for step in steps:
        lay(shop, step)
        assert shop.built().code == 0
    assert shop.sums() == (Decimal(sums), Decimal(sums))


def test_check_ids_lists_a_transaction_that_is_live_in_two_months(tmp_path: Path) -> None:
    shop, steps = open_shop(tmp_path, "51-correction-to-another-month")
    for step in steps:
        lay(shop, step)
        shop.built()
    listed = shop.command("check", "ids").output
    assert ("T0005" in listed, "T0004" in listed) == (True, False)


@pytest.mark.parametrize(("choice", "warned"), [("unique", True), ("any", False)])
def test_a_run_warns_of_ids_in_two_months_where_they_are_to_be_unique(
    tmp_path: Path, choice: str, warned: bool
) -> None:
    shop, steps = open_shop(tmp_path, "51-correction-to-another-month")
    shop.policy_text = f'transaction_ids = "{choice}"\n'
    for step in steps:
        lay(shop, step)
        built = shop.built()
    assert any("T0005" in text or "check ids" in text for text in built.report["warnings"]) == warned


def test_history_lists_both_sides_of_what_was_replaced(tmp_path: Path) -> None:
    shop, steps = open_shop(tmp_path, "48-old-drop-put-again")
    for step in steps[:2]:
        lay(shop, step)
        shop.built()
    output = shop.command("history", "--replaced", "sales/1.csv").output
    assert all(text in output for text in ("T0005", "37.50", "3.00", "sales/2.csv"))


def test_tables_of_other_people_are_never_touched(tmp_path: Path) -> None:
    """33 lines of case 40's first part, then two lines of 1.00."""
    shop = Shop(tmp_path)
    shop.put_dims()
    shop.put("sales/part-0.csv", (CASES / "40-basket-cut-by-part-files/1/sales/2024-01-31/part-0.csv").read_bytes())
    assert shop.built().code == 0
    names = ("customers_data_mart_gold", "customers_data_mart_g", "customers_data_mart_g7b", "my_notes")
    with closing(shop.warehouse()) as warehouse:
        for name in names:
            warehouse.execute(f"CREATE TABLE {name} AS SELECT 1 AS a")
    header = "transaction_id,customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost"
    for number in (1, 2):
        shop.put(f"sales/n{number}.csv", f"{header}\nN{number},1,1,tea,2024-01-02,11,1.00,1,1.00\n")
        assert shop.built().code == 0
    with closing(shop.warehouse(read_only=True)) as warehouse:
        assert [warehouse.execute(f"SELECT a FROM {name}") for name in names] == [[(1,)]] * 4


def test_an_old_drop_that_is_put_again_in_s3_changes_nothing(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 96-S4: the same bytes, the same ETag, a newer LastModified; the correction of T0005 stands."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = s3_server.make_bucket("put-again")
    shop = Shop(tmp_path)
    flags = ["--source", f"s3://{bucket}/q", "--target", shop.address, "--state", str(tmp_path / "state")]
    (tmp_path / "policy.toml").write_text("max_fall = 0.1\n")
    flags += ["--policy", str(tmp_path / "policy.toml")]
    case = CASES / "48-old-drop-put-again"
    s3_server.upload(CASES / "_dims", bucket, "q")
    results = []
    for step in ("1", "2", "1"):
        s3_server.upload(case / step, bucket, "q")
        report = json.loads(marts("build", *flags, "--as-of", "2024-03-31", "--json").stdout)
        results.append((report["totals"]["clean"], shop.sums()))
    wanted = [(20, Decimal("487.50")), (20, Decimal("453.00")), (20, Decimal("453.00"))]
    assert results == [(clean, (total, total)) for clean, total in wanted]
