"""New rows of an alert are listed by size."""

from datetime import date
from decimal import Decimal

import pyarrow as pa

from jobs.steps.new_rows import _largest_first


def test_the_largest_are_first_whatever_the_sign_and_equal_ones_by_another_column() -> None:
    differences = pa.array([Decimal(n) for n in ("16.16", "-50000.00", "-1.00", "1.00")], pa.decimal128(18, 2))
    days = pa.array([date(2024, 1, n) for n in (3, 1, 2, 4)])
    rows = pa.table({"id": ["a", "b", "c", "d"], "difference": differences, "day": days, "score": [1, 2, 2, 1]})
    assert _largest_first(rows, ["difference", "day"], ["id"])["id"].to_pylist() == ["b", "a", "d", "c"]
    assert _largest_first(rows, ["difference"], ["id"])["id"].to_pylist() == ["b", "a", "c", "d"]
    assert _largest_first(rows, ["score", "difference"], ["id"])["id"].to_pylist() == ["b", "c", "a", "d"]
