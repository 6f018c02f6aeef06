"""The models of purchases and money against golden files, which an independent calculation in 30 digits gave."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marts.analytics.backtest import (
    FIGURES,
    Bin,
    Figure,
    Money,
    Outcomes,
    area,
    bins,
    expected_money,
    figures,
    warnings,
)
from marts.analytics.newton import AT_BOUNDARY
from marts.analytics.purchases import NO_DROPOUT, Cells, Fit, Histories, ModelName, PurchaseModel, fitted
from marts.analytics.ranks import distinct, half_up, half_ups, scores
from marts.analytics.scores import alive, discounted_if_alive, no_purchase, purchases_if_alive, rounded
from marts.analytics.spend import NO_MEAN, SpendFit, Spending, fitted_spend

GOLDEN = Path(__file__).parents[2] / "golden/analytics"
MODELS: tuple[ModelName, ...] = ("bg_nbd", "mbg_nbd")
DAYS, MILLION = 180, 1_000_000


def golden(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((GOLDEN / f"golden_{name}.csv").open()))


PEOPLE = {
    name: np.array([int(row[name]) for row in golden("people")])
    for name in ("repeat_days", "recency_days", "age_days", "repeat_cents", "later_days", "later_cents")
}
HISTORIES = Histories(PEOPLE["repeat_days"], PEOPLE["recency_days"], PEOPLE["age_days"])


def of(*days: tuple[int, int, int]) -> Histories:
    return Histories(*np.array(days).T)


def text(value: int | None, digits: int) -> str:
    assert value is not None
    size = f"{abs(value):0{digits + 1}d}"
    return ("-" if value < 0 else "") + (f"{size[:-digits]}.{size[-digits:]}" if digits else size)


def of_golden(model: str) -> dict[str, tuple[float, float | None]]:
    """Return value, and standard error of its logarithm, of each figure of a fit."""
    rows = [row for row in golden("fit") if row["model"] == model]
    errors = [row["standard_error_of_its_logarithm"] for row in rows]
    return {
        row["figure"]: (float(row["value"]), float(error) if error else None)
        for row, error in zip(rows, errors, strict=True)
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_of_purchases_equals_the_golden_one(name: ModelName) -> None:
    result, wanted = fitted(name, Cells.counted(HISTORIES)), of_golden(name)
    assert result.status == "ok"
    for figure, value, error in zip(
        ("r", "alpha", "a", "b"), result.maximum.parameters, result.maximum.errors, strict=True
    ):
        assert value == pytest.approx(wanted[figure][0], rel=1e-8)
        assert error == pytest.approx(wanted[figure][1], rel=1e-6)
        assert getattr(result.model, figure) == pytest.approx(value, rel=1e-7)
    assert result.maximum.value == pytest.approx(wanted["log_likelihood"][0], abs=1e-6)


def test_a_fit_of_money_equals_the_golden_one() -> None:
    result = fitted_spend(Spending.counted(PEOPLE["repeat_days"], PEOPLE["repeat_cents"]))
    wanted = of_golden("gamma_gamma")
    assert result.status == "ok"
    for figure, value, error in zip(
        ("p", "q", "gamma_cents"), result.maximum.parameters, result.maximum.errors, strict=True
    ):
        assert value == pytest.approx(wanted[figure][0], rel=1e-8)
        assert error == pytest.approx(wanted[figure][1], rel=1e-6)
    assert result.maximum.value == pytest.approx(wanted["log_likelihood"][0], abs=1e-6)
    assert (result.model.p, result.model.q, result.model.g) == (9_597_183, 3_630_276, 191_034)


def test_scores_of_hard_histories_equal_the_golden_ones() -> None:
    """Among them a + b < 1, a = 1, a = 0 and a thousand purchases."""
    for row in golden("scores"):
        name: ModelName = "bg_nbd" if row["model"] == "bg_nbd" else "mbg_nbd"
        model = PurchaseModel(name, *(float(row[key]) for key in ("r", "alpha", "a", "b")))
        history = of((int(row["repeat_days"]), int(row["last_day"]), int(row["age_days"])))
        chance = alive(model, history)
        computed = {
            "probability_alive": chance,
            "churn_probability_180": no_purchase(model, history, 180),
            "expected_365": chance * purchases_if_alive(model, history, 365),
            "discounted_365": chance * discounted_if_alive(model, history, 365, 0.1),
        }
        for figure, value in computed.items():
            assert value[0] == pytest.approx(float(row[figure]), rel=1e-11, abs=1e-12), row


@pytest.mark.parametrize("a", [0.985, 0.9901, 0.999, 1.0001, 1.0099, 1.015])
def test_purchases_to_come_are_smooth_where_the_closed_form_is_not(a: float) -> None:
    """Where a is about 1, another way computes them: both ways meet."""
    history = of((0, 0, 1), (3, 100, 200), (900, 1000, 1000))
    values = [purchases_if_alive(PurchaseModel("mbg_nbd", 0.5, 40, near, 12.0), history, 365) for near in (a, 1.0)]
    slopes = [purchases_if_alive(PurchaseModel("mbg_nbd", 0.5, 40, near, 12.0), history, 365) for near in (0.97, 1.03)]
    straight = values[1] + (slopes[1] - slopes[0]) / 0.06 * (a - 1)
    assert values[0] == pytest.approx(straight, rel=2e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_backtest_equals_the_golden_one(name: ModelName) -> None:
    model = fitted(name, Cells.counted(HISTORIES)).model
    spend = fitted_spend(Spending.counted(PEOPLE["repeat_days"], PEOPLE["repeat_cents"])).model
    chance = alive(model, HISTORIES)
    outcomes = Outcomes(
        HISTORIES,
        rounded(no_purchase(model, HISTORIES, DAYS), 4),
        rounded(chance * purchases_if_alive(model, HISTORIES, DAYS), 6),
        PEOPLE["later_days"],
    )
    of_a_day = [
        half_up(spend.p * (spend.g + 100 * int(cents)), 100 * (spend.p * int(x) + spend.q - MILLION))
        for x, cents in zip(PEOPLE["repeat_days"], PEOPLE["repeat_cents"], strict=True)
    ]
    money = Money(np.array(of_a_day), PEOPLE["later_cents"])
    computed = [(figure.name, text(figure.value, figure.digits)) for figure in figures(outcomes, DAYS, money)]
    assert computed == [(row["figure"], row["value"]) for row in golden("backtest") if row["model"] == name]
    tenths = [
        [str(item.number), str(item.customers), text(item.churn, 4), text(item.did_not_buy, 4)]
        for item in bins(outcomes)
    ]
    assert tenths == [list(row.values())[1:] for row in golden("calibration") if row["model"] == name]


def simulated(seed: int, customers: int, r: float, alpha: float, a: float, b: float, days: int = 730) -> Histories:
    """Return histories of customers who live as MBG/NBD states; with b = 0 nobody drops out."""
    random = np.random.default_rng(seed)
    rates = random.gamma(r, 1 / alpha, customers)
    exits = random.beta(a, b, customers) if b else np.zeros(customers)
    ages = random.integers(0, days, customers)
    x, last = np.zeros(customers, np.int64), np.zeros(customers, np.int64)
    for number in range(customers):
        day = 0.0
        while random.random() >= exits[number]:
            day += random.exponential(1 / rates[number])
            if day > ages[number]:
                break
            x[number] += day >= last[number] + 1  # two purchases of a day are one
            last[number] = int(day) if day >= last[number] + 1 else last[number]
    return Histories(x, last, ages)


def test_simulated_customers_give_their_parameters_back() -> None:
    wanted = (0.8, 60.0, 1.2, 6.0)
    result = fitted("mbg_nbd", Cells.counted(simulated(7, 20_000, *wanted)))
    assert result.status == "ok"
    for value, error, expected in zip(result.maximum.parameters, result.maximum.errors, wanted, strict=True):
        assert abs(np.log(value / expected)) < 3 * error + 0.03  # whole days instead of moments


def test_customers_who_never_drop_out_are_told_from_others() -> None:
    result = fitted("mbg_nbd", Cells.counted(simulated(3, 5_000, 0.8, 60.0, 0.0, 0.0)))
    assert result.status == NO_DROPOUT
    assert result.model.a == 0
    assert len(result.maximum.parameters) == 2
    assert result.model.r == pytest.approx(0.8, rel=0.1)
    assert (alive(result.model, HISTORIES) == 1).all()
    assert purchases_if_alive(result.model, of((2, 50, 100)), 365)[0] == pytest.approx(
        (result.model.r + 2) / (result.model.alpha + 100) * 365
    )


def test_customers_alike_have_no_model() -> None:
    """All buy at the same rate: the spread of the rates has no maximum."""
    alike = Histories(np.full(500, 10), np.full(500, 95), np.full(500, 100))
    assert fitted("mbg_nbd", Cells.counted(alike)).status == AT_BOUNDARY


def test_money_without_a_mean_is_said() -> None:
    random = np.random.default_rng(5)
    x = random.integers(1, 5, 3_000)
    cents = np.maximum((1000 * random.pareto(0.6, 3_000) * x).astype(np.int64), 1)
    assert fitted_spend(Spending.counted(x, cents)).status == NO_MEAN


def test_money_in_small_units_is_fitted_as_well() -> None:
    """The bounds of the search do not depend on the currency."""
    x, cents = PEOPLE["repeat_days"], PEOPLE["repeat_cents"]
    results: list[SpendFit] = [fitted_spend(Spending.counted(x, cents * factor)) for factor in (1, 1_000_000)]
    assert [result.status for result in results] == ["ok", "ok"]
    assert results[1].maximum.parameters[1] == pytest.approx(results[0].maximum.parameters[1], rel=1e-6)
    assert results[1].maximum.parameters[2] == pytest.approx(results[0].maximum.parameters[2] * 1e6, rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_customers_changes_no_bit(name: ModelName) -> None:
    order = np.random.default_rng(1).permutation(len(PEOPLE["age_days"]))
    results: list[Fit] = [
        fitted(name, Cells.counted(Histories(*(c[o] for c in HISTORIES)))) for o in (order, order[::-1])
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize("name", MODELS)
def test_who_has_waited_longer_is_more_likely_to_be_lost(name: ModelName) -> None:
    model = fitted(name, Cells.counted(HISTORIES)).model
    for x, last in ((0, 0), (1, 30), (7, 200)):
        ages = np.arange(last, last + 700)
        churn = no_purchase(model, Histories(np.full(700, x), np.full(700, last), ages), DAYS)
        assert (np.diff(churn) > 0).all()


WHOLE = st.lists(st.integers(-50, 50), min_size=1, max_size=60)


@given(WHOLE, st.integers(2, 10))
def test_scores_do_not_depend_on_the_order_and_ties_share_one(values: list[int], groups: int) -> None:
    given_scores = dict(zip(values, scores(np.array(values), groups).tolist(), strict=True))
    for value, score in given_scores.items():
        below, same = sum(v < value for v in values), values.count(value)
        assert score == 1 + groups * (2 * below + same) // (2 * len(values))
    assert scores(np.array(values), groups).tolist() == [given_scores[value] for value in values]


def test_scores_of_few_are_in_the_middle() -> None:
    assert scores(np.array([7]), 5).tolist() == [3]
    assert scores(np.array([7, 9]), 5).tolist() == [2, 4]
    assert scores(np.array([9, 7, 8]), 5).tolist() == [5, 1, 3]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_the_area_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    yes, no = [s for s, happened in pairs if happened], [s for s, happened in pairs if not happened]
    computed = area(np.array([s for s, _ in pairs]), np.array([int(h) for _, h in pairs]))
    if not (yes and no):
        assert computed is None
        return
    halves = sum((2 if a > b else 1 if a == b else 0) for a in yes for b in no)
    assert computed == half_up(10_000 * halves, 2 * len(yes) * len(no))


@given(st.lists(st.tuples(st.integers(0, 400 * MILLION), st.integers(0, 10**12)), min_size=1, max_size=20))
def test_expected_money_is_rounded_customer_by_customer(pairs: list[tuple[int, int]]) -> None:
    expected, cents = (np.array(values) for values in zip(*pairs, strict=True))
    assert expected_money(expected, cents) == sum(half_up(e * c, MILLION) for e, c in pairs)


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**9))
def test_quotients_are_rounded_half_away_from_zero(a: int, b: int) -> None:
    whole, rest = divmod(abs(a), b)
    wanted = (whole + (2 * rest >= b)) * (1 if a >= 0 else -1)
    assert half_up(a, b) == wanted
    assert half_ups(np.array([a]), np.array([b])).tolist() == [wanted]


@pytest.mark.parametrize(
    ("error", "of_money", "area_of_model", "of_recency", "wanted"),
    [
        (50_00, -50_00, 7000, 7500, []),
        (None, None, None, None, [("warning: purchase days wrong by more than 50 percent", None)]),
        (50_01, None, 7000, 7500, [("warning: purchase days wrong by more than 50 percent", 50_01)]),
        (0, -50_01, 7000, 6000, [("warning: money wrong by more than 50 percent", -50_01)]),
        (0, 0, 7000, 7501, [("warning: recency alone ranks churn better", 501)]),
    ],
)
def test_a_model_not_to_be_believed_has_a_warning(
    error: int | None, of_money: int | None, area_of_model: int | None, of_recency: int | None, wanted: object
) -> None:
    values = {
        "expected purchase days": 12_34,
        "error percent": error,
        "expected money": 0,
        "error percent of money": of_money,
        "AUC": area_of_model,
        "AUC of recency alone": of_recency,
    }
    own = {name: Figure(name, value, 2) for name, value in values.items()}
    assert [(figure.name, figure.value) for figure in warnings(own)] == wanted


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 2)), max_size=12))
def test_distinct_rows_are_those_of_numpy(rows: list[tuple[int, int]]) -> None:
    columns = np.array(rows, np.int64).reshape(-1, 2).T
    different, counts, places = distinct(*columns)
    wanted = np.unique(columns, axis=1, return_counts=True, return_inverse=True)
    assert np.stack(different).tolist() == wanted[0].tolist()
    assert counts.tolist() == wanted[2].tolist()
    assert places.tolist() == wanted[1].ravel().tolist()


def test_a_backtest_of_four_customers_by_hand() -> None:
    """Two of four came: P(no purchase) 0.9, 0.6, 0.3, 0.1; days expected 0.1, 0.5, 1.5, 2, that came 0, 1, 0, 3."""
    own = Histories(*map(np.array, ([0, 1, 2, 3], [0, 10, 30, 90], [100, 100, 100, 100])))
    outcomes = Outcomes(
        own,
        np.array([9000, 6000, 3000, 1000]),
        np.array([100_000, 500_000, 1_500_000, 2_000_000]),
        np.array([0, 1, 0, 3]),
    )
    money = Money(np.array([1000, 2000, 3000, 1000]), np.array([0, 1500, 0, 4000]))
    wanted = [
        4,
        50,
        4_10,  # of expected purchase days
        4,
        2_50,  # 0.1 of 4
        7750,  # (0.1 + 0.5 + 1.5 + 1) / 4
        7500,  # 0, 0.5, 1 and 1.5 days at the same rate: (0 + 0.5 + 1 + 1.5) / 4
        7500,  # 3 of 4 pairs in order
        7500,  # days since the last purchase: 100 and 70 stayed away, 90 and 10 came
        2175,  # (0.01 + 0.36 + 0.49 + 0.01) / 4
        4750,
        5000,
        76_00,  # 0.1 * 10 + 0.5 * 20 + 1.5 * 30 + 2 * 10
        55_00,
        38_18,  # 21 of 55
    ]
    assert [(figure.name, figure.value) for figure in figures(outcomes, 50, money)] == list(
        zip(FIGURES, wanted, strict=True)
    )
    assert list(bins(outcomes)) == [
        Bin(2, 1, 1000, 0),
        Bin(4, 1, 3000, 10_000),
        Bin(7, 1, 6000, 0),
        Bin(9, 1, 9000, 10_000),
    ]
