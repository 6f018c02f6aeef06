"""Dates, numbers and layouts of other formats become ISO dates, plain numbers and UTF-8 lines, or fit nothing."""

import codecs
import datetime as dt
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marts.dialect import Dialect
from marts.rows.date_formats import DateFormat, iso_of
from marts.rows.layout import Decoder, find_layout
from marts.rows.numbers import plain_numbers
from marts.rows.source_block import SourceBlock


@pytest.mark.parametrize(
    ("text", "written", "iso"),
    [
        ("%d.%m.%Y", "31.12.2024", "2024-12-31"),
        ("%d.%m.%Y", "1.2.2024", "2024-02-01"),
        ("%m/%d/%Y", "1/2/2024", "2024-01-02"),
        ("%d.%m.%Y", "32.12.2024", None),
        ("%d.%m.%Y", "31/12/2024", None),
        ("%d.%m.%Y", "31.12.2024 10:00", None),
        ("%d.%m.%y", "31.12.68", "2068-12-31"),
        ("%d.%m.%y", "31.12.69", "1969-12-31"),
        ("%d-%b-%Y", "5-JAN-2024", "2024-01-05"),
        ("%d %B %Y", "5 September 2024", "2024-09-05"),
        ("%b %d, %Y", "Mar 5, 2024", "2024-03-05"),
        ("%d/%m/%Y %H:%M", "31/12/2024 9:05", "2024-12-31T09:05:00"),
        ("%m/%d/%Y %I:%M %p", "1/2/2024 12:05 AM", "2024-01-02T00:05:00"),
        ("%m/%d/%Y %I:%M %p", "1/2/2024 12:05 p.m.", "2024-01-02T12:05:00"),
        ("%Y%m%d%H%M%S", "20240102030405", "2024-01-02T03:04:05"),
        ("%Y%m%d", "2024111", None),  # neither 11 January nor 1 November
        ("%d.%m.%Y %H:%M:%S.%f", "31.12.2024 01:02:03.5", "2024-12-31T01:02:03.5"),
        ("%Y/%m/%d %H:%M %z", "2024/12/31 23:30 +01:00", "2024-12-31T23:30:00+01:00"),
        ("excel", "45322", "2024-01-31"),
        ("excel", "45322.75", "2024-01-31T18:00:00"),
        ("excel", "45322.999999", "2024-02-01"),
        ("excel", "60", None),  # 29 February 1900, which only spreadsheets know
        ("excel", "1e9", None),
        ("excel", "2958465.999999999", None),  # the day after the last
        ("%d. sep %Y %m", "1. ſep 2024 02", None),  # not the letter s
        ("%d.%m.%Y %H:%M", "31.12.2024\u00a010:00", "2024-12-31T10:00:00"),
        ("%Y/%m/%d %H:%M%z", "2024/12/31 23:30z", "2024-12-31T23:30:00Z"),
        ("excel", "x", None),
    ],
)
def test_a_date_is_read_by_its_format_or_not_at_all(text: str, written: str, iso: str | None) -> None:
    assert iso_of(written, (text,)) == iso


def test_the_fraction_of_a_serial_number_has_the_decimal_mark_of_the_block() -> None:
    assert iso_of("45322,75", ("excel",), ",") == "2024-01-31T18:00:00"
    assert iso_of("45322,75", ("excel",)) is None


@given(st.dates(date(1970, 1, 1), date(2068, 12, 31)), st.times())
def test_formats_agree_with_those_of_python(day: date, time: dt.time) -> None:
    moment = dt.datetime.combine(day, time.replace(microsecond=0))
    for text in ("%d.%m.%Y %H:%M:%S", "%m/%d/%y %I:%M:%S %p", "%d-%b-%Y %H:%M:%S", "%Y%m%d%H%M%S"):
        assert iso_of(moment.strftime(text), (text,)) == moment.isoformat()


@given(st.dates(date(1900, 3, 1), date(9999, 12, 31)))
def test_serial_numbers_are_days_since_the_end_of_1899(day: date) -> None:
    assert iso_of(str((day - date(1899, 12, 30)).days), ("excel",)) == day.isoformat()


def test_the_first_format_that_fits_holds() -> None:
    assert iso_of("1.2.2024", ("%d/%m/%Y", "%d.%m.%Y")) == "2024-02-01"
    assert iso_of("1/2/2024", ("%m/%d/%Y", "%d/%m/%Y")) == "2024-01-02"


@pytest.mark.parametrize(
    "wrong", ["%d.%m", "%Y-%j", "%d.%m.%Y %I:%M", "%d.%d.%Y", "%d.%m.%Y :%M", "%Q", "", "%m %b %d %Y"]
)
def test_a_format_without_a_whole_date_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"%|must name"):
        DateFormat.of(wrong)


@pytest.mark.parametrize(
    ("block", "written", "plain"),
    [
        ({"decimal": ","}, "12,50", "12.50"),
        ({"decimal": ","}, "-0,5", "-0.5"),
        ({"decimal": ",", "thousands": "."}, "1.234.567,89", "1234567.89"),
        ({"decimal": ",", "thousands": "."}, "1.234", "1234"),
        ({"decimal": ",", "thousands": " "}, "1\u202f234,5", "1234.5"),
        ({"thousands": ","}, "1,234.50", "1234.50"),
        ({"thousands": "'"}, "1\u2019234.50", "1234.50"),
        ({"accounting": True}, "$12.50", "12.50"),
        ({"accounting": True}, "12.50 €", "12.50"),
        ({"accounting": True}, "(12.50)", "-12.50"),
        ({"accounting": True}, "$(12.50)", "-12.50"),
        ({"accounting": True}, "12.50-", "-12.50"),
        ({"accounting": True, "thousands": ","}, "-$1,234.50", "-1234.50"),
        ({"accounting": True, "decimal": ",", "thousands": "."}, "1.012,50 €", "1012.50"),
    ],
)
def test_a_number_is_read_by_its_marks(block: dict[str, object], written: str, plain: str) -> None:
    assert plain_numbers(pa.array([written, None, "7"]), SourceBlock(**block)).to_pylist() == [plain, None, "7"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("block", "written"),
    [
        ({"decimal": ","}, "12.50"),
        ({"decimal": ",", "thousands": "."}, "1.5"),
        ({"decimal": ",", "thousands": "."}, "12.34,50"),
        ({"thousands": ","}, "12,34.50"),
        ({"thousands": ","}, "1,2345"),
        ({"accounting": True}, "12$50"),
        ({"accounting": True}, "(-12.50)"),
        ({"accounting": True}, "-12.50-"),
    ],
)
def test_a_number_with_other_marks_fits_nothing(block: dict[str, object], written: str) -> None:
    """Nothing is guessed: 1.5 with marks of thousands is not 15, and not 1.5."""
    (text,) = plain_numbers(pa.array([written]), SourceBlock(**block)).to_pylist()  # type: ignore[arg-type]
    with pytest.raises(ArithmeticError):
        Decimal(text)


@given(st.decimals(-(10**9), 10**9, places=2), st.sampled_from([(",", "."), (".", ","), (",", " "), (".", "'")]))
def test_numbers_with_marks_are_the_numbers_themselves(number: Decimal, marks: tuple[str, str]) -> None:
    decimal, thousands = marks
    written = f"{number:,.2f}".replace(",", "_").replace(".", decimal).replace("_", thousands)
    block = SourceBlock(decimal=decimal, thousands=thousands)  # type: ignore[arg-type]
    (text,) = plain_numbers(pa.array([written]), block).to_pylist()
    assert Decimal(text) == number


@pytest.mark.parametrize(
    ("start", "block", "encoding", "skip", "delimiter"),
    [
        (b"a,b\n", {}, "utf-8", 0, ","),
        (codecs.BOM_UTF8 + b"a,b\n", {"encoding": "cp1252"}, "utf-8", 0, ","),
        (codecs.BOM_UTF16_LE + "a,b\n".encode("utf-16-le"), {}, "utf-16-le", 0, ","),
        (codecs.BOM_UTF16_BE + "a,b\n".encode("utf-16-be"), {}, "utf-16-be", 0, ","),
        (codecs.BOM_UTF32_LE + "a,b\n".encode("utf-32-le"), {}, "utf-32-le", 0, ","),
        ("a,b\n".encode("utf-16-be"), {"encoding": "utf-16"}, "utf-16-be", 0, ","),
        ("a,b\n".encode("utf-16-le"), {"encoding": "utf-16"}, "utf-16-le", 0, ","),
        (b"sep=;\r\na;b\r\n", {}, "utf-8", 1, ";"),
        (b'"sep=|"\na|b\n', {}, "utf-8", 1, "|"),
        (b"sep=;\nReport\na;b\n", {"skip_lines": 2}, "utf-8", 2, ";"),
        (b"separator\na\n", {}, "utf-8", 0, ","),
    ],
)
def test_the_first_bytes_decide_how_a_file_is_read(
    start: bytes, block: dict[str, object], encoding: str, skip: int, delimiter: str
) -> None:
    layout = find_layout(start, SourceBlock(**block))  # type: ignore[arg-type]
    assert (layout.encoding, layout.skip, layout.dialect) == (encoding, skip, Dialect(delimiter))


@given(
    st.text(st.characters(codec="cp1252"), max_size=200), st.sampled_from(["cp1252", "utf-16-le", "utf-8"]), st.data()
)
def test_text_is_the_same_however_it_is_cut_into_pieces(text: str, encoding: str, data: st.DataObject) -> None:
    written = text.encode(encoding)
    decoder = Decoder(find_layout(b"", SourceBlock(encoding=encoding)))
    pieces, at = [], 0
    while at < len(written):
        stop = data.draw(st.integers(at + 1, len(written)))
        pieces.append(decoder.decode(written[at:stop]))
        at = stop
    assert b"".join([*pieces, decoder.decode(b"", True)]).decode() == text


def test_a_byte_that_is_no_character_stays_in_its_row() -> None:
    layout = find_layout(b"", SourceBlock(encoding="cp1252"))
    assert layout.decode(b"caf\xe9,\x81\n") == "café,".encode() + b"\x81\n"
    assert layout.by_byte
    assert not find_layout(b"", SourceBlock(encoding="shift_jis")).by_byte
    assert not find_layout(b"a\rb\r", SourceBlock()).by_byte
