"""Rows of a mart stand in the order of their key, whatever order the engine gave them."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from marts.compute.engine import ordered

KEYS = st.lists(st.tuples(st.integers(-5, 5), st.sampled_from(["2024-01", "2024-02", "2025-01"])), unique=True)


@settings(deadline=None, max_examples=200)
@given(KEYS)
def test_rows_are_sorted_by_all_columns_of_the_key(keys: list[tuple[int, str]]) -> None:
    rows = {"id": [number for number, _ in keys], "month": [month for _, month in keys], "at": list(range(len(keys)))}
    table = pa.table(rows, schema=pa.schema([("id", pa.int64()), ("month", pa.string()), ("at", pa.int64())]))
    result = ordered(table, ["id", "month"])
    assert [(row["id"], row["month"]) for row in result.to_pylist()] == sorted(keys)
    assert sorted(result["at"].to_pylist()) == list(range(len(keys)))


def test_rows_that_are_in_order_are_given_as_they_are() -> None:
    table = pa.table({"id": [1, 1, 2], "month": ["2024-01", "2024-02", "2024-01"]})
    assert ordered(table, ["id", "month"]) is table
