"""The models on CDNOW, the customers that the papers used: published figures, and those of a calculation in 30 digits.

The data is read from the wheel of lifetimes (MIT), which is a dependency of the tests only and is not imported.
"""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import date
from importlib.metadata import files
from pathlib import Path

import numpy as np
import pytest

from marts.analytics.backtest import Outcomes, figures
from marts.analytics.purchases import Cells, Fit, Histories, ModelName, fitted
from marts.analytics.scores import alive, no_purchase, purchases_if_alive, rounded
from marts.analytics.spend import Spending, fitted_spend

EXPECTED = Path(__file__).parents[2] / "golden/analytics/cdnow_expected.csv"
SUMS = {
    "cdnow_customers_summary.csv": "09d92ca8",
    "CDNOW_sample.txt": "6fae1015",
}
END, HELD = 272, 180
"""Days from 1997-01-01 to the end of the 39 weeks, and the days after it that are held back."""


def data(name: str) -> str:
    file = next(file for file in files("lifetimes") or () if file.name == name)
    content = file.locate().read_bytes()  # type: ignore[attr-defined]
    assert hashlib.sha256(content).hexdigest().startswith(SUMS[name])
    return str(content, "ascii")


def summary() -> Histories:
    """Read the published summary: weeks of two digits, as whole hundredths."""
    rows = csv.DictReader(data("cdnow_customers_summary.csv").splitlines())
    values = [(int(row["frequency"]), round(float(row["recency"]) * 100), round(float(row["T"]) * 100)) for row in rows]
    return Histories(*np.array(values).T)


def transactions() -> tuple[Histories, np.ndarray, np.ndarray]:
    """Read the transactions, by days: histories of 39 weeks, cents of repeat days, days bought on in the 180 after."""
    spent: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for line in data("CDNOW_sample.txt").splitlines():
        _, who, written, _, dollars = line.split()
        day = (date(int(written[:4]), int(written[4:6]), int(written[6:])) - date(1997, 1, 1)).days
        spent[who][day] += round(float(dollars) * 100)
    rows = []
    for days in spent.values():
        before = sorted(day for day in days if day <= END)
        cents = sum(days[day] for day in before[1:])
        later = sum(END < day <= END + HELD for day in days)
        rows.append((len(before) - 1, before[-1] - before[0], END - before[0], cents, later))
    x, last, age, cents_of_all, later_of_all = np.array(rows).T
    return Histories(x, last, age), cents_of_all, later_of_all


def parameters(fit: Fit, histories: Histories, unit: int) -> dict[str, float]:
    """Return the figures of a fit in weeks; ``unit`` is how many of its days are a week."""
    values = dict(zip(("r", "alpha", "a", "b"), fit.maximum.parameters, strict=True))
    errors = zip(values, fit.maximum.errors, strict=True)
    return {
        **values,
        "alpha": values["alpha"] / unit,
        "log_likelihood": fit.maximum.value + float(histories.repeat_days.sum() * np.log(unit)),
        **{f"standard error of ln {name}": error for name, error in errors},
    }


def computed() -> dict[tuple[str, str], dict[str, float]]:
    """Return our figures, by data and model."""
    results: dict[tuple[str, str], dict[str, float]] = {}
    weeks, (days, cents, later) = summary(), transactions()
    names: tuple[ModelName, ...] = ("bg_nbd", "mbg_nbd")
    for name in names:
        fit = fitted(name, Cells.counted(weeks))
        own = results["summary", name] = parameters(fit, weeks, 100)
        for span in ("0.1429 weeks", "1 week", "3 weeks", "31.8571 weeks", "32 weeks"):
            new = Histories(*np.zeros((3, 1), np.int64))
            ahead = purchases_if_alive(fit.model, new, float(span.split()[0]) * 100)  # type: ignore[arg-type]
            own[f"expected purchases of anybody in {span}"] = float(ahead[0])
        known = Histories(*np.array([[2], [3043], [3886]]))
        value = alive(fit.model, known) * purchases_if_alive(fit.model, known, 3900)
        own["expected purchases in the next 39 weeks of x=2, t_x=30.43, T=38.86"] = float(value[0])
        fit = fitted(name, Cells.counted(days))
        own = results["transactions", name] = parameters(fit, days, 7)
        expected = alive(fit.model, days) * purchases_if_alive(fit.model, days, HELD)
        outcomes = Outcomes(days, rounded(no_purchase(fit.model, days, HELD), 4), rounded(expected, 6), later)
        for figure in figures(outcomes, HELD):
            assert figure.value is not None
            own[f"backtest of 180 days: {figure.name}"] = figure.value / 10**figure.digits
    spend = fitted_spend(Spending.counted(days.repeat_days, cents))
    p, q, g = spend.maximum.parameters
    buyers = int(((days.repeat_days > 0) & (cents > 0)).sum())
    likelihood = spend.maximum.value + buyers * np.log(100)
    results["transactions", "gamma_gamma"] = {"p": p, "q": q, "gamma": g / 100, "log_likelihood": likelihood}
    return results


def test_the_figures_of_cdnow_are_those_published(figure: Callable[[str], None]) -> None:
    own: Mapping[tuple[str, str], dict[str, float]] = computed()
    rows = [row for row in csv.DictReader(EXPECTED.open()) if row["model"] != "pareto_nbd"]
    for row in rows:
        value = own[row["data"], row["model"]][row["figure"]]
        wanted = float(row["value"])
        assert value == pytest.approx(wanted, rel=0, abs=max(float(row["tolerance"]), 1e-12)), row
    figure(f"CDNOW: {len(rows)} published and independent figures, all within their tolerance")
