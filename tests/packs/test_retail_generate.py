"""Generated drops of shops: the same bytes for a seed, and customers, stores and faults that analytics recognizes."""

import csv
from collections import Counter
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.kit import Place

from marts.policy import Policy
from marts.retail.generate import generate
from marts.retail.lives import _people

LINES, CUSTOMERS = 120_000, 3_000


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_writes_the_same_bytes_and_another_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        generate(tmp_path / name, 3000, seed)
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a place with the marts of generated drops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARTS_ANALYTICS", "true")
        place = Place(tmp_path_factory.mktemp("generated"), policy=Policy(), as_of=date(2025, 12, 31), judge=True)
        generate(place.source, LINES, seed=1, customers=CUSTOMERS, plain=True)
        report = place.build()
    assert report.error is None, report.error
    assert not [warning for warning in report.warnings if "analytics_model" in warning]
    return place


def query(place: Place, sql: str) -> list[tuple[Any, ...]]:
    with closing(place.warehouse(read_only=True)) as warehouse:
        return [tuple(row) for row in warehouse.execute(sql)]


def test_each_planted_fault_is_among_the_anomalies(live: Place) -> None:
    with (live.source / "planted.csv").open() as file:
        planted = {tuple(row.values()) for row in csv.DictReader(file)}
    listed = {
        tuple(map(str, row))
        for row in query(
            live, "SELECT entity, entity_id, store_id, day, measure, reason FROM sales_anomalies_data_mart"
        )
    }
    assert len(planted) == 10
    # What each of eight people sells on a day varies twofold in stores of so few lines: a demo lists that day, too.
    assert {row for row in planted - listed if row[:1] + row[4:5] != ("sales_person", "sales")} == set()
    by_entity = Counter(row[0] for row in listed - planted)
    assert by_entity["store"] <= 3
    assert by_entity["sales_person"] <= 3


def test_customers_come_and_leave_as_the_models_suppose(live: Place) -> None:
    figures = {
        (model, figure): value
        for model, figure, value in query(live, "SELECT model, figure, value FROM analytics_model_data_mart")
    }
    assert (figures["mbg_nbd", "status"], figures["gamma_gamma", "status"]) == ("ok", "ok")
    assert float(figures["mbg_nbd", "AUC"]) > 0.75
    assert abs(float(figures["mbg_nbd", "error percent"])) < 50
    segments = query(live, "SELECT rfm_segment, COUNT(*) FROM customer_analytics_data_mart GROUP BY rfm_segment")
    assert len([name for name, _ in segments if name]) == 10
    risks = dict(query(live, "SELECT churn_risk, COUNT(*) FROM customer_analytics_data_mart GROUP BY churn_risk"))
    assert min(risks[name] for name in ("low", "high", "inactive")) > 30


@pytest.mark.parametrize("seed", range(12))
def test_few_lines_are_of_the_person_whom_no_table_has(seed: int) -> None:
    """Whatever the seed: a build stops if more than `max_unknown_ratio` of the lines are of nobody known."""
    store = np.arange(100_000) % 5
    sold_by = _people(np.random.default_rng(seed), store, 5)
    assert 0 < (sold_by == sold_by.max()).mean() < Policy().max_unknown_ratio
