"""Drops that are no CSV: workbooks, Parquet, JSON lines, archives; what is wrong in them is named with its place."""

import gzip
import io
import json
import zipfile
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.kit import Place
from support.shop import Shop
from support.workbook import workbook

pytestmark = [pytest.mark.usefixtures("small_builds")]
NAMES = ["customer_id", "store_id", "product_name", "sales_date", "sales_person_id", "price", "quantity", "total_cost"]
ROWS: list[list[Any]] = [
    [1, 1, "tea", date(2024, 1, 31), 11, 1012.5, 1, 1012.5],
    [2, 2, "Käse, jung", datetime(2024, 2, 1, 10, 30), 12, 12.505, 2, 25.01],  # noqa: DTZ001
]
TOTAL = Decimal("1037.51")
PROMOTE: dict[str, Any] = {"promote_options": "permissive"}


def shop_with(folder: Path, key: str, data: bytes, block: str) -> Shop:
    shop = Shop(folder, config_text=f"[[source]]\nmatch = 'sales/**'\n{block}\n")
    shop.put_dims()
    shop.put(key, data)
    return shop


def lines_of_json(rows: list[list[Any]], **more: Any) -> bytes:
    objects = [dict(zip(NAMES, row, strict=True)) | more for row in rows]
    return "".join(json.dumps(value, default=str, ensure_ascii=False) + "\n" for value in objects).encode()


def parquet(rows: list[list[Any]]) -> bytes:
    sink = io.BytesIO()
    columns = [
        [value.isoformat() if hasattr(value, "isoformat") else value for value in column]
        for column in zip(*rows, strict=True)
    ]
    pq.write_table(pa.table(dict(zip(NAMES, columns, strict=True))), sink)
    return sink.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


BOOK = workbook({"Sales": [NAMES, *ROWS]})
CSV = ",".join(NAMES).encode() + b"\n1,1,tea,2024-01-31,11,1012.5,1,1012.5\n2,2,tea,2024-02-01,12,12.505,2,25.01\n"


@pytest.mark.parametrize(
    ("key", "data", "block"),
    [
        ("sales/a.xlsx", BOOK, "format = 'xlsx'"),
        (
            "sales/a.xlsx",
            workbook(
                {"About": [["x"]], "Data": [["Report"], [], NAMES, *ROWS, [None] * 8, ["Total", *[None] * 6, 1037.51]]}
            ),
            "format = 'xlsx'\nsheet = 'Data'\nskip_lines = 2\nfooter = '^Total'",
        ),
        ("sales/a.parquet", parquet(ROWS), "format = 'parquet'"),
        ("sales/a.jsonl", lines_of_json(ROWS), "format = 'jsonl'"),
        ("sales/a.json.gz", gzip.compress(lines_of_json(ROWS, tags=["a", {"b": 1}])), "format = 'jsonl'"),
        ("sales/a.csv.zip", zipped({"a.csv": CSV, "__MACOSX/a.csv": b"x"}), ""),
        ("sales/a.txt", CSV.replace(b",", b"\t"), 'delimiter = "\\t"'),
    ],
    ids=["xlsx", "sheet", "parquet", "jsonl", "jsonl-gz", "zip", "txt"],
)
def test_a_drop_of_another_format_is_read_exactly(tmp_path: Path, key: str, data: bytes, block: str) -> None:
    shop = shop_with(tmp_path, key, data, block)
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (TOTAL, TOTAL)), built.text
    assert built.drop(key)["rows_read"] == 2
    assert shop.built().report["outcome"] == "unchanged"


def _no_columns() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({}), sink)
    return sink.getvalue()


NO_COLUMNS = _no_columns()
MANY_KEYS = b"".join(b'{"k%d": 1}\n' % number for number in range(2001))
FAR_CORNER = workbook({"Sales": [NAMES, *ROWS]}, corner="XFD1048576")


@pytest.mark.parametrize(
    ("key", "data", "block", "words"),
    [
        (
            "sales/a.xlsx",
            workbook({"Sales": [NAMES, *ROWS]}),
            "format = 'xlsx'\nsheet = 'x'",
            "no sheet 'x'; its sheets are 'Sales'",
        ),
        ("sales/a.xlsx", b"PK\x03\x04 no workbook", "format = 'xlsx'", "not a readable Excel workbook"),
        ("sales/a.csv", BOOK, "", "it is an Excel workbook; set format"),
        ("sales/a.csv", zipped({"a.csv": CSV, "b.csv": CSV}), "", "a zip archive of 2 files: a.csv, b.csv"),
        ("sales/a.csv", zipped({"a.csv": CSV})[:-40], "", "the zip archive is damaged"),
        ("sales/a.parquet", parquet(ROWS)[:-50], "format = 'parquet'", "not a readable Parquet file"),
        (
            "sales/a.parquet",
            parquet([row[:8] for row in ROWS]).replace(b"store_id", b"shop_idx"),
            "format = 'parquet'",
            "missing column",
        ),
        ("sales/a.jsonl", b'[{"a": 1}]\n', "format = 'jsonl'", "missing columns"),
        ("sales/a.jsonl.gz", gzip.compress(lines_of_json(ROWS * 999))[:-9], "format = 'jsonl'", "archive is truncated"),
        (
            "sales/a.jsonl.gz",
            gzip.compress(lines_of_json(ROWS))[:-6] + b"123456",
            "format = 'jsonl'",
            "is truncated or",
        ),
        ("sales/a.jsonl", zipped({"a": lines_of_json(ROWS)})[:-40], "format = 'jsonl'", "the zip archive is damaged"),
        ("sales/a.jsonl", MANY_KEYS, "format = 'jsonl'", "more than 2,000 different keys"),
        ("sales/a.parquet", NO_COLUMNS, "format = 'parquet'", "missing columns"),
        ("sales/a.xlsx", FAR_CORNER, "format = 'xlsx'", "values as far as row 1,048,576 and column XFD"),
    ],
)
def test_a_file_that_cannot_be_read_is_rejected_with_its_reason(
    tmp_path: Path, key: str, data: bytes, block: str, words: str
) -> None:
    shop = shop_with(tmp_path, key, data, block)
    built = shop.built()
    assert built.code == 65
    assert built.drop(key)["state"] == "rejected"
    assert words in built.drop(key)["reason"]


def test_wrong_rows_of_a_table_are_quarantined_and_repaired(tmp_path: Path) -> None:
    """A row of JSON that is no object, a wrong date in line 4; the export repairs it as a row of CSV."""
    good = lines_of_json(ROWS * 100)
    wrong = lines_of_json([[3, 1, "tea", "31/01/2024", 11, "1.00", 1, 1]])
    data = good.splitlines(keepends=True)
    shop = shop_with(tmp_path, "sales/a.jsonl", b"".join([*data[:2], b"[1]\n", wrong, *data[2:]]), "format = 'jsonl'")
    built = shop.built()
    assert (built.code, built.report["totals"]["quarantined"]) == (0, 2), built.text
    listed = json.loads(shop.command("quarantine", "show", "a.jsonl", "--json", "--reveal").stdout)
    assert "31/01/2024" in json.dumps(listed)
    table = shop.command("quarantine", "export", "a.jsonl").stdout
    assert table.splitlines()[1].startswith("3,is not a JSON object with valid text")
    assert table.splitlines()[2].startswith("4,sales_date is not an ISO date: 31/01/2024")
    repaired = tmp_path / "repaired.csv"
    lines = table.splitlines()
    repaired.write_text("\n".join([lines[0], lines[2].replace(",31/01/2024,11", ",2024-01-31,11")]) + "\n")
    shop.command("quarantine", "replay", "a.jsonl", str(repaired))
    assert shop.built().report["totals"]["quarantined"] == 1
    assert shop.sums() == (TOTAL * 100 + 1, TOTAL * 100 + 1)


def test_texts_that_no_csv_could_hold_cost_their_row(tmp_path: Path) -> None:
    """A NUL, half of a surrogate pair, a text of more than a mebibyte."""
    good = lines_of_json(ROWS * 100)
    wrong = [lines_of_json([[3, 1, text, "2024-01-31", 11, "1.00", 1, 1]]) for text in ("a\0b", "x" * (1 << 20) + "y")]
    wrong.append(good.splitlines(keepends=True)[0].replace(b"1012.5", b"1e999999999"))
    half = lines_of_json([[3, 1, "HALF", "2024-01-31", 11, "1.00", 1, 1]]).replace(b"HALF", b"\\ud800")
    shop = shop_with(tmp_path, "sales/a.jsonl", b"".join([good, *wrong, half]), "format = 'jsonl'")
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (TOTAL * 100, TOTAL * 100)), built.text
    drop = built.drop("sales/a.jsonl")
    assert (drop["rows_read"], drop["quarantined"]) == (204, 4)
    rules = {reason["rule"] for reason in drop["reasons"]}
    rules -= {rule for rule in rules if "is not a decimal number" in rule}
    assert rules == {"holds a NUL byte", "longer than 1,048,576 bytes", "is not a JSON object with valid text"}


def test_columns_of_any_type_of_parquet_are_kept_as_text(tmp_path: Path) -> None:
    table = pq.read_table(io.BytesIO(parquet(ROWS)))
    more = {
        "tags": [["a", "b"], None],
        "nested": [{"a": 1}, {"a": None}],
        "bytes": [b"\xff", None],
        "time": pa.array([3, None], pa.time64("us")),
        "lasts": pa.array([3, None], pa.duration("s")),
        "half": [float("nan"), 0.1],
        "pairs": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "nothing": pa.nulls(2),
        "large": pa.array([2**63, None], pa.uint64()),
        "wide": pa.array([Decimal("1.5"), None], pa.decimal256(40, 2)),
    }
    for name, values in more.items():
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    shop = shop_with(tmp_path, "sales/a.parquet", sink.getvalue(), "format = 'parquet'")
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (TOTAL, TOTAL)), built.text
    assert any("nested" in warning for warning in built.report["warnings"])


def test_keys_that_come_late_in_json_lines_are_kept(tmp_path: Path) -> None:
    data = lines_of_json(ROWS[:1]) + lines_of_json(ROWS[1:], channel="web")
    place = Place(tmp_path, settings={"sources": [{"match": "sales/**", "format": "jsonl"}]})
    place.put_dimensions()
    place.put(
        "sales/a.jsonl",
        data.replace(b'"store_id": 1,', b'"store_id": 121,').replace(b'"store_id": 2,', b'"store_id": 122,'),
    )
    report = place.build(policy=place.policy.model_copy(update={"max_unknown_ratio": 1}))
    assert any("channel" in warning for warning in report.warnings)


def test_values_that_parquet_may_hold_but_no_text_does_cost_their_row(tmp_path: Path) -> None:
    """Texts that are not UTF-8, dates beyond those of a calendar, in 200 good rows."""
    table = pq.read_table(io.BytesIO(parquet(ROWS * 100)))
    broken = pa.array([b"\xff\xfe tea", *[b"tea"] * 199]).cast(pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 200, broken.buffers())
    table = table.set_column(2, "product_name", texts)
    moments = pa.array([2**62, None] * 100, pa.timestamp("us"))
    table = table.append_column("moments", pa.array([[2**62], None] * 100, pa.list_(pa.timestamp("us"))))
    table = table.append_column("moment", moments).append_column("wide", pa.array([2**55, 0] * 100, pa.date64()))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    shop = shop_with(tmp_path, "sales/a.parquet", sink.getvalue(), "format = 'parquet'")
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (TOTAL * 100 - Decimal("1012.5"),) * 2), built.text
    drop = built.drop("sales/a.parquet")
    assert (drop["rows_read"], drop["quarantined"], drop["reasons"][0]["rule"]) == (200, 1, "is not UTF-8 text")
    assert "\\xff\\xfe tea" in shop.command("quarantine", "show", "a.parquet", "--reveal").stdout


def test_numbers_of_any_type_of_parquet_are_the_shortest_decimals(tmp_path: Path) -> None:
    """A decimal of 18 digits that is zero, one of negative scale, floats of 32 and 16 bits."""
    table = pq.read_table(io.BytesIO(parquet([[1, 1, "tea", "2024-01-31", 11, 1, 1, 1]] * 3)))
    prices = pa.array([19.99, 0.1, 1500], pa.float32())
    totals = pa.array([Decimal("19.99"), Decimal("0.1"), Decimal(1500)], pa.decimal128(38, 18))
    table = table.set_column(5, "price", prices).set_column(7, "total_cost", totals)
    zero = pa.array([Decimal(0)] * 3, pa.decimal128(38, 18))
    table = pa.concat_tables([table, table.set_column(5, "price", zero).set_column(7, "total_cost", zero)], **PROMOTE)
    table = table.set_column(6, "quantity", pa.array([1] * 6, pa.float16()))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    shop = shop_with(tmp_path, "sales/a.parquet", sink.getvalue(), "format = 'parquet'")
    built = shop.built()
    assert built.report["totals"]["quarantined"] == 0, built.text
    assert shop.sums() == (Decimal("1520.09"),) * 2


def test_cells_beyond_the_names_of_a_workbook_are_not_lost(tmp_path: Path) -> None:
    """The block names eight columns, the sheet has nine: what is in the ninth is shown, not dropped."""
    rows = [[*row, None] for row in ROWS] + [[3, 1, "tea", date(2024, 1, 31), 11, 1, 1, 1, "void"]]
    header = ", ".join(f"'{name}'" for name in NAMES)
    shop = shop_with(tmp_path, "sales/a.xlsx", workbook({"S": rows}), f"format = 'xlsx'\nheader = [{header}]")
    built = shop.built()
    assert shop.sums() == (TOTAL, TOTAL), built.text
    drop = built.drop("sales/a.xlsx")
    assert [reason["rule"] for reason in drop["reasons"]] == ["a value in a column without a name"]


def test_json_that_other_readers_accept_costs_its_row(tmp_path: Path) -> None:
    """Surrogates as raw bytes, a number with an exponent that no decimal has."""
    good = lines_of_json(ROWS * 100)
    first = good.splitlines(keepends=True)[0]
    wrong = first.replace(b"tea", b"\xed\xa0\x80") + first.replace(b"1012.5", b"1e99999999999999999999")
    shop = shop_with(tmp_path, "sales/a.jsonl", good + wrong, "format = 'jsonl'")
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (TOTAL * 100, TOTAL * 100)), built.text
    assert built.drop("sales/a.jsonl")["quarantined"] == 2


def test_an_archive_of_json_lines_may_inflate_to_a_limit_only(tmp_path: Path) -> None:
    block = "format = 'jsonl'\n[limits]\nmax_inflated_bytes = 100_000"
    shop = shop_with(tmp_path, "sales/a.jsonl.gz", gzip.compress(lines_of_json(ROWS * 999)), block)
    assert "it inflates to more than 100,000 bytes" in shop.built().drop("sales/a.jsonl.gz")["reason"]


def test_equal_json_lines_are_one_delivery_with_and_without_an_archive(tmp_path: Path) -> None:
    data = lines_of_json(ROWS * 50)
    shop = shop_with(tmp_path, "sales/a.jsonl", data, "format = 'jsonl'")
    for name, packed in (("b.jsonl.gz", gzip.compress(data)), ("c.jsonl.zip", zipped({"c.jsonl": data}))):
        shop.put(f"sales/{name}", packed)
    built = shop.built()
    assert [drop["state"] for drop in built.report["drops"] if drop["kind"] == "sales"].count("duplicate") == 2
    assert shop.sums() == (TOTAL * 50, TOTAL * 50)


def test_values_of_the_path_that_come_later_are_not_lost(tmp_path: Path) -> None:
    """Equal files of two stores are one delivery while the block gives both the same store, and two from then on."""
    rows = b"customer_id,product_name,sales_date,sales_person_id,price,quantity,total_cost\n"
    rows += b"".join(b"%d,tea,2024-01-31,11,10.00,1,10.00\n" % (n % 9 + 1) for n in range(30))
    constant = "[[source]]\nmatch = 'sales/**'\nconstants = {store_id = 1}\n"
    path = "[[source]]\nmatch = 'sales/**'\nfrom_path = 'store=(?P<store_id>[0-9]+)/'\n"
    shop = Shop(tmp_path, config_text=constant)
    shop.put_dims()
    for store in (1, 2):
        shop.put(f"sales/store={store}/a.csv", rows)
    for block, total in ((constant, 300), (path, 600), (constant, 300), (path, 600)):
        shop.config_text = block
        built = shop.built("--rescan")
        assert built.code == 0, built.text
        assert shop.sums() == (Decimal(total), Decimal(total))
        assert shop.built("--rebuild").report["totals"]["drops"] == built.report["totals"]["drops"]


@pytest.mark.parametrize("folder", ["erp/out", "ERP/OUT", "Erp/Out"])
def test_a_pattern_fits_folders_in_other_letters(tmp_path: Path, folder: str) -> None:
    shop = Shop(tmp_path, config_text="[[source]]\nmatch = 'erp/out/*.csv'\nkind = 'sales'\n")
    shop.put_dims()
    shop.put(f"{folder}/a.csv", CSV)
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (TOTAL, TOTAL)), built.text
    assert built.report["totals"]["drops"] == 1


@pytest.mark.parametrize("before", ["", "x", "xx", "xxx"])
def test_a_plan_reads_the_start_of_a_drop_in_utf16(tmp_path: Path, before: str) -> None:
    """The piece that it reads may end within a character."""
    data = CSV.decode().replace("tea", before + "茶𝄞" * 50_001)
    shop = shop_with(tmp_path, "sales/a.csv", data.encode("utf-16"), "encoding = 'utf-16'")
    planned = json.loads(shop.command("plan", "--json").stdout)
    assert [drop["rejected"] for drop in planned["drops"]] == [""] * 4, planned


def test_a_few_rows_of_another_width_hold_no_drop(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, "sales/a.csv", CSV + b"1,2,3\n" * 2, "")
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (TOTAL, TOTAL)), built.text
    assert shop.policy_text == ""
    shop.policy_text = "max_bad_rows = 1\n"
    shop.put("sales/b.csv", CSV.replace(b"tea", b"coffee") + b"1,2,3\n" * 2)
    assert shop.built().drop("sales/b.csv")["state"] == "held"


def test_words_for_nothing_may_have_white_space_around_them(tmp_path: Path) -> None:
    data = CSV.replace(b"\n1,1,tea", b"\n NULL ,1,tea")
    shop = shop_with(tmp_path, "sales/a.csv", data, "null = ['NULL']")
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (Decimal("25.01"), TOTAL)), built.text


def test_equal_bytes_under_other_values_of_the_path_are_two_deliveries(tmp_path: Path) -> None:
    rows = b"customer_id,product_name,sales_date,sales_person_id,price,quantity,total_cost\n"
    rows += b"".join(b"%d,tea,2024-01-31,11,10.00,1,10.00\n" % (n % 9 + 1) for n in range(30))
    shop = Shop(tmp_path, config_text="[[source]]\nmatch = 'sales/**'\nfrom_path = 'store=(?P<store_id>[0-9]+)/'\n")
    shop.put_dims()
    for store in (1, 2):
        shop.put(f"sales/store={store}/a.csv", rows)
    built = shop.built()
    assert built.report["totals"]["duplicates"] == 0
    assert {row[0] for row in shop.mart("sales_team")} == {1, 2}


def test_ids_without_their_prefix_break_their_rule(tmp_path: Path) -> None:
    data = CSV.replace(b"\n1,", b"\nCUST-1,").replace(b"\n2,", b"\nCUST-002,")
    names = (b"3", b"cust-3", b"CUST-x", b"XCUST-3", b"CUST- ")
    wrong = b"".join(b"%s,1,tea,2024-01-31,11,1.00,1,1.00\n" % name for name in names)
    shop = shop_with(tmp_path, "sales/a.csv", data + wrong, "id_prefix = {customer_id = 'CUST-'}")
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (TOTAL, TOTAL)), built.text
    drop = built.drop("sales/a.csv")
    assert (drop["clean"], drop["quarantined"]) == (2, 5)
    assert drop["reasons"][0]["rule"] == "customer_id is not a whole number"


def test_an_object_anywhere_is_of_the_kind_that_its_block_says(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put_dims()
    shop.put("erp/out/SALES_2024.csv", CSV)
    shop.put("erp/out/readme.csv", b"nothing")
    shop.config_text = "[[source]]\nmatch = 'erp/**/readme*'\nignore = true\n"
    shop.config_text += "[[source]]\nmatch = 'erp/**/sales_*.csv'\nkind = 'sales'\n"
    built = shop.built()
    assert (built.code, shop.sums()) == (0, (TOTAL, TOTAL)), built.text
    assert [drop["key"] for drop in built.report["drops"] if drop["kind"] == "sales"] == ["erp/out/SALES_2024.csv"]
