"""A month that goes on is merged from its days: each file of its facts has the bytes that the whole month gives."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.kit import Inline, Once, Place, line, marts, sales
from support.months import DROPS, POLICY, day_of, deliver, delivered, place_of, prepared
from support.retail import ALL

from jobs.state.manifest import Manifest, MonthLines
from jobs.steps.rollup import MonthPlan
from marts.compute.days import merged, require_equal
from marts.errors import SqlFailed

pytestmark = pytest.mark.usefixtures("all_marts")
CUSTOMER_MONTHS = ALL.months["customer_months"]


@pytest.fixture(autouse=True)
def _as_many_parts_by_day_as_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.steps.rollup._DAYS", 5)


ROWS = [f"{table.name}.parquet" for table in ALL.months.values() if table.by_day == "rows"]
"""Files of tables whose rows of days are those of the month: the month has none of its own."""


FIRST = dict(list(DROPS.items())[:4])
"""The drops of the first runs."""


def day_by_day(place: Place) -> None:
    deliver(prepared(place, rollup_lines=240), DROPS, together=False)


def first_days(place: Place) -> None:
    deliver(prepared(place, rollup_lines=240), FIRST, together=False)


def at_once(place: Place) -> None:
    deliver(prepared(place, rollup_lines=240), DROPS, together=True)


@pytest.fixture
def by_day(tmp_path: Path, once: Once) -> Place:
    """A place with all drops, built after each."""
    place = Place(tmp_path)
    once(day_by_day, place)
    return place


@pytest.fixture
def begun(tmp_path: Path, once: Once) -> Place:
    """A place with the first drops, built after each."""
    place = Place(tmp_path)
    once(first_days, place)
    return place


@pytest.fixture
def whole(tmp_path: Path, once: Once) -> Place:
    """A place with all drops, built once."""
    place = Place(tmp_path / "whole")
    once(at_once, place)
    return place


def facts_of(place: Place, month: str = "2024-03") -> dict[str, bytes]:
    """Return the newest facts of each task of a month, by path."""
    folders = [path for path in (place.folder / f"state/facts/month={month}").iterdir() if "day-" not in path.name]
    paths = [path for folder in folders for path in folder.iterdir() if path.name not in ROWS]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}


def days_of(place: Place, month: str = "2024-03") -> dict[str, int]:
    """Return the folders of days of a month, and when each was written."""
    files = (place.folder / f"state/facts/month={month}").glob("day-*/drops.parquet")
    return {file.parent.name: file.stat().st_mtime_ns for file in files}


def require_same_facts(by_day: Place, whole: Place) -> None:
    kept, wanted = facts_of(by_day), facts_of(whole)
    assert wanted
    assert wanted == {path: kept.get(path, b"") for path in wanted}
    assert by_day.marts(ALL.marts) == whole.marts(ALL.marts)


@pytest.mark.parametrize(
    ("lines", "key", "at_once"),
    [(60, None, 130), (240, None, 10**6), (60, ("transaction_id", "month"), 130), (240, ("transaction_id",), 10**6)],
    ids=["several tasks", "one task", "transactions of several days", "transactions of several months"],
)
def test_days_give_the_bytes_that_the_month_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int, key: tuple[str, ...] | None, at_once: int
) -> None:
    monkeypatch.setattr("jobs.steps.rollup_task._ROWS_AT_ONCE", at_once)
    policy = POLICY.model_copy(update={"transaction_key": key})
    by_day = delivered(tmp_path / "by day", DROPS, together=False, policy=policy, lines=lines)
    whole = delivered(tmp_path / "whole", DROPS, together=True, policy=policy, lines=lines)
    assert days_of(by_day)
    assert not days_of(whole)  # a month is computed whole the first time
    require_same_facts(by_day, whole)


def test_facts_without_a_shard_are_not_divided_by_day_either() -> None:
    (group,) = ALL.month_groups
    lines = MonthLines(rows=10**6, last_day="2024-03-31", files=())
    manifest = Manifest.model_construct(months={"2024-03": lines})
    parts = {}
    for shard in (group.facts[0].shard, ""):
        own = replace(group, facts=(replace(group.facts[0], shard=shard),))
        parts[shard] = MonthPlan("2024-03", own, (manifest,), 1, True).divided_by_day(10_000).parts
    assert parts["customer_id"] > 1
    assert parts[""] == 1


@pytest.mark.parametrize("cut", [5, 6])
def test_days_after_as_of_count_nothing(tmp_path: Path, cut: int) -> None:
    places = [place_of(tmp_path / name, rollup_lines=240) for name in ("by day", "whole")]
    for place in places:
        place.as_of = date(2024, 3, cut)
    for number, (key, text) in enumerate(DROPS.items()):
        for place in places:
            place.put(key, text)
        for place in places if number == len(DROPS) - 1 else places[:1]:
            assert place.build().error is None
    assert days_of(places[0])
    require_same_facts(*places)


def test_a_drop_computes_the_facts_of_its_days_only(begun: Place) -> None:
    before = days_of(begun)
    begun.put("sales/08.csv", day_of(8, late=5, seed=2))
    assert begun.build().error is None
    written = days_of(begun).items() - before.items()
    assert {name[:6] for name, _ in written} == {"day-05", "day-08"}
    (begun.source / "sales/08.csv").unlink()
    after = days_of(begun)
    assert begun.build().error is None
    assert days_of(begun) == after  # the facts without it are still there


def test_a_drop_that_is_withdrawn_is_in_no_day(by_day: Place, tmp_path: Path) -> None:
    by_day.put("sales/08.csv", day_of(8))
    (by_day.source / "sales/05.csv").unlink()
    assert by_day.build().error is None
    drops = {**DROPS, "sales/08.csv": day_of(8)}
    del drops["sales/05.csv"]
    require_same_facts(by_day, delivered(tmp_path / "whole", drops, together=True, lines=240))


def test_drops_whose_days_an_earlier_version_did_not_note_are_in_each(
    whole: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = dict(list(DROPS.items())[:3]), dict(list(DROPS.items())[3:])
    with monkeypatch.context() as patch:
        patch.setattr("jobs.steps.row_files._bits", lambda _: 0)
        place = delivered(tmp_path / "by day", first, together=True, lines=240)
    for key, text in last.items():
        place.put(key, text)
        assert place.build().error is None
    assert {name[:6] for name in days_of(place)} == {f"day-{day:02d}" for day in range(1, 8)}
    kept = {path: data for path, data in facts_of(place).items() if path in facts_of(whole)}
    assert kept == facts_of(whole)


@pytest.mark.parametrize("damage", [None, b"junk"], ids=["missing", "damaged"])
def test_days_that_are_lost_or_damaged_are_computed_again(begun: Place, whole: Place, damage: bytes | None) -> None:
    lost, *_ = sorted((begun.folder / "state/facts/month=2024-03").glob("day-*/customer_months.parquet"))
    lost.unlink()
    if damage:
        lost.write_bytes(damage)
    for key in list(DROPS)[len(FIRST) :]:
        begun.put(key, DROPS[key])
        assert begun.build().error is None
    require_same_facts(begun, whole)


def test_a_month_of_few_lines_is_the_unit(tmp_path: Path) -> None:
    assert not days_of(delivered(tmp_path, DROPS, together=False, lines=10_000))


def test_the_first_days_are_read_merged(tmp_path: Path) -> None:
    """Files of days that are merged are not read again; those of the last days are."""
    place = delivered(tmp_path, {f"sales/{day:02d}.csv": day_of(day) for day in range(1, 8)}, together=False, lines=240)
    month = place.folder / "state/facts/month=2024-03"
    assert list(month.glob("days-*/customer_months.parquet"))
    for day in (1, 2, 3):  # the first four of seven are merged
        for path in month.glob(f"day-{day:02d}-*/customer_months.parquet"):
            path.write_bytes(b"junk")
    place.put("sales/08.csv", day_of(8))
    assert place.build().error is None
    whole = delivered(tmp_path / "whole", {f"sales/{day:02d}.csv": day_of(day) for day in range(1, 9)}, together=True)
    assert place.marts() == whole.marts()
    for path in month.glob("days-*/drops.parquet"):
        path.unlink()
    place.put("sales/09.csv", day_of(9))
    report = place.build()  # damaged days are computed again
    assert report.error is None, report.error


def test_days_are_waste_when_the_month_has_ended(by_day: Place, tmp_path: Path) -> None:
    flags = [*by_day.flags, "--config", str(tmp_path / "marts.toml")]
    (tmp_path / "marts.toml").write_text('[drops]\nwithdrawals = "apply"\n[limits]\nrollup_lines = 240\n')
    (tmp_path / "policy.toml").write_text('max_unknown_ratio = 1\nequal_lines = "drop"\n')
    flags += ["--policy", str(tmp_path / "policy.toml")]
    kept = days_of(by_day)
    marts("vacuum", *flags)
    assert {name[:6] for name in days_of(by_day)} == {f"day-{day:02d}" for day in (1, 5, 6, 7)}
    assert days_of(by_day).items() < kept.items()  # those of earlier builds are gone
    by_day.as_of = date(2024, 4, 30)
    by_day.put("sales/april.csv", day_of(9, month=4))
    assert by_day.build().error is None
    marts("vacuum", *flags)
    assert not days_of(by_day)


def test_only_days_that_lack_facts_are_read(begun: Place) -> None:
    read: list[int] = []

    class Counting(Inline):
        def __call__(self, step, function, items, at_once=None):  # type: ignore[no-untyped-def]
            for index, result in super().__call__(step, function, items, at_once):
                read.extend([result] if step == "RollUp" else [])
                yield index, result

    begun.runner = Counting()
    begun.put("sales/08.csv", day_of(8, rows=30))
    assert begun.build().error is None
    assert sum(read) == 30


def rows_of(*rows: tuple[int, int, int | None]) -> pa.Table:
    names = ("customer_id", "lines", "total_cents", "purchases", "largest_cents", "bought_days")
    values = [dict(zip(names, (who, lines, lines * 100, 1, largest, 1), strict=True)) for who, lines, largest in rows]
    days = pa.nulls(len(rows), pa.date32())
    table = pa.Table.from_pylist(values, pa.schema([(name, pa.int64()) for name in names]))
    return table.append_column("first_bought", days).append_column("last_bought", days)


def test_rows_of_a_key_are_merged_and_nothing_else() -> None:
    rows = merged(CUSTOMER_MONTHS, [rows_of((1, 2, 50), (7, 1, None)), rows_of((1, 3, 70)), rows_of((5, 1, None))])
    assert rows.select(["customer_id", "lines", "total_cents", "largest_cents"]).to_pylist() == [
        {"customer_id": 1, "lines": 5, "total_cents": 500, "largest_cents": 70},
        {"customer_id": 5, "lines": 1, "total_cents": 100, "largest_cents": None},
        {"customer_id": 7, "lines": 1, "total_cents": 100, "largest_cents": None},
    ]
    assert rows.schema == rows_of().schema


def test_a_sum_that_overflows_is_named() -> None:
    with pytest.raises(SqlFailed, match="too large") as failure:
        merged(CUSTOMER_MONTHS, [rows_of((1, 2**56, 1))] * 1000)
    assert failure.value.where == "tables.customer_months.merge"


def test_a_merge_that_is_wrong_is_found_on_the_first_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that adds up what must not be added up."""
    wrong = {**CUSTOMER_MONTHS.merge, "largest_cents": "sum"}
    with pytest.raises(SqlFailed, match="largest_cents"):
        require_equal(replace(CUSTOMER_MONTHS, merge=wrong), rows_of((1, 2, 50)), rows_of((1, 2, 60)))
    monkeypatch.setitem(vars(CUSTOMER_MONTHS), "merge", wrong)
    place = place_of(tmp_path, rollup_lines=240)
    place.put("sales/01.csv", day_of(1))
    assert place.build().error is None
    live = place.marts()
    place.put("sales/02.csv", day_of(2))
    error = place.build().error
    assert error is not None
    assert "the days of a month, merged, differ from the month as a whole in largest_cents" in error.what
    assert 'merge.largest_cents = "sum" is not how its values add up' in error.what
    assert error.where == "tables.customer_months.merge"
    assert place.marts() == live


def test_the_files_of_a_drop_note_its_days(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    days = ("2024-02-29", "2024-03-01", "2024-03-31")
    place.put("sales/x.csv", sales(*(line(f"T{day}", day=day) for day in days)))
    place.build()
    (month,) = (tmp_path / "state/lines").glob("month=2024-03/*/*.parquet")
    assert pq.read_table(month)["sales_date"].to_pylist() == [date(2024, 3, 1), date(2024, 3, 31)]
    text = next((tmp_path / "state/catalog").iterdir()).read_text()
    assert f'"days":{1 << 29}' in text
    assert f'"days":{1 << 1 | 1 << 31}' in text
