"""Customer analytics of the retail pack, from drops to tables: golden files, days one by one, reasons of no number."""

import csv
import json
import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.kit import GOLDEN, Inline, Place, marts
from support.retail import LEAVE_OUT
from support.servers import SqlServer

from jobs.operations.scaffold import policy_text
from marts import retail
from marts.analytics import calculations, newton
from marts.analytics.backtest import Figure, warnings
from marts.analytics.newton import Maximum
from marts.analytics.purchases import Fit, PurchaseModel
from marts.analytics.spend import SpendFit, SpendModel
from marts.compute.tables import period_end
from marts.errors import UsageError
from marts.packs import read_pack, shipped
from marts.policy import Policy, numbers_of, read_policy

CASE = GOLDEN / "analytics"
SUITES = Path(__file__).parents[2] / "expectations" / "retail"
GOLDEN_POLICY = Policy(max_unknown_ratio=1, own=(("analytics_anomaly_min_purchases", 20),))
TABLES = ("customer_analytics", "analytics_model", "analytics_calibration", "sales_anomalies")
RETAIL = shipped("retail")
ENTITIES = ("company", "store", "sales_person", "purchase")
LINES = "transaction_id,line_no,customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost"


@pytest.fixture(autouse=True)
def _with_analytics(small_builds: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_ANALYTICS", "true")
    monkeypatch.setenv("MARTS_LEAVE_OUT", LEAVE_OUT)


@pytest.fixture
def shop(place: Place) -> Place:
    place.policy = GOLDEN_POLICY
    place.put("customers/c.csv", "customer_id,first_name,last_name\n1,A,B\n")
    place.put("sales_team/t.csv", "id,first_name,last_name\n1,A,B\n")
    place.put("stores/s.csv", "id\n1\n")
    return place


def rows_of(shop: Place, name: str, columns: list[str] | None = None) -> list[list[str]]:
    """Read a live table as the golden files have it, in the order of its key."""
    mart = RETAIL.marts[name]
    columns = columns or [column.name for column in mart.columns]
    with closing(shop.warehouse(read_only=True)) as warehouse:
        rows = warehouse.execute(f"SELECT {', '.join(columns)} FROM {mart.table} ORDER BY {', '.join(mart.key)}")
    return [["" if value is None else str(value) for value in row] for row in rows]


def wanted(name: str) -> tuple[list[str], list[list[str]]]:
    header, *rows = csv.reader((CASE / f"golden_{name}.csv").open())
    return header, rows


def figures(shop: Place) -> dict[tuple[str, str], str]:
    return {(model, figure): value for model, figure, value in rows_of(shop, "analytics_model")}


def given_models() -> Any:
    """Return the models that golden_customers.csv is scored with."""
    purchases = PurchaseModel("mbg_nbd", 0.525, 43.281, 0.891, 1.614)
    spend = SpendModel(6_250_000, 3_740_000, 1_544_000)
    some = Maximum((0.525, 43.281, 0.891, 1.614), 0.0, (0.1, 0.1, 0.1, 0.1))
    return calculations._Models("ok", "ok", Fit(purchases, some), SpendFit(spend, some))


@pytest.mark.database
@pytest.mark.parametrize("kind", ["duckdb", "server"])
def test_the_golden_case_comes_out(
    shop: Place, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "server":
        server: SqlServer = request.getfixturevalue("mariadb")
        shop.target = server.make_database("golden_analytics")
    monkeypatch.setattr(calculations, "_fitted", lambda *_: given_models())
    shop.put("sales/golden.csv", (CASE / "golden_input.csv").read_bytes())
    shop.build()
    header, rows = wanted("customers")
    assert rows_of(shop, "customer_analytics", header) == rows
    header, rows = wanted("anomalies")
    computed = rows_of(shop, "sales_anomalies", header)
    computed.sort(key=lambda row: (ENTITIES.index(row[0]), int(row[1]), int(row[2]), row[3], row[4], int(row[5])))
    assert computed == rows


def history(
    seed: int, customers: int = 80, days: int = 420, last: date = date(2024, 3, 31), spread: float = 4
) -> list[str]:
    """Return lines of customers as the models suppose them: who buy at rates of their own, bring back and leave."""
    chance, lines = random.Random(seed), []
    for customer in range(1, customers + 1):
        rate, leaves, day = chance.gammavariate(0.9, 1 / 20), chance.betavariate(0.9, 4), chance.randrange(days)
        mean = 2 * spread * 5_000 / chance.gammavariate(spread, 2)  # a spread of less than 1 has no mean
        while day < days and chance.random() > leaves:
            number, store, person = len(lines), chance.choice((1, 1, 2, 3)), chance.randint(1, 4)
            cents, when = 100 + int(chance.gammavariate(4, mean / 4)), last - timedelta(days=days - 1 - day)
            row = f"T{number},1,{customer},{store},tea,{when},{person},{cents / 100:.2f}"
            lines.append(f"{row},1,{cents / 100:.2f}")
            if chance.random() < 0.15:
                back = chance.randint(50, cents)
                lines.append(
                    f"R{number},1,{customer},{store},tea,{when},{person},{back / 100:.2f},-1,-{back / 100:.2f}"
                )
            day += int(min(chance.expovariate(rate), days)) + chance.randint(0, 1)
    return lines


def drop(lines: list[str]) -> str:
    return "\n".join([LINES, *lines, ""])


SOON: Mapping[str, Any] = {
    "analytics_clv_min_repeat_customers": 5,
    "analytics_clv_min_history_days": 30,
    "analytics_churn_days": 60,
    "analytics_anomaly_min_purchases": 8,
}
"""Numbers of a policy with which a small case has models."""


def policy(**more: Any) -> Policy:
    return Policy(max_unknown_ratio=1, own=tuple({**SOON, **more}.items()))


def everything(shop: Place) -> dict[str, list[list[str]]]:
    return {name: rows_of(shop, name) for name in TABLES}


def test_days_one_by_one_come_to_the_same_as_all_at_once(shop: Place, tmp_path: Path) -> None:
    """Drops arrive day by day, some late; as_of moves on. Another place gets all of them, cut otherwise."""
    lines = history(5)
    chance, last = random.Random(8), date(2024, 3, 31)
    late = [line for line in lines if chance.random() < 0.05]
    first = [line for line in lines if line.split(",")[5] < "2024-03-26" and line not in late]
    shop.policy = policy()
    shop.put("sales/first.csv", drop(first))
    shop.build(as_of=date(2024, 3, 25))
    for number in range(6):
        day = last - timedelta(days=5 - number)
        own = [line for line in lines if line.split(",")[5] == day.isoformat() and line not in late]
        shop.put(f"sales/{day}.csv", drop([*own, *late[number::6]]))
        shop.build(as_of=day)
    other = Place(tmp_path / "other", policy=shop.policy)
    for name in ("customers/c.csv", "sales_team/t.csv", "stores/s.csv"):
        other.put(name, (shop.source / name).read_bytes())
    chance.shuffle(lines)
    for number in range(3):
        other.put(f"sales/{number}.csv", drop(lines[number::3]))
    other.build(as_of=last)
    assert everything(shop) == everything(other)
    assert figures(shop)["mbg_nbd", "status"] == "ok"
    assert rows_of(shop, "analytics_calibration")


def test_a_rollback_brings_back_the_tables_of_the_publication_before(shop: Place) -> None:
    lines = history(5)
    shop.policy = policy(analytics_every="day")
    shop.put("sales/first.csv", drop([line for line in lines if line.split(",")[5] < "2024-03-26"]))
    shop.build(as_of=date(2024, 3, 25))
    before = everything(shop)
    shop.put("sales/last.csv", drop([line for line in lines if line.split(",")[5] >= "2024-03-26"]))
    shop.build(as_of=date(2024, 3, 31))
    after = everything(shop)
    assert all(after[name] != before[name] for name in TABLES if name != "analytics_calibration")
    marts("rollback", "--target", shop.address, "--why", "a wrong file")
    assert everything(shop) == before
    shop.build(as_of=date(2024, 3, 31), rebuild=True)
    assert everything(shop) == after


def test_parts_of_any_size_give_the_same_rows(shop: Place, tmp_path: Path) -> None:
    """Customers are divided by ranges of their ids; the fit and the borders of scores are of all of them."""
    lines = drop(history(14))
    shop.policy = policy()
    shop.put("sales/all.csv", lines)
    shop.build()
    other = Place(tmp_path / "other", policy=shop.policy, settings={"limits": {"finish_rows": 25}})
    for name in ("customers/c.csv", "sales_team/t.csv", "stores/s.csv"):
        other.put(name, (shop.source / name).read_bytes())
    other.put("sales/all.csv", lines)
    parts = set[int]()

    class Counting(Inline):
        def __call__(self, step: str, function: Any, items: Any, at_once: int | None = None) -> Any:
            if step == "FinishMarts":
                parts.add(sum(item.mart.name == "buyers" for item in items))
            return super().__call__(step, function, items, at_once)

    other.runner = Counting()
    other.build()
    assert max(parts) > 1
    assert everything(other) == everything(shop)


def test_ids_that_are_texts_give_the_same_numbers(shop: Place, tmp_path: Path) -> None:
    lines = history(15)
    shop.policy = policy()
    shop.put("sales/all.csv", drop(lines))
    shop.build()
    other = Place(tmp_path / "other", policy=shop.policy, settings={"ids": "text"})
    other.put("customers/c.csv", "customer_id,first_name,last_name\nc-001,A,B\n")
    other.put("sales_team/t.csv", "id,first_name,last_name\np-001,A,B\n")
    other.put("stores/s.csv", "id\ns-001\n")
    texts = []
    for line in lines:
        values = line.split(",")
        for place, letter in ((2, "c"), (3, "s"), (6, "p")):
            values[place] = f"{letter}-{int(values[place]):03d}"
        texts.append(",".join(values))
    other.put("sales/all.csv", drop(texts))
    other.build()
    assert figures(other) == figures(shop)
    assert rows_of(other, "analytics_calibration") == rows_of(shop, "analytics_calibration")
    own = [[f"c-{int(row[0]):03d}", *row[1:]] for row in rows_of(shop, "customer_analytics")]
    assert rows_of(other, "customer_analytics") == sorted(own)
    columns = ["entity", "day", "measure", "number", "value", "expected", "lower", "upper", "score", "reason"]
    unusual = [sorted(rows_of(place, "sales_anomalies", columns)) for place in (shop, other)]
    assert unusual[0] == unusual[1] != []


def test_an_unchanged_week_computes_no_customer_again(shop: Place) -> None:
    shop.policy = policy()
    shop.put("sales/first.csv", drop(history(6)))
    shop.build(as_of=date(2024, 3, 24))  # a Sunday
    before, computed = everything(shop), set[str]()

    class Recording(Inline):
        def __call__(self, step: str, function: Any, items: Any, at_once: int | None = None) -> Any:
            computed.update(item.mart.name for item in items if step == "FinishMarts")
            return super().__call__(step, function, items, at_once)

    shop.runner = Recording()
    for number, day in enumerate((25, 27, 30)):
        shop.put(f"sales/{day}.csv", drop([f"N{number},1,{number + 1},1,tea,2024-03-{day},1,5.00,1,5.00"]))
        shop.build(as_of=date(2024, 3, day))
        assert rows_of(shop, "customer_analytics") == before["customer_analytics"]
        assert rows_of(shop, "analytics_calibration") == before["analytics_calibration"]
    of_customers = {"purchase_fit", "purchase_scores", "population", "customer_analytics"}
    of_months = {"backtest", "analytics_calibration"}
    assert not computed & (of_customers | of_months)
    computed.clear()
    shop.build(as_of=date(2024, 3, 31))
    assert of_customers | of_months <= computed
    assert figures(shop)["mbg_nbd", "analytics day"] == "2024-03-31"


@pytest.mark.parametrize(("every", "day"), [("day", "2024-03-28"), ("week", "2024-03-24"), ("month", "2024-02-29")])
def test_customers_are_looked_at_on_the_day_of_the_policy(shop: Place, every: str, day: str) -> None:
    shop.policy = policy(analytics_every=every)
    shop.put("sales/first.csv", drop(history(7)))
    shop.build(as_of=date(2024, 3, 28))
    assert figures(shop)["mbg_nbd", "analytics day"] == day
    newest = max(row[0] for row in rows_of(shop, "customer_analytics", ["last_purchase_date"]))
    assert newest <= day


def test_money_is_that_of_the_customers_mart(shop: Place) -> None:
    """On as_of itself: net of returns, and as many purchases."""
    shop.policy = policy(analytics_every="day")
    shop.put("sales/first.csv", drop(history(9)))
    shop.build()
    with closing(shop.warehouse(read_only=True)) as warehouse:
        query = "SELECT DISTINCT customer_id, customer_lifetime_value, purchase_frequency FROM customers_data_mart"
        own = {str(row[0]): (str(row[1]), str(row[2])) for row in warehouse.execute(query)}
    assert {
        row[0]: (row[1], row[2])
        for row in rows_of(shop, "customer_analytics", ["customer_id", "monetary", "frequency"])
    } == own


def reasons() -> Iterator[tuple[str, dict[str, Any], str]]:
    yield "too few repeat buyers", {"analytics_clv_min_repeat_customers": 100}, "too few repeat buyers"
    yield "history too short", {"analytics_clv_min_history_days": 1000}, "history too short"


@pytest.mark.parametrize(("reason", "numbers", "status"), list(reasons()))
def test_without_enough_data_there_is_a_reason_instead_of_a_number(
    shop: Place, reason: str, numbers: dict[str, Any], status: str
) -> None:
    shop.policy = policy(**numbers)
    back = "X,1,99,1,tea,2024-03-01,1,9.00,-1,-9.00"
    shop.put("sales/first.csv", drop([*history(10), back]))
    shop.build()
    columns = ["customer_id", "model_status", "probability_alive", "expected_value", "predicted_clv", "clv_tier"]
    rows = {row[0]: row[1:] for row in rows_of(shop, "customer_analytics", columns)}
    assert rows.pop("99") == ["no purchase", "", "", "", ""]
    assert {tuple(row) for row in rows.values()} == {(status, "", "", "", "")}
    assert figures(shop)["mbg_nbd", "status"] == reason
    assert figures(shop)["mbg_nbd", "AUC"] == ""
    scored = rows_of(shop, "customer_analytics", ["r_score", "rfm_segment", "churn_risk"])
    assert {row[2] for row in scored} <= {"", "inactive"}
    assert all(row[0] and row[1] for row in scored if row != ["", "", ""])


def test_money_without_a_mean_is_no_number(shop: Place) -> None:
    shop.policy = policy()
    shop.put("sales/first.csv", drop(history(3, 200, spread=0.7)))
    shop.build()
    columns = ["model_status", "expected_value", "predicted_clv", "clv_tier", "probability_alive"]
    rows = [row for row in rows_of(shop, "customer_analytics", columns) if row[0] != "no purchase"]
    assert {tuple(row[:4]) for row in rows} == {("no finite mean", "", "", "")}
    assert all(row[4] for row in rows)
    assert figures(shop)["gamma_gamma", "status"] == "no finite mean"


def test_a_fit_without_an_end_is_no_number(shop: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real history whose search ends after a step."""
    monkeypatch.setattr(newton, "_STEPS", 1)
    shop.policy = policy()
    shop.put("sales/first.csv", drop(history(4)))
    shop.build()
    rows = rows_of(shop, "customer_analytics", ["model_status", "probability_alive", "predicted_clv"])
    assert {tuple(row) for row in rows if row[0] != "no purchase"} == {("not converged", "", "")}


def test_a_model_that_was_wrong_is_a_warning(shop: Place) -> None:
    """Nearly nobody buys in the months held back."""
    shop.policy = policy()
    lines = [line for line in history(13) if line.split(",")[5] < "2024-02-01" or line.split(",")[2] in ("1", "2", "3")]
    shop.put("sales/first.csv", drop(lines))
    shop.judge = True
    report = shop.build()
    wrong = figures(shop)["mbg_nbd", "warning: purchase days wrong by more than 50 percent"]
    assert wrong == figures(shop)["mbg_nbd", "error percent"]
    assert float(wrong) > 50
    rule = "the backtest expected the purchase days that came, within 50 percent"
    assert [text for text in report.warnings if text.startswith(f"analytics_model_data_mart: broken rule: {rule}")]


def test_each_warning_of_a_model_breaks_one_rule_of_the_suite() -> None:
    suite = json.loads((SUITES / "analytics_model_data_mart.json").read_text())
    regexes = [
        rule["kwargs"]["regex"]
        for rule in suite["expectations"]
        if rule["type"] == "expect_column_values_to_not_match_regex"
    ]
    far = {
        "expected purchase days": Figure("expected purchase days", 1),
        "error percent": Figure("error percent", 99_99),
        "expected money": Figure("expected money", 1),
        "error percent of money": Figure("error percent of money", -99_99),
        "AUC": Figure("AUC", 1000),
        "AUC of recency alone": Figure("AUC of recency alone", 9000),
    }
    names = [figure.name for figure in warnings(far)] + [calculations.MONEY_FOLLOWS_DAYS]
    assert [[regex for regex in regexes if re.search(regex, name)] for name in names] == [[regex] for regex in regexes]


@pytest.mark.parametrize(("many", "warned"), [(40, False), (240, True)])
def test_money_that_follows_the_days_is_a_warning_of_a_model_only(shop: Place, many: int, warned: bool) -> None:
    """Who buys often buys more at a time; the fewer customers have no model."""
    chance, lines, last = random.Random(2), list[str](), date(2024, 3, 31)
    for customer in range(1, many + 1):
        days, mean = chance.randint(1, 12), chance.gammavariate(4, 1000)
        for number, ago in enumerate(sorted(chance.sample(range(400), days))):
            cents = int(chance.gammavariate(4, (mean + 320 * days) / 4)) + 100
            row = f"T{customer}-{number},1,{customer},1,tea,{last - timedelta(days=ago)},1,{cents / 100:.2f}"
            lines.append(f"{row},1,{cents / 100:.2f}")
    shop.policy = policy(analytics_clv_min_repeat_customers=100)
    shop.put("sales/first.csv", drop(lines))
    shop.build()
    own = figures(shop)
    assert abs(float(own["gamma_gamma", "correlation of days and money"])) > 0.3
    assert (("gamma_gamma", calculations.MONEY_FOLLOWS_DAYS) in own) == warned


def test_days_that_the_policy_names_are_not_judged(shop: Place) -> None:
    shop.put("sales/golden.csv", (CASE / "golden_input.csv").read_bytes())
    shop.build()
    before = {row[3] for row in rows_of(shop, "sales_anomalies")}
    days = sorted(before)
    shop.policy = shop.policy.model_copy(
        update={"own": (*GOLDEN_POLICY.own, ("analytics_events", tuple((date.fromisoformat(day),) for day in days)))}
    )
    report = shop.build()
    assert {row[3] for row in rows_of(shop, "sales_anomalies") if row[4] == "sales"}.isdisjoint(days)
    assert report.events == tuple(map(date.fromisoformat, days))  # pages mark them


def test_lines_of_nobody_count_in_stores_only(shop: Place) -> None:
    lines = [line for line in history(11) if line.split(",")[2] != "3"]
    guests = [f"G{n},1,,1,tea,2024-03-{n + 1:02d},1,7.00,1,7.00" for n in range(20)]
    shop.policy = policy()
    shop.put("sales/first.csv", drop(lines))
    shop.build()
    customers = rows_of(shop, "customer_analytics")
    shop.put("sales/guests.csv", drop(guests))
    shop.build()
    assert rows_of(shop, "customer_analytics") == customers


def listed_purchases(shop: Place, customer: str) -> list[dict[str, Any]]:
    """Return the unusual purchases of a customer that the last report lists."""
    report = json.loads(marts("report", "--json", "--target", shop.flags[3]).stdout)
    (item,) = (item for item in report["highlights"] if item["name"] == "anomalies")
    return [row for row in item["rows"] if row["entity"] == "purchase" and customer in map(str, row.values())]


def test_who_is_erased_is_in_no_table_of_analytics(shop: Place) -> None:
    shop.policy = policy()
    shop.put("sales/golden.csv", (CASE / "golden_input.csv").read_bytes())
    shop.build()
    purchases = [row for row in rows_of(shop, "sales_anomalies") if row[0] == "purchase"]
    customer = purchases[0][1]
    assert listed_purchases(shop, customer)
    marts("erase", "customer", customer, "--yes", "--why", "request", *shop.flags)
    assert customer not in {row[0] for row in rows_of(shop, "customer_analytics")}
    assert customer not in {row[1] for row in rows_of(shop, "sales_anomalies") if row[0] == "purchase"}
    assert not listed_purchases(shop, customer)
    shop.build()
    assert customer not in {row[0] for row in rows_of(shop, "customer_analytics")}
    assert customer not in {row[1] for row in rows_of(shop, "sales_anomalies") if row[0] == "purchase"}


def test_analytics_can_be_left_out(shop: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_ANALYTICS", "false")
    shop.policy = Policy(max_unknown_ratio=1)
    shop.put("sales/first.csv", drop(history(12)[:20]))
    assert [mart.name for mart in shop.build().marts] == ["customers", "sales_team"]


def test_no_table_of_analytics_has_personal_data() -> None:
    assert not [column.name for name in TABLES for column in RETAIL.marts[name].columns if column.personal]


def test_the_grid_of_segments_is_covered(shop: Place) -> None:
    """Each pair of scores has the segment of the documentation."""
    rules = next(table.default for table in RETAIL.number_tables if table.key == "rfm_segments")
    grid = {
        (5, 4): "Champions Champions Potential+Loyalist Potential+Loyalist New",
        (3,): "Loyal Loyal Need+Attention Need+Attention About+to+Sleep",
        (2,): "Can't+Lose+Them At+Risk At+Risk Hibernating Hibernating",
        (1,): "Can't+Lose+Them At+Risk At+Risk Lost Lost",
    }
    for recencies, names in grid.items():
        for value, name in zip((5, 4, 3, 2, 1), names.split(), strict=True):
            for r in recencies:
                first = next(
                    rule[0]
                    for rule in rules
                    if (rule[1] is None or r >= rule[1]) and (rule[2] is None or value >= rule[2])
                )
                assert first == name.replace("+", " "), (r, value)


def test_commands_list_segments_customers_at_risk_and_anomalies(shop: Place) -> None:
    shop.policy = policy(analytics_every="day")
    shop.put("sales/first.csv", drop(history(13)))
    shop.build()
    segments = json.loads(marts("customers", "segments", "--json", *shop.flags[2:4]).stdout)
    customers = rows_of(shop, "customer_analytics", ["rfm_segment", "monetary", "predicted_clv"])
    for item in segments:
        own = [row for row in customers if row[0] == item["rfm_segment"]]
        assert item["customers"] == len(own)
        assert Decimal(item["monetary"]) == sum(Decimal(row[1]) for row in own)
        assert Decimal(item["predicted_clv"]) == sum(Decimal(row[2]) for row in own)
    assert sum(item["customers"] for item in segments) == len(customers)
    money = [Decimal(item["monetary"]) for item in segments]
    assert money == sorted(money, reverse=True)
    at_risk = json.loads(marts("customers", "at-risk", "--limit", "1000", "--json", *shop.flags[2:4]).stdout)
    risks = rows_of(shop, "customer_analytics", ["customer_id", "churn_risk"])
    assert {str(item["customer_id"]) for item in at_risk} == {row[0] for row in risks if row[1] == "high"}
    assert [item["predicted_clv"] for item in at_risk] == sorted(
        (item["predicted_clv"] for item in at_risk), key=Decimal, reverse=True
    )
    listed = marts("anomalies", "--csv", "--limit", "3", *shop.flags[2:4]).stdout.splitlines()
    assert listed[0].startswith("day,entity,entity_id,store_id,reason,value,expected")
    table = marts("anomalies", *shop.flags[2:4]).output
    assert "anomalies, the newest first" in table


def changed(**parts: str) -> str:
    """Return the part [analytics] of the retail pack with other values."""
    text = (Path(retail.__file__).parent / "pack.toml").read_text()
    for name, value in parts.items():
        text = re.sub(rf'(?m)^{name} = "[a-z_]+"$', f'{name} = "{value}"', text, count=1)
    return text


WRONG = [
    (changed(seller="sales_persn_id"), "analytics.seller: 'sales_persn_id' is no column of sales; did you mean"),
    (changed(amount="quantity"), "analytics.amount: quantity is no money"),
    (changed(place="product_name"), "analytics.place: product_name is of type text, but not id"),
    (changed(analytics="persons"), "tables.customer_analytics.analytics: 'persons' is none of customers, model"),
    (
        changed().replace('fact = "sales"', 'fact = "sale"', 1),
        "analytics.fact: 'sale' is no fact; did you mean 'sales'?",
    ),
    (
        changed().replace('analytics = "model"', 'analytics = "model"\nper = "all"', 1),
        'tables.analytics_model.per is a setting of analytics = "model": leave it out',
    ),
    (
        changed().replace("inactive_after_days = {", "quiet_after_days = {", 1),
        "policy.inactive_after_days is missing: analytics_churn_days is the same unless a policy sets it",
    ),
    (changed().replace("[tables.customer_months]", "[tables.buyers]", 1), "'buyers' is a table of [analytics]"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_wrong_part_of_a_pack_is_named(text: str, message: str) -> None:
    folder = Path(retail.__file__).parent
    sql = {path.name: path.read_text() for path in folder.glob("*.sql")}
    with pytest.raises(UsageError) as caught:
        read_pack(text, sql, "pack.toml")
    assert message in caught.value.what


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"every": "year"}, "analytics.every: must be 'day', 'week' or 'month'"),
        ({"anomaly_dais": 3}, "unknown key 'analytics.anomaly_dais', did you mean 'anomaly_days'?"),
        ({"events": [{"day": "soon"}]}, "analytics.events.0.day: 'soon' is not a date"),
        ({"rfm_segments": [{"name": "All", "min_r": 1}]}, "the last one must have no condition"),
    ],
)
def test_a_wrong_number_of_the_policy_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_policy({"analytics": values}, "policy.toml", RETAIL)
    assert message in caught.value.what


def test_the_initial_policy_has_the_numbers_with_their_defaults() -> None:
    """Each option is a comment; without the marks they are a policy."""
    text = policy_text(RETAIL).partition("# [analytics]")[2]
    options = "\n".join(line.removeprefix("# ") for line in text.splitlines() if re.match(r"# (\[\[|[a-z_]+ = )", line))
    given = numbers_of(RETAIL, read_policy(tomllib.loads(f"[analytics]\n{options}"), "policy.toml", RETAIL))
    default = numbers_of(RETAIL, Policy())
    assert given.pop("analytics_events") == ((date(2025, 12, 25),),), "an example"
    assert default.pop("analytics_events") == ()
    assert given == default


def test_numbers_of_the_policy_are_in_a_table_of_its_file() -> None:
    given = read_policy(
        {"inactive_after_days": 90, "analytics": {"every": "month", "events": [{"day": date(2024, 12, 25)}]}},
        "policy.toml",
        RETAIL,
    )
    numbers = numbers_of(RETAIL, given)
    assert numbers["analytics_every"] == "month"
    assert numbers["analytics_events"] == ((date(2024, 12, 25),),)
    assert numbers["analytics_churn_days"] == 90, "it follows inactive_after_days"
    given = read_policy({"inactive_after_days": 90, "analytics": {"churn_days": 60}}, "policy.toml", RETAIL)
    assert numbers_of(RETAIL, given)["analytics_churn_days"] == 60


@pytest.mark.parametrize(
    ("every", "as_of", "day"),
    [
        ("day", date(2024, 3, 28), date(2024, 3, 28)),
        ("week", date(2024, 3, 31), date(2024, 3, 31)),
        ("week", date(2024, 3, 30), date(2024, 3, 24)),
        ("month", date(2024, 2, 29), date(2024, 2, 29)),
        ("month", date(2024, 2, 28), date(2024, 1, 31)),
        ("month", date(2024, 1, 1), date(2023, 12, 31)),
    ],
)
def test_a_period_ends_on_its_last_day(every: Any, as_of: date, day: date) -> None:
    assert period_end(replace(RETAIL.marts["analytics_model"], every=every), {}, as_of) == day


def test_customers_newly_at_risk_and_new_anomalies_are_alerts(shop: Place) -> None:
    """From the value of the policy on; what was in an alert before is in none again."""
    shop.put("sales/golden.csv", (CASE / "golden_input.csv").read_bytes())
    shop.put("sales/more.csv", drop([line.replace(",1,tea", ",901,tea") for line in history(14)]))
    value = Decimal("900.00")
    shop.policy = policy(analytics_every="day", analytics_churn_notice_value=value)
    alerts = {alert.name: alert for alert in shop.build(as_of=date(2024, 3, 24)).alerts}
    columns = ["churn_risk", "predicted_clv"]
    at_risk = [Decimal(row[1]) for row in rows_of(shop, "customer_analytics", columns) if row[0] == "high"]
    assert 0 < alerts["churn"].count == sum(clv >= value for clv in at_risk) < len(at_risk)
    before = rows_of(shop, "sales_anomalies")
    assert alerts["anomaly"].count == len(before)
    assert alerts["anomaly"].subject == f"{len(before)} new anomalies (first publication)"
    assert shop.build(as_of=date(2024, 3, 24), rebuild=True).alerts == ()
    alerts = {alert.name: alert for alert in shop.build(as_of=date(2024, 3, 31)).alerts}
    key = RETAIL.marts["sales_anomalies"].key
    places = [n for n, column in enumerate(RETAIL.marts["sales_anomalies"].columns) if column.name in key]
    keys = {tuple(row[n] for n in places) for row in before}
    new = [row for row in rows_of(shop, "sales_anomalies") if tuple(row[n] for n in places) not in keys]
    assert alerts["anomaly"].count == len(new) > 0
    assert alerts["anomaly"].subject == f"{len(new)} new anomalies"
    assert any(row[0] == "purchase" for row in [*before, *new])
