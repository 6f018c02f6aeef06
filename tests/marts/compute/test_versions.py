"""Versions of the entities of a dimension."""

from datetime import date, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marts.compute.versions import FIRST, INFERRED, LAST, Snapshot, fold, of_days, with_members
from marts.errors import DuplicateKeys
from marts.pack import Kind, SourceColumn
from marts.rows.cast import DELETED, clean_schema

KIND = Kind(
    name="shops",
    columns=(
        SourceColumn("id", "id", "key"),
        SourceColumn("name", "text", "name"),
        SourceColumn("size", "integer", "size", nullable=True),
    ),
    key="id",
    versions=True,
    carried=("size",),
    reports=("size",),
    members=((-1, "UNKNOWN"), (-2, "NOT APPLICABLE")),
    worded=("name",),
)
rows = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from("ab"), st.sampled_from([None, 1]), st.booleans()),
    unique_by=lambda row: row[0],
    max_size=4,
)
snapshots = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 29, 30, 31, 58, 61, 89, 91]), st.booleans(), rows, st.booleans()), max_size=8
)


def snapshot(is_log: bool, values: list[tuple[int, str, int | None, bool]], unreadable: bool = False) -> Snapshot:
    schema = clean_schema(KIND, is_log)
    columns = list(zip(*values, strict=True)) or [()] * 4
    table = pa.table(
        [pa.array(column, item.type) for column, item in zip(columns, schema, strict=False)], schema=schema
    )
    return Snapshot(table, is_log, None if unreadable else pa.array([], pa.int64()))


@settings(max_examples=40, deadline=None)
@given(snapshots)
def test_a_history_that_is_continued_day_by_day_is_that_of_all_days(drops: list[tuple[int, bool, list, bool]]) -> None:
    days: dict[date, list[Snapshot]] = {}
    for day, is_log, values, unreadable in sorted(drops, key=lambda drop: drop[0]):
        days.setdefault(date(2024, 1, 1) + timedelta(day), []).append(snapshot(is_log, values, unreadable))
    whole = fold(KIND, days.items())
    steps, last = None, FIRST
    for day, same in days.items():
        steps, last = fold(KIND, [(day, same)], steps, last), day
    assert steps is None or steps.equals(whole)
    covered: dict[int, date] = {}
    rows = whole.to_pylist()
    for row in (row for row in rows if row["valid_from"]):
        assert row["covers_from"] == covered.get(row["id"], FIRST)  # each begins where the one before ends
        assert row["valid_from"] < row["valid_to"]
        for report in row["reports"] or ():
            assert row["covers_from"] <= report["day"] < row["covers_to"]
        assert row["is_current"] == (row["end_reason"] is None) == (row["valid_to"] == LAST)
        covered[row["id"]] = row["covers_to"]
    assert set(covered.values()) <= {LAST}
    never = [row["id"] for row in rows if not row["valid_from"]]
    assert not covered.keys() & set(never)
    assert len(set(never)) == len(never)
    reported = {row[0] for _, is_log, values, _ in drops for row in values if not (is_log and row[3])}
    assert {row["id"] for row in rows if row["reports"]} == reported == covered.keys() | set(never)


def test_entities_that_only_facts_name_are_inferred_and_members_stand_for_none() -> None:
    history = fold(KIND, [(date(2024, 1, 1), [snapshot(False, [(1, "a", 5, False)])])])
    listed = with_members(KIND, history, pa.array([1, 7, -1, None, 7], pa.int64())).to_pylist()
    assert [(row["id"], row["name"], row["size"], row[INFERRED], int(row["version_key"])) for row in listed] == [
        (-2, "NOT APPLICABLE", None, False, -2),
        (-1, "UNKNOWN", None, False, -1),
        (1, "a", 5, False, 120240101),
        (7, "UNKNOWN", None, True, 719000101),
    ]
    assert {(row["covers_from"], row["covers_to"]) for row in listed} == {(FIRST, LAST)}
    some = with_members(KIND, history.select(["id", "version_key", "name"]), pa.array([], pa.int64()), members=False)
    assert some.to_pylist() == [{"id": 1, "version_key": 120240101, "name": "a", INFERRED: False}]


def test_the_last_change_of_a_log_counts_and_a_key_twice_in_a_table_is_refused() -> None:
    day = date(2024, 1, 1)
    log = snapshot(True, [(1, "a", None, False), (2, "a", None, False), (1, "b", None, False), (2, "a", None, True)])
    assert log.rows[DELETED].to_pylist() == [False, False, False, True]
    rows = fold(KIND, [(day, [log])]).to_pylist()
    assert [(row["id"], row["name"], row["valid_from"]) for row in rows] == [(1, "b", day), (2, None, None)]
    with pytest.raises(DuplicateKeys, match="shops"):
        fold(KIND, [(day, [snapshot(False, [(1, "a", None, False), (1, "b", None, False)])])])


def test_the_reports_of_an_entity_are_its_first_and_the_last_of_each_month() -> None:
    days = [(1, 5), (1, 9), (1, 31), (2, 10), (2, 12), (3, 1)]
    sizes = {day: number * 10 for number, day in enumerate(days)}
    snapshots = {day: [snapshot(False, [(1, "a", size, False)])] for day, size in sizes.items()}
    snapshots[(2, 12)] = [snapshot(False, [(2, "b", 7, False)]), snapshot(False, [(3, "c", 8, False)])]
    rows = fold(KIND, [(date(2024, *day), items) for day, items in snapshots.items()]).to_pylist()
    reports = {
        (row["id"], row["valid_from"]): [(item["day"].isoformat(), item["size"]) for item in row["reports"] or []]
        for row in rows
    }
    assert reports == {
        (1, date(2024, 1, 5)): [("2024-01-05", 0), ("2024-01-31", 20), ("2024-02-10", 30)],
        (1, date(2024, 3, 1)): [("2024-03-01", 50)],
        (3, date(2024, 2, 12)): [("2024-02-12", 8)],
        (2, None): [("2024-02-12", 7)],
    }


def test_a_report_counts_although_a_later_snapshot_of_its_day_lacks_the_entity() -> None:
    with_it, without = snapshot(False, [(1, "a", 5, False), (2, "b", 6, False)]), snapshot(False, [(2, "b", 7, False)])
    steps = [(date(2024, 1, 9), [with_it, without])]
    never = fold(KIND, steps)
    listed = with_members(KIND, never, pa.array([1], pa.int64()), members=False).to_pylist()
    assert [(row["id"], row["name"], row[INFERRED], row["reports"]) for row in listed] == [
        (1, "UNKNOWN", True, [{"day": date(2024, 1, 9), "size": 5}]),
        (2, "b", False, [{"day": date(2024, 1, 9), "size": 7}]),
    ]
    unread = with_members(KIND, never.select(["id", "version_key"]), pa.array([], pa.int64()), members=False)
    assert unread["id"].to_pylist() == [2]
    assert of_days(never, date(2024, 1, 1), date(2024, 2, 1))["id"].to_pylist() == [2]
    steps += [(date(2024, 2, 1), [with_it]), (date(2024, 3, 1), [with_it, without])]
    row = fold(KIND, steps[1:], never, steps[0][0]).to_pylist()[0]
    assert (row["id"], row["valid_from"], row["valid_to"]) == (1, date(2024, 2, 1), date(2024, 3, 1))
    assert [item["day"] for item in row["reports"]] == [day for day, _ in steps]
