"""A header in any spelling is read; one that cannot be used names what is wrong and the setting that mends it."""

import pytest
from support.retail import SALES

from marts.dialect import Dialect
from marts.errors import DropRejected
from marts.rows.diagnosis import advice, looks_like
from marts.rows.header import Header, read_header
from marts.rows.source_block import SourceBlock, block_of, literal_folder

NAMES = ["customer_id", "store_id", "product_name", "sales_date", "sales_person_id", "price", "quantity", "total_cost"]
KEY = "sales/north/2024-01.csv"


def read(line: str, delimiter: str = ",", key: str = KEY, **block: object) -> Header:
    return read_header(line.encode(), SALES, Dialect(delimiter), SourceBlock(**block), key)  # type: ignore[arg-type]


@pytest.mark.parametrize("join", [" ", "_", "", "__"])
def test_names_are_compared_without_case_blanks_and_underscores(join: str) -> None:
    line = ",".join(name.replace("_", join).title() for name in NAMES)
    assert read(line).names == tuple(NAMES)


def test_a_header_of_years_is_a_header() -> None:
    """It has more values than names, and all columns that must be there."""
    assert read(",".join([*NAMES, *map(str, range(2000, 2030))])).extra[:2] == ("2000", "2001")


def test_columns_may_have_neither_name_nor_value() -> None:
    header = read(",".join(NAMES) + ",,\u00a0")
    assert header.names[len(NAMES) :] == ("", "")
    assert len(set(header.fields)) == len(NAMES) + 2


def test_a_block_renames_gives_and_takes_from_the_key() -> None:
    line = ",".join(NAMES).replace("customer_id", "Kunde").replace(",store_id", "").replace(",sales_date", "")
    header = read(
        line,
        columns={"KUNDE": "Customer ID"},
        constants={"store_id": 7, "branch": "north"},
        from_path="(?P<sales_date>[0-9]{4}-[0-9]{2})",
    )
    assert header.names[0] == "customer_id"
    assert dict(header.given) == {"store_id": "7", "branch": "north", "sales_date": "2024-01"}
    assert header.extra == ("branch",)
    assert set(header.known) == set(NAMES)


@pytest.mark.parametrize(
    ("line", "block", "what", "hint"),
    [
        (
            ";".join(NAMES),
            {},
            "its delimiter is a semicolon, not a comma",
            'match = "sales/north/**" and delimiter = ";"',
        ),
        ("\t".join(NAMES), {}, "its delimiter is a tab", 'delimiter = "\\t"'),
        ("|".join(NAMES), {}, "its delimiter is '|'", 'delimiter = "|"'),
        ("Kunde;Filiale;Preis", {}, "its delimiter is a semicolon", 'delimiter = ";"'),
        ("1,2,tea,2024-01-01,3,1.00,1,1.00", {}, "it has no header: the first line is '1', '2', 'tea'", "header = ["),
        (
            ",".join(NAMES).replace("total_cost", "total_amount"),
            {"match": "sales/**"},
            "missing column: total_cost (is it 'total_amount'?)",
            'set columns = {"total_amount" = "total_cost"} in the [[source]] block with match = "sales/**"',
        ),
        (
            ",".join(NAMES) + ",Customer ID",
            {},
            "names a column twice: 'customer_id' (as 'Customer ID', 'customer_id')",
            "",
        ),
        (",".join(NAMES), {"constants": {"store_id": 1}}, "'store_id' is in the file and in constants", "remove it"),
        (",".join(NAMES), {"from_path": "dt=(?P<day>.*)/"}, "does not fit from_path", "from_path"),
        ("", {}, "missing columns: customer_id", "columns = {"),
        (
            "x",
            {"match": "**", "decimal": ","},
            "missing columns",
            'set columns = {"NAME IN THE FILE" = "customer_id"} in',
        ),
        (
            ",".join(NAMES).replace("total_cost", "Betrag"),
            {"match": "sales/**", "columns": {"total_cost": "betrag"}},
            "missing column: total_cost",
            'set columns = {"Betrag" = "total_cost"}: the name in the file comes first, in the [[source]] block',
        ),
        ("1,1,tea,2024-01-31,11,1,1,1", {}, "it has no header: the first line is '1', '1', 'tea'", "header = ["),
        (",".join(NAMES[1:]), {"quote": "'"}, "missing column: customer_id", "set columns = {"),
    ],
)
def test_a_header_that_cannot_be_used_names_the_setting(
    line: str, block: dict[str, object], what: str, hint: str
) -> None:
    with pytest.raises(DropRejected) as caught:
        read(line, **block)
    assert what in caught.value.what
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"PK\x03\x04......xl/workbook.xml", "an Excel workbook (.xlsx)"),
        (b"PK\x03\x04......a.csv", "a zip archive"),
        (b"PAR1\0\1..", "a Parquet file"),
        (b"ORC\x0a\0\x85..", "an ORC file"),
        (b"ORC,PAR1\n1,2\n", ""),
        ("ORC_Größe".encode()[:-2], ""),  # cut within a character
        (b"BZh9", "a bzip2 archive"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<!DOCTYPE html>", "an HTML page, perhaps of an error or a login"),
        (b'{"a": 1}\n', "JSON"),
        ("a,b\n".encode("utf-16-le"), "UTF-16 text without a byte order mark"),
        (b"a,b\n", ""),
        (b'"{a}",b\n', ""),
    ],
)
def test_a_file_is_named_by_its_first_bytes(start: bytes, what: str) -> None:
    other = looks_like(start)
    assert (other.what if other else "") == what


DATE, NUMBER, WHOLE = "sales_date is not an ISO date", "price is not a decimal number", "store_id is not a whole number"


@pytest.mark.parametrize(
    ("rule", "value", "settings"),
    [
        (DATE, "31/12/2024", 'dates = ["%d/%m/%Y"]'),
        (DATE, "01/02/2024", 'dates = ["%d/%m/%Y"] or dates = ["%m/%d/%Y"]'),
        (DATE, "45322", 'dates = ["excel"]'),
        (DATE, "soon", ""),
        (NUMBER, "12,50", 'decimal = ","'),
        (NUMBER, "1.234,50", 'decimal = "," and thousands = "."'),
        (NUMBER, "1,234", 'decimal = "," or thousands = ","'),
        (NUMBER, "1,234,567", 'thousands = ","'),
        (NUMBER, "$1,234.50", 'thousands = "," and accounting = true'),
        (NUMBER, "(12.50)", "accounting = true"),
        (NUMBER, "NULL", 'null = ["NULL"]'),
        (WHOLE, "\\N", 'null = ["\\\\N"]'),
        (WHOLE, "S-17", 'id_prefix = {COLUMN = "S-"}, if all ids have it (ids as texts are not supported yet)'),
        ("quantity is 0", "0", ""),
    ],
)
def test_a_wrong_value_names_the_settings_that_may_read_it(rule: str, value: str, settings: str) -> None:
    assert advice(rule, value) == settings


@pytest.mark.parametrize(
    ("glob", "key", "holds"),
    [
        ("sales/**", "sales/a.csv", True),
        ("sales/**", "Sales/2024/a.csv", True),
        ("sales/*.csv", "sales/2024/a.csv", False),
        ("**/x-*.csv", "x-1.csv", True),
        ("**/x-*.csv", "a/b/x-1.csv", True),
        ("sales/branch-[12]/**", "sales/branch-3/a.csv", False),
        ("sales/branch-[!12]/**", "sales/branch-3/a.csv", True),
        ("sales/a+b (1).csv", "sales/a+b (1).csv", True),
        ("sales/?.csv", "sales/ab.csv", False),
    ],
)
def test_a_glob_matches_keys(glob: str, key: str, holds: bool) -> None:
    assert (block_of(key, [SourceBlock(match=glob, delimiter=";")]).delimiter == ";") is holds
    assert key.lower().startswith(literal_folder(glob)) or not holds
