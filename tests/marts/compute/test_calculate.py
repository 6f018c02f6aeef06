"""The calculations equal the golden case, and a row-by-row Decimal calculation on random lines."""

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import oracle
from support.retail import CUSTOMERS_MART, RETAIL, SALES, SALES_TEAM_MART

from jobs.config.suites import load_suites
from marts.compute.engine import differing
from marts.compute.identity import Identity, suspects
from marts.compute.months import FactRows, roll_up
from marts.compute.numbers import Numbers
from marts.compute.tables import compute_rows
from marts.errors import DataError
from marts.policy import Policy, read_policy
from marts.privacy.erasure import people
from marts.quality.check import check_rows
from marts.rows.header import read_header
from marts.rows.records import find_records
from marts.rows.text_rows import read_rows

HEADER = (
    "transaction_id,line_no,customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost,note"
)
PEOPLE = {1: oracle.Person("Asha Rao", "Lake Road", "+1"), 2: oracle.Person("Ben Iyer")}
TEAM = {1: oracle.Person("Rahul Verma"), 2: oracle.Person("Priya Singh")}


def typed(text: str, policy: Policy | None = None) -> pa.Table:
    header, _, rows = text.encode().partition(b"\n")
    names = read_header(header, SALES)
    read = read_rows(find_records(rows), names)
    checked = check_rows(
        SALES, names, read.table, policy or Policy(), load_suites(RETAIL, None, policy or Policy())[SALES.name]
    )
    assert not read.bad
    assert not checked.reasons
    return checked.clean


def calculated(drops: list[str], as_of: date, policy: Policy | None = None) -> tuple[list[Any], list[Any]]:
    """Run the calculations as the build does: facts by month, then the marts."""
    policy = policy or Policy()
    identity, numbers = Identity.of(policy, RETAIL, SALES), Numbers.of(RETAIL, policy)
    tables = [
        typed(text).append_column("delivery", pa.array([number] * (text.count("\n") - 1), pa.int64()))
        for number, text in enumerate(drops)
    ]
    lines = pa.concat_tables(tables)
    facts: dict[str, list[pa.Table]] = {"customers": [], "sales_team": []}
    days = lines["sales_date"].to_pylist()
    for month in sorted({day.replace(day=1) for day in days}):
        if month > as_of:
            continue
        here = lines.filter(pa.array([day.replace(day=1) == month for day in days]))
        named = identity.named(here.append_column("position", pa.array(range(here.num_rows), pa.int64())))
        rows = FactRows(named, named.filter(pa.array(suspects(named, identity))), identity)
        rollup = roll_up(list(RETAIL.months.values()), {SALES.name: rows}, as_of, numbers)
        for name, tables in facts.items():
            table = rollup.tables[{"customers": "customer_months"}.get(name, "sales_team_months")]
            tables.append(table.append_column("month", pa.array([month] * table.num_rows, pa.date32())))
    customers = pa.table(
        {
            "customer_id": pa.array(PEOPLE, pa.int64()),
            "first_name": [p.name for p in PEOPLE.values()],
            "last_name": pa.nulls(len(PEOPLE), pa.string()),
            "address": [p.address for p in PEOPLE.values()],
            "phone_number": [p.phone for p in PEOPLE.values()],
        }
    )
    team = pa.table({"id": pa.array(TEAM, pa.int64()), "first_name": [p.name for p in TEAM.values()]})
    team = team.append_column("last_name", pa.nulls(len(TEAM), pa.string()))
    ids = {"id": pa.array([1, 2], pa.int64())}
    known = people(pa.concat_tables(facts["customers"]), "customer_id")
    first = compute_rows(CUSTOMERS_MART, known, {"customers": customers}, numbers, as_of).rows
    dimensions = {"sales_team": team, "stores": pa.table(ids), "products": pa.table(ids)}
    second = compute_rows(SALES_TEAM_MART, pa.concat_tables(facts["sales_team"]), dimensions, numbers, as_of).rows
    return [tuple(row.values()) for row in first.to_pylist()], [tuple(row.values()) for row in second.to_pylist()]


line = st.fixed_dictionaries(
    {
        "transaction_id": st.sampled_from(["", "A", "B", "C", "D", "E"]),
        "line_no": st.sampled_from(["", "", "1", "2"]),
        "customer_id": st.sampled_from([1, 1, 2, 3, "", 0]),
        "store_id": st.sampled_from([1, 2]),
        "product_name": st.sampled_from(["tea", "salt"]),
        "sales_date": st.sampled_from(
            [
                "2023-11-30",
                "2023-12-31",
                "2024-01-01",
                "2024-01-31",
                "2024-02-29",
                "2024-03-15",
                "2024-12-31",
                "2025-01-01",
            ]
        ),
        "sales_person_id": st.sampled_from([1, 2, 3]),
        "price": st.sampled_from(["0.00", "0.01", "10.00", "33.35", "99999.99", "1.459", "0.000001", "-2.50"]),
        "quantity": st.sampled_from(["-3", "-1", "1", "1", "2", "7", "10.5", "0.375"]),
        "note": st.sampled_from(["", "x"]),
    }
)


def written(rows: list[dict[str, Any]]) -> str:
    """Write rows as CSV."""
    text = [HEADER]
    for row in rows:
        total = oracle.cent(Decimal(row["price"]) * Decimal(row["quantity"]))
        text.append(",".join(str({**row, "total_cost": total}[name]) for name in HEADER.split(",")))
    return "\n".join(text) + "\n"


@settings(max_examples=30, deadline=None)
@given(
    drops=st.lists(st.lists(line, min_size=1, max_size=25), min_size=1, max_size=4),
    as_of=st.sampled_from([date(2024, 1, 31), date(2024, 3, 15), date(2025, 1, 1), date(2030, 1, 1)]),
    ties=st.sampled_from(["each", "split"]),
)
def test_both_marts_equal_a_row_by_row_calculation(drops: list[Any], as_of: date, ties: Any) -> None:
    texts = [written(rows) for rows in drops]
    lines = oracle.live_lines([oracle.read_lines(text) for text in texts])
    expected = (
        oracle.customers_mart(lines, PEOPLE, as_of),
        oracle.sales_team_mart(lines, TEAM, as_of, split=ties == "split"),
    )
    if not expected[0]:
        return
    assert calculated(texts, as_of, read_policy({"incentive_ties": ties}, "policy", RETAIL)) == expected


def test_an_amount_that_does_not_fit_is_an_error_and_no_null() -> None:
    huge = (
        HEADER + "\n" + "\n".join(f"T{n},,1,1,x,2024-01-01,1,900000000000.00,9999,8999100000000000.00," for n in (1, 2))
    )
    with pytest.raises(DataError, match="does not fit"):
        calculated([huge + "\n"], date(2024, 3, 31))


def test_rounding_goes_away_from_zero_at_a_tie() -> None:
    text = HEADER + "\nA,,1,1,x,2024-01-01,1,0.01,1,0.01,\nB,,1,1,x,2024-01-02,1,0.00,1,0.00,\n"
    (row,), _ = calculated([text], date(2024, 3, 31))
    assert row[10] == Decimal("0.01")  # 0.01 / 2 purchases = 0.005


def test_segments_names_and_thresholds_are_the_policy_s() -> None:
    policy = read_policy(
        {"segments": [{"name": "Big", "min_monetary_value": "10.00"}, {"name": "Small"}]}, "policy", RETAIL
    )
    text = HEADER + "\nA,,1,1,x,2024-01-01,1,10.00,1,10.00,\nB,,2,1,x,2024-01-02,1,9.99,1,9.99,\n"
    rows, _ = calculated([text], date(2024, 3, 31), policy)
    assert [row[-1] for row in rows] == ["Big", "Small"]


few = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None])))


@settings(deadline=None)
@given(before=few, now=few)
def test_what_differs_between_two_tables(before: list[Any], now: list[Any]) -> None:
    def table(rows: list[Any]) -> pa.Table:
        columns = list(zip(*rows, strict=True)) or [[], [], []]
        types = (pa.int64(), pa.string(), pa.int64())
        return pa.table({n: pa.array(c, t) for n, c, t in zip("kab", columns, types, strict=True)})

    def of(key: int, rows: list[Any]) -> list[Any]:
        return [row for row in rows if row[0] == key]

    keys = {row[0] for row in (*before, *now) if of(row[0], before) != of(row[0], now)}
    assert differing(table(before), table(now), "k").tolist() == sorted(keys)
