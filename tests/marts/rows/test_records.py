"""Records are found in any text: at array speed where it is clean, with care where it is not."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.retail import CUSTOMERS, SALES

from marts.dialect import PLAIN, Dialect
from marts.errors import DropRejected
from marts.rows import records
from marts.rows.header import Header, read_header
from marts.rows.records import Records, find_records, has_odd_line
from marts.rows.text_rows import read_rows

GOOD = b"customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost"
TWO = Header(("a", "b"), (), ())


def rows(data: bytes) -> list[str]:
    parsed = find_records(data)
    return [parsed.raw(n) for n in range(len(parsed.starts))]


def read(parsed: Records, header: Header = TWO) -> tuple[pa.Table, np.ndarray, list[records.BadRow]]:
    result = read_rows(parsed, header)
    return result.table, result.places, result.bad


def bad(data: bytes) -> list[tuple[int, str]]:
    return [(row.line, row.reasons[0][0]) for row in find_records(data).bad]


def test_a_header_may_come_in_any_order_and_case_with_a_byte_order_mark() -> None:
    names = b"\xef\xbb\xbf" + b",".join(reversed(GOOD.upper().split(b","))) + b", Extra\r\n"
    header = read_header(names, SALES)
    assert header.names[0] == "total_cost"
    assert header.known == tuple(name for name in GOOD.decode().split(","))
    assert header.extra == ("extra",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD.replace(b"price,", b""), "missing column: price"),
        (GOOD.replace(b"price,quantity,", b""), "missing columns: price, quantity"),
        (GOOD + b",price", "names a column twice"),
        (GOOD.decode().encode("utf-16"), "not UTF-8"),
        (GOOD + b"\0", "not text"),
        (GOOD + b',"x', "not valid CSV"),
        (b"", "missing columns"),
        (GOOD + b"," * 100_000, "more than 2,000 columns"),
    ],
)
def test_a_drop_whose_header_cannot_be_used_is_rejected_with_the_reason(line: bytes, reason: str) -> None:
    with pytest.raises(DropRejected, match=reason):
        read_header(line, SALES)


def test_another_delimiter_is_possible() -> None:
    assert read_header(GOOD.replace(b",", b";"), SALES, Dialect(";")).known[0] == "customer_id"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_blank_lines_and_quoted_newlines_are_distinguished(end: bytes) -> None:
    data = end.join([b"1,a", b"", b'2,"b', b'c""d"', b"3,e", b"", b"4,f"])
    parsed = find_records(data)
    assert rows(data) == ["1,a", f'2,"b{end.decode()}c""d"', "3,e", "4,f"]
    assert parsed.lines.tolist() == [0, 2, 4, 6]
    assert parsed.line_count == 7


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'2,"b', "a quote is not closed, or stands in the wrong place"),
        (b'2,"b"x', "a quote is not closed, or stands in the wrong place"),
        (b"2,b\0", "holds a NUL byte"),
        (b"2,\xe9", "is not UTF-8 text"),
        (b"2,\xe9\xff\xfe", "is not UTF-8 text"),
        (b"2,b\rc", "holds a carriage return inside the row"),
        (b"2," + b"x" * (1 << 20), "longer than 1,048,576 bytes"),
    ],
)
def test_one_broken_row_costs_that_row_and_not_its_neighbours(broken: bytes, reason: str) -> None:
    data = b"\n".join([b"1,a", broken, b'3,"c,d"', broken, b"4,e", b""])
    assert rows(data) == ["1,a", '3,"c,d"', "4,e"]
    assert bad(data) == [(1, reason), (3, reason)]
    table, _, wrong = read(find_records(data))
    assert table["b"].to_pylist() == ["a", "c,d", "e"]
    assert not wrong


def test_an_overlong_row_is_kept_in_short() -> None:
    (row,) = find_records(b"2," + b"x" * (1 << 20)).bad
    assert len(row.raw) < 1100
    assert row.raw.endswith("(1,048,578 bytes)")


def test_a_stray_quote_inside_a_field_is_text() -> None:
    assert rows(b'1,5" pipe\n2,6" pipe\n') == ['1,5" pipe', '2,6" pipe']


def test_rows_of_the_wrong_width_are_named_with_their_line() -> None:
    data = b"1,a\n\n2\n3,c,d\n4,e\n"
    table, index, wrong = read(find_records(data))
    assert table["a"].to_pylist() == ["1", "4"]
    assert index.tolist() == [0, 3]
    assert [(row.line, row.raw, row.reasons) for row in wrong] == [
        (2, "2", (("the row does not have 2 fields", "1"),)),
        (3, "3,c,d", (("the row does not have 2 fields", "3"),)),
    ]


def test_empty_text_has_no_rows() -> None:
    for data in (b"", b"\n", b"\r\n\n"):
        table, _, wrong = read(find_records(data))
        assert (table.num_rows, wrong) == (0, [])
        assert table.column_names == ["a", "b"]


PIECES = st.sampled_from(
    [
        b"a",
        b"1",
        b",",
        b",",
        b"\n",
        b"\n",
        b"\r\n",
        b'"',
        b'""',
        b'"x"',
        b'"x\ny"',
        b"\r",
        b"\0",
        b"\xc3\xa9",
        b"\xe9",
        b" ",
    ]
)


@settings(max_examples=600, deadline=None)
@given(st.lists(PIECES, max_size=30).map(b"".join))
@example(b'a,"b\nc')
@example(b'"a""\n"\n')
def test_the_fast_way_and_the_careful_way_agree(data: bytes) -> None:
    fast = records._find_vectorised(data, PLAIN, 1 << 20)
    careful = records._find_carefully(data, PLAIN, 1 << 20)
    if fast is None:
        return
    assert careful.bad == ()
    assert [fast.raw(n) for n in range(len(fast.starts))] == [careful.raw(n) for n in range(len(careful.starts))]
    assert fast.lines.tolist() == careful.lines.tolist()


@settings(max_examples=600, deadline=None)
@given(st.lists(PIECES, max_size=40).map(b"".join))
def test_every_record_is_read_or_named_bad_and_nothing_is_lost(data: bytes) -> None:
    parsed = find_records(data)
    table, index, wrong = read(parsed)
    assert table.num_rows == len(index)
    taken_lines = {*parsed.lines[index].tolist(), *(row.line for row in wrong)}
    left = [parsed.raw(n) for n in range(len(parsed.starts)) if parsed.lines[n] not in taken_lines]
    assert len(taken_lines) == table.num_rows + len(wrong)
    assert all(not set(raw) - set(' ,"\r\n') for raw in left)  # rows without any value
    taken = np.concatenate([parsed.lines, [row.line for row in parsed.bad]])
    assert len(set(taken.tolist())) == len(taken)
    kept = b"".join(data[: len(data)].split(b"\n"))
    seen = "".join(parsed.raw(n) for n in range(len(parsed.starts))) + "".join(row.raw for row in parsed.bad)
    for letter in "a1":
        assert seen.count(letter) == kept.decode("utf-8", "backslashreplace").count(letter)


@pytest.mark.parametrize(
    ("data", "odd"),
    [(b"a,b\n", False), (b'a,"b"\n"c""d"\n', False), (b'a,"b\nc"\n', True), (b'a,5"\n', True), (b'"', True)],
)
def test_a_record_over_several_lines_shows_by_a_line_with_an_odd_number_of_quotes(data: bytes, odd: bool) -> None:
    assert has_odd_line(data) is odd


def test_dimension_headers_need_the_key_and_the_names_only() -> None:
    assert read_header(b"customer_id,first_name,last_name", CUSTOMERS).known[0] == "customer_id"
    with pytest.raises(DropRejected, match="missing column: last_name"):
        read_header(b"customer_id,first_name,address", CUSTOMERS)


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf\n", b"\xef\xbb\xbf1,a\n", b"\xef\xbb\xbf\xef\xbb\xbf1,a\n2,b\n"])
def test_a_byte_order_mark_that_is_not_that_of_the_file_is_part_of_its_row(body: bytes) -> None:
    """Wherever a block begins: Arrow drops one at the start of what it reads."""
    table, _, wrong = read(find_records(body))
    assert table.num_rows + len(wrong) == body.count(b"\n")
    first = wrong[0].raw if wrong else table["a"][0].as_py()
    assert first.startswith("\ufeff")
