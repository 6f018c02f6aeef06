"""Measures are derived from those before, with some rows taken out and others added, as if all were measured."""

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from marts.quality.findings import Measured
from marts.quality.key_measures import settle, with_keys
from marts.quality.measures import exchanged, measure
from marts.quality.rules import Rule
from marts.rows.columns import Column, Frame

BIG: dict[str, Any] = {
    "type": "comparison",
    "column": {"name": "value"},
    "operator": ">",
    "parameter": 50,
}
RULES = (
    Rule("expect_column_values_to_be_between", {"column": "value", "min_value": 0}),
    Rule("expect_column_values_to_be_between", {"column": "value", "min_value": 51}, condition=BIG),
    Rule("expect_column_sum_to_be_between", {"column": "value", "max_value": 5}),
    Rule("expect_column_min_to_be_between", {"column": "value", "max_value": 5}),
    Rule("expect_column_max_to_be_between", {"column": "value", "max_value": 5}),
    Rule("expect_table_row_count_to_equal", {"value": 5}),
    Rule("expect_column_values_to_be_unique", {"column": "key"}),
)
Rows = dict[int, int | None]
VALUES = st.one_of(st.none(), st.integers(-1, 100))


def measured(rows: Rows) -> Measured:
    keys = sorted(rows)
    columns = {
        "key": Column(pa.array(keys, pa.int64())),
        "value": Column(pa.array([rows[key] for key in keys], pa.int64())),
    }
    result = measure(RULES, Frame(len(keys), columns, ("key", "value")))
    return with_keys(result.measured, {keys.rule.id: settle([keys], {"key": (0, False)}) for keys in result.keys})


@settings(max_examples=300, deadline=None)
@given(
    before=st.dictionaries(st.integers(0, 30), VALUES, min_size=1),
    now=st.dictionaries(st.integers(0, 30), VALUES, min_size=1),
)
def test_the_measures_are_those_of_all_rows_or_none(before: Rows, now: Rows) -> None:
    removed = {key: value for key, value in before.items() if now.get(key, -2) != value}
    added = {key: value for key, value in now.items() if before.get(key, -2) != value}
    built = exchanged(measured(before), measured(removed), measured(added), RULES)
    whole = measured(now)
    broken = any(measured(side).of(rule).unexpected for side in (before, added) for rule in RULES)
    if built is None:
        values = [value for value in before.values() if value is not None]
        lost = bool(values) and bool({min(values), max(values)} & {*removed.values()})
        assert broken or lost
        return
    assert not broken
    for rule in RULES:
        derived, wanted = built.of(rule), whole.of(rule)
        parts = [(m.rows, m.missing, m.unexpected, m.total, m.distinct) for m in (derived, wanted)]
        assert parts[0] == parts[1], rule.type
        if "_min_" in rule.type:
            assert derived.low == wanted.low
        if "_max_" in rule.type:
            assert derived.high == wanted.high
