"""The identity of deliveries, as plain Python sees it: small cases whose results are plain to see."""

import gzip
from datetime import UTC, date, datetime, timedelta

import pytest
from support.kit import SALES, line, sales
from support.oracle import Rules
from support.oracle_drops import Objects, Source, Withdrawals

WITHOUT_IDS = SALES.removeprefix("transaction_id,")
START = datetime(2024, 1, 1, tzinfo=UTC)


def objects(**texts: str | bytes) -> Objects:
    """Return objects by name, each an hour after the one before."""
    encoded = {name: text.encode() if isinstance(text, str) else text for name, text in texts.items()}
    return {name: (START + timedelta(hours=n), data) for n, (name, data) in enumerate(encoded.items())}


def anonymous(count: int, first: int = 0) -> list[str]:
    """Return rows without ids, each different."""
    return [line(price=f"{n + 1}.00").removeprefix("T1,") for n in range(first, first + count)]


def names(source: Source) -> list[str]:
    return [drop.place[1] for drop in source.live]


def unnamed(rows: list[str]) -> str:
    return sales(*rows, header=WITHOUT_IDS)


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        (sales(line("")), sales(line("")), 1),  # the same bytes
        (sales(line("")), "\ufeff" + sales(line("")), 2),  # small, without ids
        (sales(line()), "\ufeff" + sales(line()), 1),  # every row has an id
        (sales(line()), gzip.compress(sales(line()).encode()), 1),
        (unnamed(anonymous(19)), unnamed(anonymous(19)[::-1]), 2),
        (unnamed(anonymous(20)), unnamed(anonymous(20)[::-1]), 1),
        (unnamed(anonymous(20)), unnamed([*anonymous(20), anonymous(1)[0]]), 1),  # held: a line more
        (sales(line("A")), sales(line("A"), line("A")), 2),  # each as often as it is there
    ],
)
def test_equal_rows_under_other_bytes_are_one_delivery_where_they_are_enough(
    first: str, second: str | bytes, count: int
) -> None:
    assert len(Source().run(objects(a=first, b=second))) == count


def test_a_moved_drop_keeps_its_place() -> None:
    source = Source()
    first, second = sales(line()), sales(line(quantity=2))
    source.run(objects(a=first, b=second))
    later = {"z": (START + timedelta(days=9), first.encode()), "b": objects(a=first, b=second)["b"]}
    assert [drop.lines[0].quantity for drop in source.run(later)] == [1, 2]


def test_the_earliest_object_gives_the_place_when_a_content_is_first_seen() -> None:
    first, second = sales(line()), sales(line(quantity=2))
    source = Source()
    source.run(objects(z=first, b=second, a=first))
    assert names(source) == ["z", "b"]


def test_new_content_under_a_name_stands_where_it_was_first_seen() -> None:
    source = Source()
    source.run(objects(a=sales(line()), b=sales(line("T2"))))
    source.run({**objects(b=sales(line("T2"))), "a": (START + timedelta(days=1), sales(line(quantity=3)).encode())})
    assert [drop.lines[0].quantity for drop in source.live] == [1, 3]
    assert source.taken == []


@pytest.mark.parametrize(
    ("withdrawals", "vanished", "left"),
    [("ask", 1, 39), ("ask", 3, 40), ("apply", 3, 37), ("keep", 1, 40)],
)
def test_what_vanishes_is_taken_back_as_the_setting_says(withdrawals: Withdrawals, vanished: int, left: int) -> None:
    texts = {f"d{n:02d}": sales(line(f"T{n}")) for n in range(40)}
    source = Source(withdrawals=withdrawals)
    source.run(objects(**texts))
    stay = dict(list(objects(**texts).items())[vanished:])
    assert len(source.run(stay)) == left  # 3 of 40 lines are more than 5 %


def test_withdrawals_of_ninety_days_are_weighed_together() -> None:
    texts = {f"d{n:02d}": sales(line(f"T{n}")) for n in range(100)}
    source, here = Source(), objects(**texts)
    source.run(here)
    counts = []
    for n in range(5):
        here.pop(f"d{n:02d}", None)
        counts.append(len(source.run(here, date(2024, 4, 1) + timedelta(days=n))))
    assert counts == [99, 98, 97, 97, 97]
    assert len(source.run(here, date(2024, 8, 1))) == 97  # two wait for a decision, however long


def test_a_drop_with_half_of_another_s_lines_is_held_until_the_other_is_gone() -> None:
    first, second = unnamed(anonymous(40)), unnamed(anonymous(40, first=20))
    source = Source(withdrawals="apply")
    source.run(objects(a=first, b=second))
    assert (names(source), [drop.place[1] for drop in source.held]) == (["a"], ["b"])
    source.run({"b": objects(a=first, b=second)["b"]})
    assert (names(source), source.held) == (["b"], [])


def test_of_two_that_overlap_the_one_that_is_live_stays_though_it_is_the_later() -> None:
    source = Source()
    later = unnamed(anonymous(40))
    source.run({"b": (START + timedelta(days=1), later.encode())})
    source.run({"b": (START + timedelta(days=1), later.encode()), **objects(a=unnamed(anonymous(30)))})
    assert names(source) == ["b"]


def test_less_than_half_and_less_than_twenty_lines_do_not_overlap() -> None:
    assert len(Source().run(objects(a=unnamed(anonymous(60)), b=unnamed(anonymous(60, first=31))))) == 2
    assert len(Source().run(objects(a=unnamed(anonymous(19)), b=unnamed(anonymous(18))))) == 2


def test_the_words_that_are_no_ids_decide_what_is_without_one() -> None:
    rows = [line("till", price=f"{n}.00") for n in range(1, 21)]
    drops = objects(a=sales(*rows), b=sales(*rows, line("till", price="99.00")))
    assert len(Source().run(drops)) == 2
    assert len(Source(Rules(no_ids=frozenset({"till"}))).run(drops)) == 1


def test_a_new_version_that_is_held_replaces_nothing() -> None:
    first, other = unnamed(anonymous(30)), unnamed(anonymous(30, first=100))
    source = Source(withdrawals="apply")
    source.run(objects(a=first, b=other))
    source.run(objects(a=unnamed(anonymous(29, first=100)), b=other))
    assert ([len(drop.lines) for drop in source.live], [len(drop.lines) for drop in source.held]) == ([30, 30], [29])


def test_a_new_version_is_not_held_for_what_it_has_of_the_old_one() -> None:
    source = Source()
    source.run(objects(a=unnamed(anonymous(30))))
    assert [len(drop.lines) for drop in source.run(objects(a=unnamed(anonymous(31))))] == [31]
