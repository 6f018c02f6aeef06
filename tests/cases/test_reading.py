"""Files as people have them: what is read without asking, what a block sets, and which setting a refusal names."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from support.shop import Shop, lay, open_shop

pytestmark = [pytest.mark.usefixtures("small_builds")]


@dataclass(frozen=True)
class File:
    """A folder of cases: the total with its settings, and what a build reports without them."""

    folder: str
    total: str
    blocks: str = ""
    """Blocks of marts.toml that the case needs; none if it is read without asking."""
    code: int = 0
    without: str = ""
    """Total without the blocks; empty if nothing is published."""
    says: tuple[str, ...] = ()
    """What a build without the blocks, or the only one, names."""
    policy: str = ""
    without_policy: str = ""
    """What a build without the policy reports, which publishes nothing."""


def block(**values: str) -> str:
    return "\n".join(["[[source]]", *(f"{name} = {value}" for name, value in values.items())]) + "\n"


SALES = "'sales/**'"
FILES = [
    File(
        "01-semicolon-decimal-comma",
        "1500.00",
        block(match=SALES, delimiter="';'", decimal="','"),
        says=("semicolon", 'delimiter = ";"', "[[source]]"),
    ),
    File(
        "02-two-sources-two-delimiters",
        "1500.00",
        block(match="'sales/branch-2/**'", delimiter="';'"),
        without="750.00",
        says=('match = "sales/branch-2/**" and delimiter = ";"',),
    ),
    File("03-cp1252", "4987.50", block(match=SALES, encoding="'cp1252'"), says=('encoding = "cp1252"', "2 rows")),
    File(
        "04-utf16-tabs",
        "1500.00",
        block(match=SALES, delimiter="'\\t'").replace("'\\t'", '"\\t"'),
        says=("a tab", 'delimiter = "\\t"'),
    ),
    File("05-sep-line", "1500.00"),
    File("06-dates-day-first", "1500.00", block(match=SALES, dates="['%d/%m/%Y']"), says=('dates = ["%d/%m/%Y"]',)),
    File(
        "07-thousands-and-currency-signs",
        "148140.00",
        block(match=SALES, thousands="','", accounting="true"),
        says=('thousands = ","', "accounting = true"),
    ),
    # 60 sales; three rows of commas are none; the line of totals is one bad row of 61.
    File("08-blank-rows-and-totals", "1500.00"),
    File("08-blank-rows-and-totals", "1500.00", block(match=SALES, footer="'^,,,,,,,Total|^Total'"), without="1500.00"),
    File("09-header-with-spaces", "1500.00"),
    File("11-blank-trailing-columns", "1500.00"),
    # gzip named .csv and plain text named .csv.gz are read; a zip archive is named.
    File("25-two-files-joined", "9987.50"),
    File("26-line-ends-of-old-macs", "1500.00"),
    File("27-backslash-quotes", "2462.50"),
    File(
        "29-hive-partitions",
        "750.00",
        block(match=SALES, from_path="'sales_date=(?P<sales_date>[0-9-]+)/'"),
        says=("missing column: sales_date",),
    ),
    File("31-odd-names", "2250.00"),
    File(
        "33-dimensions-by-excel", "1500.00", block(match="'customers/**'", delimiter="';'"), says=('delimiter = ";"',)
    ),
    File(
        "64-discounts",
        "1450.00",
        policy='total_cost_rule = "price * quantity - discount"',
        without_policy="total_cost is not price * quantity",
    ),
    # 19 % tax on 12.50: 14.875, away from zero; with the tolerance of the case's policy everything is right.
    File("65-totals-with-tax", "1785.00", policy='total_cost_rule = "price * quantity * 1.19"\n'),
    File("65-totals-with-tax", "1785.00", policy='total_cost_rule = "off"\n'),
    File("68-coupon-lines", "1320.00"),
    File("70-two-currencies", "45750.00", policy='mixed_currencies = "add"', without_policy="EUR, JPY"),
    File("71-year-mistyped", "4925.00"),
    File("75-one-name-only", "1500.00"),
    File("77-fewer-columns-of-people", "1500.00"),
    File("83-new-customers-come-late", "1500.00", policy='unknown_people = "warn"', without_policy="unknown_people"),
    File("84-zero-priced-gifts", "1500.00"),
    File("89-bad-joining-date", "1500.00"),
    File("90-rule-on-an-optional-column", "987.50"),
    File("72-timestamps-as-databases-write-them", "1500.00"),
    File("73-leading-zeros", "1500.00"),
    File("74-null-in-words", "1500.00", block(match=SALES, null=r"['NULL', '\N']"), says=('null = ["NULL"]',)),
    File("80-midnight-and-leap-day", "2937.50"),
    File("82-one-bad-row-in-a-small-drop", "4975.00"),
    File("85-quotes-inside-fields", "2487.50"),
    File("86-gzip-of-two-members", "4987.50"),
    File("87-upper-case-folders", "1500.00"),
    File("94-ids-as-floats", "1500.00"),
]


def shop_of(folder: Path, case: str, blocks: str = "", policy: str = "") -> Shop:
    shop, (step,) = open_shop(folder, case)
    shop.config_text, shop.policy_text = blocks, policy
    if (step / "policy.toml").is_file():
        shop.policy_text += (step / "policy.toml").read_text()
    lay(shop, step)
    (shop.source / "policy.toml").unlink(missing_ok=True)
    return shop


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.folder)
def test_a_file_is_read_as_its_users_expect(tmp_path: Path, case: File) -> None:
    shop = shop_of(tmp_path, case.folder, case.blocks, case.policy)
    built = shop.built()
    assert shop.sums() == (Decimal(case.total), Decimal(case.total)), built.text
    assert built.code == case.code, built.text


@pytest.mark.parametrize("case", [case for case in FILES if case.blocks], ids=lambda case: case.folder)
def test_without_its_settings_a_refusal_names_them(tmp_path: Path, case: File) -> None:
    shop = shop_of(tmp_path, case.folder, policy=case.policy)
    built = shop.built()
    total = Decimal(case.without) if case.without else None
    assert shop.sums() == (None if total is None else (total, total)), built.text
    assert built.code == (65 if case.says else 0), built.text
    for words in case.says:
        assert words in built.text.replace('\\"', '"').replace("\\\\", "\\"), built.text


@pytest.mark.parametrize("case", [case for case in FILES if case.without_policy], ids=lambda case: case.folder)
def test_without_its_policy_a_run_stops_and_names_the_key(tmp_path: Path, case: File) -> None:
    shop = shop_of(tmp_path, case.folder)
    built = shop.built()
    assert (built.code, shop.sums()) == (65, None), built.text
    assert case.without_policy in built.text


def test_files_without_a_header_need_the_names(tmp_path: Path) -> None:
    """Beside a drop with a header: a block for one file of a folder."""
    shop = shop_of(tmp_path, "28-no-header")
    built = shop.built()
    assert (built.code, shop.sums()) == (65, (Decimal("1500.00"), Decimal("1500.00")))
    assert "it has no header: the first line is 'T0100', '2', '1', 'tea 0', '2024-01-17'" in built.text
    first = (shop.source / "sales/good.csv").read_text().splitlines()[0]
    names = ", ".join(f"'{name}'" for name in first.split(","))
    shop.config_text = block(match="'sales/a.csv'", header=f"[{names}]")
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (Decimal("2250.00"), Decimal("2250.00"))), built.text


def test_wrong_suffixes_are_read_by_what_they_are(tmp_path: Path) -> None:
    """A gzip and a zip archive of one file named .csv, and plain text named .csv.gz."""
    shop = shop_of(tmp_path, "23-wrong-suffixes")
    built = shop.built()
    names = ("good.csv", "really-gzip.csv", "really-plain.csv.gz", "really-zip.csv")
    assert built.code == 0, built.text
    assert {built.drop(f"sales/{name}")["state"] for name in names} <= {"live", "duplicate"}


def test_times_without_an_offset_are_in_the_zone_of_their_block(tmp_path: Path) -> None:
    """20:00 UTC on 31 January is 1 February in Kolkata."""
    blocks = block(match=SALES, timezone="'UTC'")
    shop = shop_of(tmp_path, "81-naive-utc", blocks)
    assert shop.built().code == 0
    months = {str(row[4])[:7] for row in shop.mart("customers")}
    assert months == {"2024-02"}
    shop.config_text = ""
    assert shop.built("--rescan").code == 0
    assert {str(row[4])[:7] for row in shop.mart("customers")} == {"2024-01"}


def test_a_linked_folder_is_followed_but_not_into_itself(tmp_path: Path) -> None:
    shop = shop_of(tmp_path, "09-header-with-spaces")
    archive = tmp_path / "archive"
    archive.mkdir()
    (shop.source / "sales/a.csv").rename(archive / "a.csv")
    (shop.source / "sales/2023").symlink_to(archive, target_is_directory=True)
    (archive / "loop").symlink_to(archive, target_is_directory=True)
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (Decimal("1500.00"), Decimal("1500.00"))), built.text
    assert len(built.report["drops"]) == 4
