"""Hashes of rows: equal for equal rows wherever they are, and seldom for others."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marts.rows.hashing import among, hash_rows, mix, repeated

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=60)


@settings(deadline=None, max_examples=200)
@given(TEXTS, TEXTS)
def test_a_text_has_the_same_hash_in_any_block(before: list[str | None], texts: list[str | None]) -> None:
    alone = hash_rows(pa.table({"a": pa.array(texts, pa.string())}))
    among = hash_rows(pa.table({"a": pa.array([*before, *texts, "x" * 500], pa.string())}).slice(len(before)))
    assert alone.tolist() == among[:-1].tolist()


@settings(deadline=None, max_examples=200)
@given(TEXTS)
def test_other_texts_have_other_hashes(texts: list[str | None]) -> None:
    hashes = hash_rows(pa.table({"a": pa.array(texts, pa.string())}))
    assert len(set(hashes.tolist())) == len(set(texts))


def test_rows_of_all_types_are_hashed_column_by_column() -> None:
    columns = {
        "number": pa.array([1, 1, None, 2], pa.int64()),
        "day": pa.array([date(2024, 1, 1)] * 3 + [None], pa.date32()),
        "text": pa.array(["a", "a", "a", ""]),
        "flag": pa.array([True, True, None, False]),
    }
    hashes = hash_rows(pa.table(columns))
    assert hashes[0] == hashes[1]
    assert len(set(hashes.tolist())) == 3
    swapped = pa.table({"a": pa.array(["x", "y"]), "b": pa.array(["y", "x"])})
    assert len(set(hash_rows(swapped).tolist())) == 2


@pytest.mark.parametrize("numbers", [np.arange(300_000), np.arange(300_000) * 1000, -np.arange(300_000)])
def test_hashes_of_consecutive_keys_are_all_over_the_range(numbers: np.ndarray) -> None:
    """Ranges of hashes are shared out among tasks."""
    texts = pa.array(np.char.mod("T%09d", numbers))
    for table in (pa.table({"n": numbers}), pa.table({"t": texts}), pa.table({"t": texts, "n": numbers})):
        hashes = hash_rows(table)
        assert len(np.unique(hashes)) == len(hashes)
        counts = np.bincount((hashes >> np.uint64(60)).astype(int), minlength=16)
        assert counts.min() > 0.95 * len(hashes) / 16
        assert counts.max() < 1.05 * len(hashes) / 16


def test_no_rows_have_no_hashes() -> None:
    assert len(hash_rows(pa.table({"a": pa.array([], pa.string()), "b": pa.array([], pa.int64())}))) == 0
    assert len(repeated(np.empty(0, np.uint64))) == 0


def test_duplicates_are_detected() -> None:
    hashes = mix(np.zeros(6, np.uint64), np.array([5, 1, 5, 2, 1, 5]))
    assert sorted(repeated(hashes).tolist()) == sorted({hashes[0].item(), hashes[1].item()})


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.integers(0, 2**64 - 1)), st.data())
def test_hashes_are_found_among_others(hashes: list[int], known: list[int], data: st.DataObject) -> None:
    """Also where only the last bits are those of a known one."""
    some = data.draw(st.lists(st.sampled_from(known))) if known else []
    near = [value ^ (1 << 40) for value in some]
    asked = [*hashes, *some, *near]
    matches = among(np.array(asked, np.uint64), np.array(known, np.uint64))
    assert matches.tolist() == [value in known for value in asked]
