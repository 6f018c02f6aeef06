"""The PDF of a monthly report says what its report.json says, all of it and nothing else, whatever the names are."""

import copy
import json
import logging
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import font_source_sans_pro
import pypdfium2
import pytest
from hatchling.builders.wheel import WheelBuilder

from jobs.adapters.charts import paper
from jobs.adapters.charts.paper import PaperBar
from jobs.pages.report_pdf import render
from marts.errors import DataError, UsageError

ROOT = Path(__file__).parents[3]
MARGIN = 56
"""Points between a page's edge and its text, about."""
Json = dict[str, Any]


def figure(name: str, unit: str, value: str | None, **others: Any) -> Json:
    known = {"before": None, "year_before": None, "year_to_date": None, "change": "", "year_change": ""}
    words = {"direction": "", "definition": f"What {name} is.", "why_not": ""}
    return {"id": name, "label": name.capitalize(), "unit": unit, "value": value, **known, **words, **others}


def table(title: str, columns: list[tuple[str, str]], rows: list[list[str | None]], **others: Any) -> Json:
    named = [{"label": label, "unit": unit} for label, unit in columns]
    return {"title": title, "columns": named, "rows": rows, "left_out": 0, "note": "", **others}


def part(title: str, **others: Any) -> Json:
    return {"title": title, "texts": [], "figures": [], "shows_insights": False, "charts": [], "tables": [], **others}


def bars(rows: list[list[str | None]]) -> Json:
    return {"kind": "bars", "title": "Income by kind", "unit": "money", "rows": rows}


def days(count: int, *values: str | None) -> Json:
    series = [{"name": "Income", "values": list(values)}, {"name": "Mean of 7 days", "values": ["7.00"] * count}]
    named = [f"2025-12-{day:02}" for day in range(1, count + 1)]
    return {"kind": "days", "title": "Income per day", "unit": "money", "days": named, "series": series}


REPORT: Json = {
    "schema": "martwright.report/1",
    "pack": "shops",
    "title": "Shops",
    "month": "2025-12",
    "is_so_far": False,
    "revision": 2,
    "supersedes": 1,
    "publication": "14-15-16",
    "run_id": "20260101T020304Z-58d4db",
    "as_of": "2025-12-31",
    "published_at": "2026-01-01T03:04:05+00:00",
    "policy": "default",
    "version": "0.1.0",
    "currency": "EUR",
    "figures": [
        figure(
            *("income", "money", "36800444.16"),
            before="26620000.00",
            year_before="24100000.00",
            year_to_date="310000000.00",
            change="+38.2 %",
            year_change="+52.7 %",
            direction="up (better)",
        ),
        figure("losses", "money", "-4110.05", before="-4000.00", change="-2.8 %", direction="down"),
        figure("rate", "percent", "1.13", before="1.14", change="\N{MINUS SIGN}0.9 %"),
        figure("pieces", "count", "9871", before="9001"),
        figure("ratio", "decimal", "0.3333"),
        figure("margin", "money", None, why_not="costs are not delivered"),
    ],
    "insights": [
        {"rule": "share", "text": "Cards pdf 61.3 % of it: +6,240,000.00.", "effect": "6240000.00", "figures": []},
        {"rule": "record", "text": "Income is the highest of 24 months.", "effect": "1.00", "figures": ["income"]},
    ],
    "parts": [
        part("Summary", figures=["income", "losses", "rate", "pieces", "ratio"], shows_insights=True),
        part(
            "Income",
            figures=["income"],
            charts=[days(3, "1000.00", None, "1200.50"), bars([["card", "1030.00"], ["back", "-46.70"], ["?", None]])],
            tables=[
                table(
                    "Places",
                    [("Place", "text"), ("Income", "money"), ("Change", "change"), ("Share", "percent")],
                    [["Kraków 1", "11606368.48", "+56.3 %", "3.78"], ["Ψυχή", "-0.10", "", None]],
                    left_out=39,
                    note="the largest 10",
                )
            ],
        ),
        part("Margin", figures=["margin"], texts=["Costs are not delivered."]),
        part("Data", texts=["Rows read: 100,000 = 98,000 + 2,000."]),
    ],
    "annex": [
        table("All places", [("Place", "text"), ("Since", "date"), ("Income", "money")], [["A", "2020-01-31", "5.50"]])
    ],
    "missing": "1,500 rows in quarantine",
    "warnings": ["The clock is 17 minutes late."],
    "changes": [{"label": "Income", "was": "36,700,000.00", "is": "36,800,444.16"}],
    "changed_by": "late.csv (new)",
}


def report(**others: Any) -> Json:
    return copy.deepcopy(REPORT) | others


def packed(content: Json) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def opened(content: Json) -> pypdfium2.PdfDocument:
    return pypdfium2.PdfDocument(render(packed(content)))


def pages_of(document: pypdfium2.PdfDocument) -> list[str]:
    return [page.get_textpage().get_text_bounded().replace("\ufffe", "-") for page in document]


def squeezed(text: str) -> str:
    """Return text without blanks: where lines end is no matter."""
    return "".join(text.split())


def text_of(content: Json) -> str:
    return squeezed(" ".join(pages_of(opened(content))))


def written(unit: str, value: str | None) -> str:
    """Write a value as pages do, by other means than the code."""
    if value is None:
        return ""
    if unit in ("text", "date"):
        return value
    if unit == "change":
        return value.replace("-", "\N{MINUS SIGN}")
    sign, digits = ("\N{MINUS SIGN}", value[1:]) if value.startswith("-") else ("", value)
    whole, _, rest = digits.partition(".")
    grouped = ",".join(re.findall(r"\d{1,3}", whole[::-1]))[::-1]
    return sign + grouped + (f".{rest}" if rest else "") + (" %" if unit == "percent" else "")


def texts_of(content: Json) -> Iterator[str]:
    """Return each text and value that a reader of the JSON may look for in the PDF."""
    used = [name for part in content["parts"] for name in part["figures"]]
    yield from (content["title"], "December 2025", content["as_of"], content["publication"], content["run_id"])
    yield from (content["policy"], content["version"], content["currency"], content["missing"], *content["warnings"])
    for item in content["figures"]:
        yield from (item["label"], item["definition"])
        if item["id"] in used:
            yield from (item["why_not"], item["direction"])
            yield from (written("change", item[name]) for name in ("change", "year_change"))
            yield from (
                written(item["unit"], item[name]) for name in ("value", "before", "year_before", "year_to_date")
            )
    yield from (insight["text"] for insight in content["insights"])
    for change in content["changes"]:
        yield from change.values()
    for part in content["parts"]:
        yield from (part["title"], *part["texts"])
        for chart in part["charts"]:
            yield chart["title"]
            yield from (line["name"] for line in chart.get("series", ()))
            for name, value in chart.get("rows", ()):
                yield from (name, written(chart["unit"], value))
    for item in (*content["annex"], *(item for part in content["parts"] for item in part["tables"])):
        yield from (item["title"], item["note"], *(column["label"] for column in item["columns"]))
        if item["left_out"]:
            yield f"{item['left_out']} rows not shown"
        for row in item["rows"]:
            yield from (written(column["unit"], cell) for column, cell in zip(item["columns"], row, strict=True))


def numbers_of(text: str) -> set[str]:
    return set(re.findall(r"\d(?:[\d,.]*\d)?", text))


def objects_of(document: bytes) -> bytes:
    """Return the objects of a PDF, those that are packed, too."""
    streams = re.findall(rb"/Type/ObjStm.*?stream\n(.*?)\nendstream", document, re.DOTALL)
    assert streams
    return document + b"".join(map(zlib.decompress, streams))


def test_all_that_the_json_says_is_in_the_pdf() -> None:
    text = text_of(REPORT)
    assert [item for item in texts_of(REPORT) if squeezed(item) not in text] == []


def test_every_number_of_the_pdf_is_in_the_json() -> None:
    pages = pages_of(opened(REPORT))
    texts = " ".join(texts_of(REPORT)) + " 2026-01-01 03:04 Revision 2, in place of 1"
    axes = r"\b[123] Dec\b|\b\d+(\.\d)?k\b|^(0|200|400|600|800)\s*$"
    numbers = set[str]()
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in page
        numbers |= numbers_of(re.sub(f"{axes}|Page .*", "", page, flags=re.MULTILINE))
    assert numbers - numbers_of(texts) == set()
    assert {"36,800,444.16", "0.3333", "4,110.05", "46.70"} <= numbers


def test_equal_input_gives_equal_bytes_in_another_process() -> None:
    code = (
        "import sys; from jobs.pages.report_pdf import render; sys.stdout.buffer.write(render(sys.stdin.buffer.read()))"
    )
    given, here = packed(REPORT), render(packed(REPORT))
    assert render(given) == here
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"}
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], input=given, capture_output=True, check=True, env=environment
    )
    assert elsewhere.stdout == here
    assert b"D:20251231000000Z" in objects_of(here)


def test_the_json_is_attached_byte_by_byte() -> None:
    given = packed(REPORT | {"unknown": {"key": "Łódź"}})
    document = pypdfium2.PdfDocument(render(given))
    assert document.count_attachments() == 1
    attached = document.get_attachment(0)
    assert (attached.get_name(), bytes(attached.get_data())) == ("report.json", given)


def test_the_document_is_tagged_named_and_small() -> None:
    pdf = render(packed(REPORT))
    objects, document = objects_of(pdf), pypdfium2.PdfDocument(pdf)
    assert b"<pdfaid:part>3</pdfaid:part><pdfaid:conformance>A</pdfaid:conformance>" in pdf
    assert b"<pdfuaid:part>1</pdfuaid:part>" in pdf
    assert b"/Lang(en)" in objects
    alternative = "Bars: Income by kind: card: 1,030.00; back: \N{MINUS SIGN}46.70; ?: not known."
    assert alternative.encode("utf-16-be").hex().upper().encode() in objects
    assert b"/Alt(Lines: Income per day, 2025-12-01 to 2025-12-03: Income, Mean of 7 days." in objects
    assert document.get_metadata_value("Title") == "Shops: monthly report, December 2025"
    assert document.get_metadata_value("Author") == "Martwright 0.1.0"
    outline = [(item.level, item.get_title()) for item in document.get_toc()]
    assert [title for level, title in outline if level == 0] == [
        *("Revision 2: changed since revision 1", "Summary", "Income", "Margin", "Data", "Annex"),
    ]
    assert (1, "Places") in outline
    assert {name.split(b"+")[1] for name in re.findall(rb"/FontName/([\w+-]+)", objects)} == {
        *(b"SourceSansPro-Regular", b"SourceSansPro-Semibold"),
    }
    assert len(pdf) < 60_000


def test_what_a_revision_changed_comes_first() -> None:
    first = pages_of(opened(REPORT))[0]
    places = [first.index(text) for text in ("December 2025", "changed since revision 1", "36,700,000.00", "Summary")]
    assert places == sorted(places)
    assert "Revision 2, in place of 1".replace("Revision ", "") in first
    earliest = " ".join(pages_of(opened(report(revision=1, supersedes=None, changes=[]))))
    assert "changed since" not in earliest
    assert "Revision 1" in earliest
    assert "No rows." in pages_of(opened(report(changes=[])))[0]


def test_a_month_that_is_not_over_says_so_on_each_page() -> None:
    pages = pages_of(opened(report(is_so_far=True)))
    assert ["SO FAR: the month is not over" in page for page in pages] == [True] * len(pages)
    assert "December 2025, so far" in pages[0]
    assert not any("SO FAR" in page for page in pages_of(opened(REPORT)))


def test_nothing_at_all_makes_a_report() -> None:
    empty = report(figures=[], insights=[], annex=[], warnings=[], changes=[], missing="", currency="")
    blank = [days(0), days(2, None, None) | {"series": []}, bars([]), {**days(1, None), "series": []}]
    nothing = [table("Places", [("Place", "text"), ("Income", "money")], [])]
    empty["parts"] = [part("Summary", shows_insights=True), part("Income", charts=blank, tables=nothing)]
    first, second = pages_of(opened(empty))
    assert "Nothing out of the ordinary." in first
    assert first.count("Nothing.") == 1
    assert (second.count("No values."), second.count("No rows.")) == (4, 1)
    assert "What each figure means" not in second
    assert len(pages_of(opened(empty | {"parts": []}))) == 1


def test_one_day_one_row_and_a_negative_month_are_drawn() -> None:
    charts = [
        days(1, "5.00"),
        days(3, "-5.00", "-15000.00", "-1.00"),
        bars([["only", "-3.00"]]),
        bars([["zero", "0.00"]]),
    ]
    content = report(parts=[part("Summary"), part("Income", charts=charts)])
    second = pages_of(opened(content))[1]
    assert "\N{MINUS SIGN}3.00" in second
    assert re.search(r"\N{MINUS SIGN}\d+k", second)


def test_a_bar_below_zero_goes_to_the_left() -> None:
    rows = [PaperBar("up", 1000, "1"), PaperBar("down", -3000, "-3"), PaperBar("nothing", None, "")]
    drawn = paper.bars(rows, "Source Sans Pro", "").image()
    bars = re.findall(r'd="M([\d.]+),[\d.]+h([\d.]+)v[\d.]+h-[\d.]+Z" fill="#4472b0"', drawn)
    (up, width), (down, length) = [(float(left), float(size)) for left, size in bars]
    assert (down, down + length) == (0, up)
    assert length == 3 * width


def test_charts_have_the_colours_of_light_pages() -> None:
    drawn = paper.bars([PaperBar("a", 1, "1")], "Source Sans Pro", "").image()
    assert "var(" not in drawn
    assert "inherit" not in drawn
    styles = [(ROOT / "jobs/report/templates" / name).read_text() for name in ("style.css", "report.css")]
    light = [dict(re.findall(r"--(\w+): (#[0-9a-f]+)", style.partition("@media")[0])) for style in styles]
    colours = light[0] | light[1] | {"paper": "#ffffff"}
    assert light[0]["paper"] == "#fff"
    assert {f"var(--{name})": colours[name] for name in ("ink", "dim", "line", "bar", "paper")} == paper._FIXED


HOSTILE = [
    *(
        '#panic("x")',
        "$x^2$",
        "*b* _i_ `c`",
        "<b>&amp;</b>",
        "@ref <label>",
        "= Heading",
        "- item",
        "// comment",
        "\\u{41}",
    ),
    *(
        "a -- b --- c",
        "\"quoted\" 'single'",
        "[x](https://example.org)",
        '#import "@preview/a:0.1.0"',
        "var(--ink)",
        "inherit",
    ),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_markup_is_text(name: str) -> None:
    content = hostile(name)
    text = " ".join(pages_of(opened(content)))
    assert squeezed(text).count(squeezed(name)) >= 12


def hostile(name: str) -> Json:
    """Return a report with a name at each place that takes text of the data."""
    content = report(title=name, policy=name, missing=name, warnings=[name], currency=name)
    content["figures"][0] |= {"label": name, "definition": name, "direction": name}
    content["insights"][0]["text"] = name
    content["changes"][0] |= {"label": name}
    charts = [days(2, "1.00", "2.00"), bars([[name, "1.00"]])]
    charts[0]["series"][0]["name"] = charts[0]["title"] = charts[1]["title"] = name
    rows = [[name, "1.00"], [name, None]]
    content["parts"] = [
        part(name, texts=[name], figures=["income"], shows_insights=True, charts=charts),
        part("Data", tables=[table(name, [(name, "text"), ("Income", "money")], rows, note=name)]),
    ]
    return content


def test_what_cannot_be_seen_is_written_as_a_code() -> None:
    text = text_of(hostile("evil\u202efdp.exe\x00\x1b[31m\n"))
    assert r"evil\u202efdp.exe\x00\x1b[31m\x0a" in text


@pytest.mark.parametrize("letter", ["W", "m", "i", "a b", "Ж", "long/path-"])
def test_long_names_wrap_and_nothing_leaves_the_page(letter: str) -> None:
    name = (letter * 300)[:300]
    content = hostile(name)
    numbers = [("Income", "money")] * 11
    content["annex"] = [
        table("Wide", [("Place", "text"), *numbers], [[name, *["-123456789012.55"] * 11]] * 3),
        table(
            "Texts",
            [("Drop", "text"), ("State", "text"), ("Rows", "count"), ("Why", "text")],
            [[name, "held", "12", name]],
        ),
    ]
    document = opened(content)
    for page in document:
        width, height = page.get_size()
        boxes = page.get_textpage()
        for at in range(boxes.count_chars()):
            left, bottom, right, top = boxes.get_charbox(at)
            assert left > MARGIN - 2
            assert right < width - MARGIN + 2
            assert bottom > 20
            assert top < height - 20
    assert squeezed(" ".join(pages_of(document))).count("\N{MINUS SIGN}123,456,789,012.55") == 33


def test_the_pages_of_a_wide_table_lie_on_their_side() -> None:
    columns = [("Place", "text"), *[("Income of the month", "money")] * 11]
    wide = table("Wide", columns, [["A", *["-123456789012.55"] * 11]] * 3)
    narrow = table("Narrow", columns[:2], [["A", "1.00"]])
    for annex, flipped in (([wide, narrow], [True, False]), ([narrow, wide], [False, True])):
        document = opened(report(annex=annex))
        sizes = [page.get_size() for page in document]
        assert [width > height for width, height in sizes[-2:]] == flipped
        assert not any(width > height for width, height in sizes[:-2])
        assert "Annex" in pages_of(document)[-2]


def test_long_values_of_changes_stay_beside_each_other() -> None:
    change = {"label": "Income " * 30, "was": "a word " * 30, "is": "x" * 200}
    text = text_of(report(changes=[change] * 40))
    assert text.count("x" * 200) == 40


def test_five_thousand_rows_have_numbered_pages_and_heads() -> None:
    columns = [("Place", "text"), ("Income", "money"), ("Pieces", "count")]
    rows: list[list[str | None]] = [
        [f"Place {number}", f"{number * 7 - 900}.25", str(number)] for number in range(5000)
    ]
    document = opened(report(annex=[table("All places", columns, rows)]))
    pages = pages_of(document)
    begins = next(at for at, page in enumerate(pages) if "Place 0" in page)
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in page
        if number > begins:
            assert re.search(r"Place\s+Income\s+Pieces", page)
    lines = {squeezed(line) for page in pages[begins:] for line in page.splitlines()}
    expected = {f"Place{at}{written('money', f'{at * 7 - 900}.25')}{at:,}" for at in range(5000)}
    assert expected - lines == set()


def test_a_short_table_is_not_divided() -> None:
    rows: list[list[str | None]] = [[f"Place {number}", "1.00"] for number in range(12)]
    tables = [table(f"Table {number}", [("Place", "text"), ("Income", "money")], rows) for number in range(9)]
    pages = pages_of(opened(report(parts=[part("Summary"), part("Income", tables=tables)])))
    counts = [
        (len(re.findall(r"Table \d", page)), len(re.findall(r"^Place \d", page, re.MULTILINE))) for page in pages[1:-1]
    ]
    assert sum(titles for titles, _ in counts) == 9
    assert [places for _, places in counts] == [12 * titles for titles, _ in counts]


def test_a_character_without_a_glyph_is_marked_and_named(caplog: pytest.LogCaptureFixture) -> None:
    content = hostile("王小 x")
    content["parts"][1]["tables"][0]["rows"].append(["plain", "2.00"])
    pdf = render(packed(content))
    assert b"<pdfuaid:part>" not in pdf
    assert b"/StructTreeRoot" in objects_of(pdf)
    pages = pages_of(pypdfium2.PdfDocument(pdf))
    assert "No font of this report has U+5C0F, U+738B" in " ".join(" ".join(pages).split())
    assert squeezed(" ".join(pages)).count("x!") >= 12
    assert "plain 2.00" in pages[1]
    what = "no font has U+5C0F, U+738B: boxes in the PDF, with a ! beside"
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"shops of 2025-12: {what}; set report_fonts to a folder of such fonts"]
    assert render(packed(content)) == pdf


def test_letters_beside_a_mark_without_a_glyph_are_not_named(caplog: pytest.LogCaptureFixture) -> None:
    render(packed(hostile("a\u0338b")))
    assert "no font has U+0338:" in caplog.text


def test_fonts_of_a_folder_are_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "other.ttf").write_bytes(font_with(0x1F9E0))
    given = packed(hostile("smile \U0001f9e0"))
    pdf = render(given, tmp_path)
    assert caplog.records == []
    assert b"<pdfuaid:part>1</pdfuaid:part>" in pdf
    assert b"/FontFile2" in objects_of(pdf)  # the other font is TrueType, ours is not
    assert b"/FontFile2" not in objects_of(render(packed(REPORT)))
    assert squeezed(" ".join(pages_of(pypdfium2.PdfDocument(pdf)))).count("smile\U0001f9e0") >= 12


def test_a_folder_of_fonts_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder of fonts"):
        render(packed(REPORT), tmp_path / "fonts")


def font_with(letter: int) -> bytes:
    """Return a font of another name whose last glyph is that of a letter."""
    font = bytearray((Path(font_source_sans_pro.font_directory) / "SourceSansPro-Regular.ttf").read_bytes())
    tables = {
        font[at : at + 4].decode(): struct.unpack(">II", font[at + 8 : at + 16]) for at in range(12, 12 + 16 * 20, 16)
    }
    start, _ = tables["cmap"]
    (count,) = struct.unpack(">H", font[start + 2 : start + 4])
    entries = range(start + 4, start + 4 + 8 * count, 8)
    for subtable in {start + struct.unpack(">I", font[at + 4 : at + 8])[0] for at in entries}:
        if font[subtable : subtable + 2] == b"\0\x0c":
            (groups,) = struct.unpack(">I", font[subtable + 12 : subtable + 16])
            last = subtable + 16 + 12 * (groups - 1)
            assert struct.unpack(">I", font[last : last + 4])[0] < letter
            font[last : last + 8] = struct.pack(">II", letter, letter)
    return bytes(font).replace("Source Sans Pro".encode("utf-16-be"), "Other Font 1234".encode("utf-16-be"))


def test_another_schema_is_refused() -> None:
    with pytest.raises(DataError, match=r"martwright\.report/2"):
        render(packed(report(schema="martwright.report/2")))


def test_a_warning_of_typst_is_none(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        render(packed(REPORT))
    assert caplog.records == []


def test_the_template_is_in_the_wheel() -> None:
    files = {item.distribution_path for item in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert "jobs/pages/templates/report.typ" in files


def test_an_exact_value_stays_exact() -> None:
    long = "12345678901234567890.12"
    content = report()
    content["figures"][0]["value"] = long
    assert f"{Decimal(long):,}" in text_of(content)
