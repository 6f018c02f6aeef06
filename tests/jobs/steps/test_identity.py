"""Nothing twice, nothing lost: random deliveries settle as in the row-by-row calculation, drop by drop."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import oracle
from support.kit import AS_OF, SALES, Place, line, sales
from support.oracle import Line, Rules
from support.oracle_daily import all_marts
from support.oracle_drops import Source, Withdrawals
from support.retail import ALL

from marts.policy import Policy

pytestmark = [pytest.mark.database, pytest.mark.usefixtures("on_the_server", "all_marts")]

PEOPLE = {
    1: oracle.Person("Asha Rao", "1, Lake Road", "+00 1"),
    2: oracle.Person("Ben Iyer"),
    3: oracle.Person("Chitra Das"),
}
TEAM = {1: oracle.Person("Rahul Verma"), 2: oracle.Person("Priya Singh")}
HEADER = f"{SALES},line_no,till,payment_mode"

head = st.tuples(
    st.sampled_from(["A", "A", "A", "B", "b", "C ", "", "N/A"]),
    st.sampled_from([1, 1, 1, 1, 2, 3, "", 0, -1]),
    st.sampled_from([121, 121, 122]),
    st.sampled_from(["2024-01-31", "2024-01-31", "2024-02-01", "2024-03-31", "2024-04-01"]),
    st.sampled_from([1, 1, 2]),
    st.sampled_from(["", "", "x", "y"]),
)
"""What the lines of a receipt share: id, customer, store, day, sales person, till."""
detail = st.tuples(
    st.sampled_from(["tea", "tea", "rice"]),
    st.sampled_from([*["10.00"] * 6, "1.459", "0.000001", "-2.50"]),
    st.sampled_from([*["1"] * 6, "2", "10.5", "0.375", "-1", "-1"]),
    st.sampled_from([*[""] * 6, "1", "2", "02"]),
    st.sampled_from([*["cash"] * 6, "card", ""]),
)
"""Product, price, quantity, number and payment of a line."""


def _row(shared: tuple[Any, ...], own: tuple[Any, ...]) -> str:
    id_, customer, store, day, person, till = shared
    product, price, quantity, line_no, payment = own
    row = line(id_, customer, store, product, day, person, price, quantity)
    return f"{row},{line_no},{till},{payment}"


def drop_of(heads: list[tuple[Any, ...]]) -> st.SearchStrategy[str]:
    """Draw a drop whose lines are of a few receipts: they meet each other in it, and those of other drops."""
    rows = st.lists(st.builds(_row, st.sampled_from(heads), detail), min_size=6, max_size=24)
    return rows.map(lambda drawn: sales(*drawn, header=HEADER))


receipts = st.lists(head, min_size=4, max_size=8)
random_rules = st.builds(
    Rules,
    transaction_key=st.sampled_from(
        [
            ("store_id", "day"),
            ("store_id", "day"),
            ("store_id",),
            ("store_id",),
            (),
            ("day",),
            ("store_id", "day", "till"),
        ]
    ),
    no_ids=st.sampled_from([oracle.NO_IDS, oracle.NO_IDS, frozenset({"", "a"})]),
    unknown_ids=st.sampled_from([frozenset({0, -1}), frozenset({0, -1, 3})]),
    redelivered=st.sampled_from(["line", "line", "line", "transaction", "add"]),
    equal_lines=st.sampled_from(["keep", "keep", "drop"]),
)
Counts = tuple[int, int, int, int]


def policy_of(rules: Rules) -> Policy:
    """Write rules as the policy has them."""
    return Policy.model_validate(
        {
            "max_unknown_ratio": 1,
            "transaction_key": list(rules.transaction_key),
            "no_ids": sorted(rules.no_ids - {""}),
            "unknown_ids": sorted(rules.unknown_ids),
            "redelivered": rules.redelivered,
            "equal_lines": rules.equal_lines,
        }
    )


def marts_of(lines: list[Line], as_of: date = AS_OF) -> dict[str, list[tuple[object, ...]]]:
    return all_marts(lines, PEOPLE, TEAM, as_of, stores=(121, 122, 123))


def look(source: Source, place: Place) -> None:
    """Let the oracle see what the source of a place holds now."""
    paths = (place.source / "sales").glob("*.csv")
    source.run({f"sales/{path.name}": (path.stat().st_mtime_ns, path.read_bytes()) for path in paths})


def counted(place: Place) -> dict[str, Counts]:
    """Return repeated and replaced lines of each live sales drop, and their cents."""
    warehouse = place.warehouse(read_only=True)
    try:
        return {
            drop.object_key: (drop.repeated, drop.replaced, drop.repeated_cents, drop.replaced_cents)
            for drop in warehouse.drops()
            if drop.kind == "sales" and drop.state == "live"
        }
    finally:
        warehouse.close()


def wanted(source: Source) -> dict[str, Counts]:
    duplicates = oracle.duplicates([drop.lines for drop in source.live], source.rules)
    return {
        min(drop.names): (n.repeated, n.replaced, n.repeated_cents, n.replaced_cents)
        for drop, n in zip(source.live, duplicates, strict=True)
    }


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drops=receipts.flatmap(lambda heads: st.lists(drop_of(heads), min_size=2, max_size=4)),
    rules=random_rules,
    as_of=st.sampled_from([AS_OF, date(2024, 1, 31), date(2024, 4, 30)]),
    rollup_lines=st.sampled_from([5, 10**6]),
)
def test_deliveries_of_one_run_settle_as_a_row_by_row_calculation_says(
    tmp_path_factory: pytest.TempPathFactory, drops: list[str], rules: Rules, as_of: date, rollup_lines: int
) -> None:
    place = Place(tmp_path_factory.mktemp("lines"), policy=policy_of(rules), as_of=as_of)
    place.settings = {"limits": {"rollup_lines": rollup_lines}}
    place.put_dimensions()
    for number, text in enumerate(drops):
        place.put(f"sales/{number}.csv", text)
    source = Source(rules)
    look(source, place)
    expected = marts_of(source.lines(), as_of)
    report = place.build()
    if not expected["sales_team"]:  # nothing up to as_of
        return
    assert report.error is None
    assert place.marts(ALL.marts) == expected
    assert counted(place) == wanted(source)
    for drop in report.drops:
        assert drop.duplicates == drop.repeated + drop.replaced
        assert drop.state == "held" or drop.rows_read == drop.clean + drop.quarantined + drop.duplicates


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    drops=receipts.map(drop_of),
    rules=random_rules,
    withdrawals=st.sampled_from(["apply", "keep"]),
    together=st.lists(st.integers(1, 3), min_size=2, max_size=4),
)
def test_a_source_that_changes_from_run_to_run_counts_as_the_oracle_says(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    drops: st.SearchStrategy[str],
    rules: Rules,
    withdrawals: Withdrawals,
    together: list[int],
) -> None:
    place = Place(tmp_path_factory.mktemp("runs"), policy=policy_of(rules))
    place.settings = {"drops": {"withdrawals": withdrawals}}
    place.put_dimensions()
    source = Source(rules, withdrawals)
    place.put("sales/first.csv", sales(line("first", day="2024-01-05") + ",,,", header=HEADER))
    for changes in together:
        for _ in range(changes):
            data.draw(st.sampled_from(CHANGES))(place, data, drops)
        look(source, place)
        report = place.build()
        assert report.error is None or report.exit_code == 65
        assert place.marts(ALL.marts) == marts_of(source.lines())
        assert sum(drop.clean for drop in _live(place)) == len(source.lines())


def _live(place: Place) -> list[Any]:
    warehouse = place.warehouse(read_only=True)
    try:
        return [drop for drop in warehouse.drops() if drop.kind == "sales" and drop.state == "live"]
    finally:
        warehouse.close()


def _names(place: Place) -> list[str]:
    return sorted(f"sales/{path.name}" for path in (place.source / "sales").glob("*.csv") if path.stem != "first")


Drops = st.SearchStrategy[str]


def _new(place: Place, data: st.DataObject, drops: Drops) -> None:
    place.put(_name(data), data.draw(drops))


def _name(data: st.DataObject) -> str:
    """Return a name that no drop had."""
    return f"sales/{data.draw(st.uuids())}.csv"


def _some(change: Callable[[Place, st.DataObject, Drops, str], None]) -> Callable[[Place, st.DataObject, Drops], None]:
    """Let a change happen to one of the drops; where there is none, a new one comes."""

    def changed(place: Place, data: st.DataObject, drops: Drops) -> None:
        names = _names(place)
        if names:
            change(place, data, drops, data.draw(st.sampled_from(names)))
        else:
            _new(place, data, drops)

    return changed


def _replace(place: Place, data: st.DataObject, drops: Drops, name: str) -> None:
    place.put(name, data.draw(drops))


def _remove(place: Place, _data: st.DataObject, _drops: Drops, name: str) -> None:
    (place.source / name).unlink()


def _move(place: Place, data: st.DataObject, _drops: Drops, name: str) -> None:
    content = (place.source / name).read_bytes()
    (place.source / name).unlink()
    place.put(_name(data), content)


def _copy(place: Place, data: st.DataObject, _drops: Drops, name: str) -> None:
    place.put(_name(data), (place.source / name).read_bytes())


def _put_again(place: Place, _data: st.DataObject, _drops: Drops, name: str) -> None:
    place.put(name, (place.source / name).read_bytes())


def _save_again(place: Place, data: st.DataObject, _drops: Drops, name: str) -> None:
    """Write the same rows as other bytes."""
    text = (place.source / name).read_text().removeprefix("\ufeff")
    place.put(_name(data), "\ufeff" + text)


CHANGES = [_new, _new, *map(_some, (_replace, _remove, _move, _copy, _put_again, _save_again))]
