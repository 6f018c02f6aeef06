"""The calculations that SQL cannot do: each gets the rows that the SQL of its table selects, and returns the table's.

The order of the rows that it gets does not matter.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from marts.analytics import anomalies
from marts.analytics.anomalies import Anomaly, Expected, Limits, SellerDay, SellerReturns, compared
from marts.analytics.backtest import FIGURES, WARNING, Figure, Money, Outcomes, bins, figures, warnings
from marts.analytics.purchases import Cells, Fit, Histories, PurchaseModel, fitted
from marts.analytics.ranks import MILLION, distinct, half_up
from marts.analytics.scores import alive, discounted_if_alive, no_purchase, purchases_if_alive, rounded
from marts.analytics.spend import SpendFit, Spending, SpendModel, fitted_spend

Variables = Mapping[str, Any]
"""Numbers of the policy, decimals as whole numbers of their last digit, and as_of."""
Columns = Mapping[str, Sequence[Any] | np.ndarray]
"""Values of the columns of a table, in the order of its key."""
SPEND = "gamma_gamma"
_RELATED = 3000
"""Correlation of days and money, in ten thousandths, from which the model of money is not to be believed."""
MONEY_FOLLOWS_DAYS = f"{WARNING}: money of a day goes with the number of days"
TOO_FEW, TOO_SHORT = "too few repeat buyers", "history too short"


@dataclass(frozen=True)
class _Counted:
    """Customers, counted by their history and by their spending."""

    cells: Cells
    spending: Spending


@dataclass(frozen=True)
class _Models:
    """The fitted models; None if there is too little to fit them to, or if their fit failed."""

    status: str
    spend_status: str
    fit: Fit | None = None
    spend: SpendFit | None = None

    @property
    def purchases(self) -> PurchaseModel | None:
        return self.fit.model if self.fit and not self.fit.maximum.status else None

    @property
    def money(self) -> SpendModel | None:
        return self.spend.model if self.spend and self.spend.status == "ok" else None


def fit(rows: pa.Table, variables: Variables) -> Columns:
    """Return the figures of the models, fitted to all customers."""
    name, counted = variables["analytics_clv_model"], _counted(rows)
    models = _fitted(rows, variables, counted)
    histories, customers = counted.cells.histories, counted.cells.customers
    results = [
        ("status", models.status),
        ("analytics day", variables["as_of"].isoformat()),
        ("buyers", str(rows.num_rows)),
        ("repeat buyers", str(int(customers[histories.repeat_days > 0].sum()))),
        ("cells", str(len(customers))),
        *(_of_purchases(models.fit) if models.fit and models.purchases else ()),
    ]
    money = [("status", models.spend_status), *(_of_spend(models.spend) if models.spend and models.money else ())]
    money += _correlation(counted.spending, bool(models.money))
    every = [(model, *item) for model, values in ((name, results), (SPEND, money)) for item in values]
    return _columns(("model", "figure", "value"), every)


def _counted(rows: pa.Table) -> _Counted:
    return _Counted(Cells.counted(_histories(rows)), Spending.counted(*_numbers(rows, "repeat_days", "repeat_cents")))


def _fitted(rows: pa.Table, variables: Variables, counted: _Counted) -> _Models:
    """Fit the models to the customers who are not left out; all are ``counted`` already."""
    taken = rows.filter(rows["is_fitted"])
    own = counted if taken.num_rows == rows.num_rows else _counted(taken)
    histories, customers = own.cells.histories, own.cells.customers
    if customers[histories.repeat_days > 0].sum() < max(variables["analytics_clv_min_repeat_customers"], 1):
        return _Models(TOO_FEW, TOO_FEW)
    if histories.age_days.max() < variables["analytics_clv_min_history_days"]:
        return _Models(TOO_SHORT, TOO_SHORT)
    result = fitted(variables["analytics_clv_model"], own.cells)
    if not len(own.spending.customers):
        return _Models(result.status, TOO_FEW, result)
    spend = fitted_spend(own.spending)
    return _Models(result.status, spend.status, result, spend)


def _of_purchases(result: Fit) -> Iterator[tuple[str, str]]:
    model, names = result.model, ("r", "alpha", "a", "b")
    for name in names:
        yield name, f"{getattr(model, name):.8g}"
    yield from _reliability(names, result.maximum.errors, result.maximum.value)


def _of_spend(result: SpendFit) -> Iterator[tuple[str, str]]:
    model = result.model
    yield "p", _digits(model.p, 6)
    yield "q", _digits(model.q, 6)
    yield "gamma_cents", _digits(model.g, 2)
    yield from _reliability(("p", "q", "gamma_cents"), result.maximum.errors, result.maximum.value)


def _reliability(names: tuple[str, ...], errors: tuple[float, ...], likelihood: float) -> Iterator[tuple[str, str]]:
    """Yield the standard errors and the log-likelihood, in as many digits as are the same on each machine."""
    for name, error in zip(names, errors, strict=False):  # a model without dropout has no a, no b
        yield f"standard error of ln {name}", f"{error:.6g}"
    yield "log-likelihood", f"{likelihood:.10g}"


def _correlation(spending: Spending, is_modelled: bool) -> Iterator[tuple[str, str | None]]:
    """Yield the correlation of repeat days and money per day: the model of money assumes that there is none."""
    result = None
    if len(spending.customers) > 1:
        days, money = spending.repeat_days, spending.repeat_cents / spending.repeat_days
        spread = np.cov(days, money, fweights=spending.customers)
        scale = np.sqrt(spread[0, 0] * spread[1, 1])
        result = int(rounded(spread[0, 1] / scale, 4)) if scale else None
    text = None if result is None else _digits(result, 4)
    yield "correlation of days and money", text
    if is_modelled and result is not None and abs(result) > _RELATED:
        yield MONEY_FOLLOWS_DAYS, text


def scores(rows: pa.Table, variables: Variables) -> Columns:
    """Return the scores of each history by the fitted model."""
    names = Histories._fields
    if not rows.num_rows:
        return _columns((*names, "alive", "expected", "discounted", "churn"), ())
    rows = rows.sort_by([(name, "ascending") for name in names])
    first = rows.slice(0, 1).to_pylist()[0]
    model = PurchaseModel(first["model"], *(float(first[name]) for name in ("r", "alpha", "a", "b")))
    own = _histories(rows)
    pairs, _, places = distinct(own.repeat_days, own.age_days)
    alike = Histories(pairs[0], pairs[0], pairs[1])  # purchases to come of who is alive do not depend on the last day
    horizon, rate = variables["analytics_clv_horizon_days"], variables["analytics_clv_discount_rate_millionths"]
    expected = purchases_if_alive(model, alike, horizon)[places]
    discounted = discounted_if_alive(model, alike, horizon, rate / MILLION)[places]
    chance = alive(model, own)
    return {
        **own._asdict(),
        "alive": rounded(chance, 4),
        "expected": rounded(chance * expected, 6),
        "discounted": rounded(chance * discounted, 6),
        "churn": rounded(no_purchase(model, own, variables["analytics_churn_days"]), 4),
    }


def backtest(rows: pa.Table, variables: Variables) -> Columns:
    """Return what models of the time before the days held back expected of these, and what came."""
    name, results = variables["analytics_clv_model"], list[tuple[Any, ...]]()
    models = _fitted(rows, variables, _counted(rows)) if rows.num_rows else _Models(TOO_SHORT, TOO_SHORT)
    results.append((name, 0, "backtest status", models.status, 0, 0, 0))
    known: dict[str, Figure] = {}
    if models.purchases:
        days = int(_numbers(rows, "held_days")[0][0])
        outcomes = _outcomes(rows, models.purchases, days)
        money = _money(rows, models.money) if models.money else None
        known = {figure.name: figure for figure in figures(outcomes, days, money)}
        results += [
            (name, item.number, "", None, item.customers, item.churn, item.did_not_buy) for item in bins(outcomes)
        ]
        known |= {figure.name: figure for figure in warnings(known)}
    for figure in dict.fromkeys((*FIGURES, *known)):
        own = known.get(figure)
        value = None if own is None or own.value is None else _digits(own.value, own.digits)
        results.append((name, 0, figure, value, 0, 0, 0))
    return _columns(("model", "bin", "figure", "value", "customers", "churn", "did_not_buy"), results)


def _outcomes(rows: pa.Table, model: PurchaseModel, days: int) -> Outcomes:
    own, (later,) = _histories(rows), _numbers(rows, "later_days")
    expected = alive(model, own) * purchases_if_alive(model, own, days)
    return Outcomes(own, rounded(no_purchase(model, own, days), 4), rounded(expected, 6), later)


def _money(rows: pa.Table, model: SpendModel) -> Money:
    """Return the expected money of a purchase day of each customer, in whole numbers, and what came."""
    x, cents, later = _numbers(rows, "repeat_days", "repeat_cents", "later_cents")
    pairs, _, places = distinct(x, cents)
    expected = [
        half_up(model.p * (model.g + 100 * int(money)), 100 * (model.p * int(days) + model.q - MILLION))
        for days, money in zip(*pairs, strict=True)
    ]
    return Money(np.array(expected, np.int64)[places], later)


def days(rows: pa.Table, variables: Variables) -> Columns:
    """Return the unusual days of the company, of places and of sellers, and how many were judged."""
    limits, as_of = _limits(variables), variables["as_of"]
    every = rows.to_pylist()
    lines = [row for row in every if row["place"] is not None]
    events = frozenset(row["day"] for row in every if row["place"] is None)
    nobody: Any = "" if pa.types.is_string(rows.schema.field("place").type) else 0
    first_days = {row["place"]: row["first_day"] for row in lines}
    sold = [SellerDay(row["place"], row["seller"], row["day"], row["cents"]) for row in lines]
    judged = anomalies.unusual_days(sold, first_days, as_of.weekday(), limits, events)
    words = lines[0] if lines else {}
    unusual = [*judged.anomalies, *anomalies.unusual_returns(_returns(lines), limits)]
    results = [_of_day(item, words, nobody, as_of) for item in unusual]
    for measure, count in (("days judged", judged.judged), ("days with too little history", judged.too_little)):
        results.append(("company", nobody, nobody, as_of, measure, count, 0, None, None, None, ""))
    names = (
        "entity",
        "entity_id",
        "place",
        "day",
        "measure",
        "value",
        "expected",
        "lower_limit",
        "upper_limit",
        "score",
        "reason",
    )
    return _columns(names, results)


def _returns(lines: Iterable[Mapping[str, Any]]) -> list[SellerReturns]:
    """Add up the lines of each seller in the last 28 days."""
    sums: dict[Any, list[int]] = {}
    for line in lines:
        if line["day"] > -anomalies.LATELY:
            own = sums.setdefault(line["seller"], [0, 0, 0])
            for place, name in enumerate(("gross_cents", "returned_cents", "return_lines")):
                own[place] += line[name]
    return [SellerReturns(seller, *own) for seller, own in sums.items()]


def _of_day(item: Anomaly, words: Mapping[str, Any], nobody: Any, as_of: date) -> tuple[Any, ...]:
    measure = words["measure"]
    reasons = {
        anomalies.ABOVE: "above",
        anomalies.BELOW: "below",
        anomalies.NO_LINES: f"no {measure}",
        anomalies.CLOSED_DAY: "closed day",
        anomalies.MORE_RETURNS: "returns above others",
    }
    if item.seller is not None:
        entity, entity_id = words["seller_word"], item.seller
    elif item.place is not None:
        entity, entity_id = words["place_word"], item.place
    else:
        entity, entity_id = "company", nobody
    return (
        entity,
        entity_id,
        nobody if item.place is None else item.place,
        as_of + timedelta(item.day),
        "returns" if item.reason == anomalies.MORE_RETURNS else measure,
        item.value,
        item.expected,
        item.lower,
        item.upper,
        item.score,
        reasons[item.reason],
    )


def usual(rows: pa.Table, variables: Variables) -> Columns:
    """Return what purchases at a place usually cost in the 28 days before each day that is judged."""
    of = rows.column_names[0]
    places = rows[of].combine_chunks().dictionary_encode()
    codes, days = (
        np.asarray(places.indices, np.int64),
        np.asarray(rows["day"].combine_chunks().cast(pa.int32()), np.int64),
    )
    judged = np.asarray(rows["is_judged"].combine_chunks())
    own = anomalies.usual_purchases(
        anomalies.Purchases(codes, days, *_numbers(rows, "cents")),
        distinct(codes[judged], days[judged])[0],
        variables["analytics_anomaly_min_purchases"],
    )
    names = places.dictionary.to_pylist()
    first = date(1970, 1, 1)
    return _columns(
        (of, "day", "usual_cents", "spread"),
        [(names[code], first + timedelta(day), expected.cents, expected.spread) for code, day, expected in own],
    )


def purchases(rows: pa.Table, variables: Variables) -> Columns:
    """Return the purchases that are beyond what is usual."""
    limits, kept = _limits(variables), list[dict[str, Any]]()
    for row in rows.to_pylist():
        expected = Expected(row["usual_cents"], row["spread"])
        if beyond := compared(row["cents"], expected, limits, with_lower=False):
            _, row["upper_limit"], row["score"] = beyond
            kept.append(row)
    return {name: [row[name] for row in kept] for name in (*rows.column_names, "upper_limit", "score")}


def _histories(rows: pa.Table) -> Histories:
    return Histories(*_numbers(rows, *Histories._fields))


def _limits(variables: Variables) -> Limits:
    return Limits(
        variables["analytics_anomaly_days"],
        variables["analytics_anomaly_weeks"],
        variables["analytics_anomaly_spread"],
        variables["analytics_anomaly_min_share_millionths"],
        variables["analytics_anomaly_min_amount_cents"],
    )


def _numbers(rows: pa.Table, *names: str) -> list[np.ndarray]:
    """Return columns as arrays of whole numbers."""
    return [np.asarray(rows[name].combine_chunks().cast(pa.int64())) for name in names]


def _digits(value: int, digits: int) -> str:
    """Return a whole number of its last digit as a decimal."""
    if not digits:
        return str(value)
    size = f"{abs(value):0{digits + 1}d}"
    return f"{'-' if value < 0 else ''}{size[:-digits]}.{size[-digits:]}"


def _columns(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Columns:
    """Return rows as columns, in the order of the rows."""
    values = list(zip(*rows, strict=True)) or [()] * len(names)
    return dict(zip(names, values, strict=True))


CALCULATIONS = {
    "fit": fit,
    "scores": scores,
    "backtest": backtest,
    "days": days,
    "usual": usual,
    "purchases": purchases,
}
