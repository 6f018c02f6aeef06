"""Every bad row of realistic drops is in quarantine, at its line, for the right reasons; pages count the same."""

import csv
import json
import os
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from support.kit import Place

from jobs.adapters.store.open import open_store
from jobs.config.settings import S3
from jobs.operations.survey import survey
from jobs.steps.repair import rows_in_quarantine
from marts.policy import Policy
from marts.retail.generate import generate

PRODUCT = "total_cost is not price * quantity"
WIDTH = "the row does not have"
REASONS = {
    "customer_id is not a whole number": ["customer_id is not a whole number: C-17"],
    "customer_id is -5": ["customer_id is less than 1: -5"],
    "store_id is empty": ["store_id is empty"],
    "product_name is empty": ["product_name is empty"],
    "sales_date is not an ISO date": ["sales_date is not an ISO date: 31/12/2024"],
    "sales_date is no day of the calendar": ["sales_date is not an ISO date: 2024-02-30"],
    "sales_person_id is not a whole number": ["sales_person_id is not a whole number: n/a"],
    "sales_person_id is 0": ["sales_person_id is less than 1: 0"],
    "price has 7 digits after the point": [
        "price is not a decimal number with at most 6 digits after the point: 9.9999991"
    ],
    "quantity is 0": ["quantity is 0: 0", PRODUCT],
    "quantity is a word": ["quantity is not a decimal number with at most 4 digits after the point: two"],
    "total_cost is not price * quantity": [PRODUCT],
    "a quote is not closed": ["a quote is not closed, or stands in the wrong place"],
    "a NUL byte": ["holds a NUL byte"],
    "not UTF-8": ["is not UTF-8 text"],
    "a field is missing": [WIDTH],
    "a field is too many": [WIDTH],
}
MALFORMED = ("a quote is not closed", "a NUL byte", "not UTF-8", "a field is missing", "a field is too many")
LINES = int(os.environ.get("BAD_ROWS_LINES", "100_000"))


def known_reason(reason: str) -> str:
    """Leave out values that differ from row to row."""
    return next((known for known in (PRODUCT, WIDTH) if reason.startswith(known)), reason)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    new_place = Place(tmp_path_factory.mktemp("bad"), policy=Policy(), as_of=date(2025, 12, 31), judge=True)
    generate(new_place.source, LINES, seed=11)
    return new_place


def test_each_bad_row_is_in_quarantine_for_the_right_reasons(place: Place) -> None:
    report = place.build()
    listed = list(csv.DictReader((place.source / "bad_rows.csv").open()))
    wanted = {(row["drop"], int(row["line"])): REASONS[row["kind"]] for row in listed}
    assert len(wanted) == len(listed) == report.totals.quarantined
    assert {row["kind"] for row in listed} == set(REASONS)
    warehouse = place.warehouse()
    now = survey(place.configured(), place.policy, warehouse, report.ended_at)
    warehouse.close()
    state = open_store(str(place.folder / "state"), S3())
    actual = {
        (drop.delivery.key, row.line): [known_reason(reason) for reason in row.reasons]
        for drop in now.plan.drops
        if drop.manifest and drop.manifest.quarantined and not drop.duplicate_of
        for row in rows_in_quarantine(state, drop.manifest)
    }
    assert actual == wanted
    counted = Counter(reason for reasons in wanted.values() for reason in reasons)
    assert on_the_page(place, "critical: total_cost is price * quantity") == counted[PRODUCT]
    assert on_the_page(place, "critical: quantity is not 0") == counted["quantity is 0: 0"]
    malformed = sum(row["kind"] in MALFORMED for row in listed)
    text = (place.folder / "state/docs/runs/run-1/sales.html").read_text()
    copied = json.loads((place.source / "generated.json").read_text())["copied_lines"]
    assert f"{malformed:,} of {report.totals.rows_read - copied:,} rows are not" in text


def on_the_page(place: Place, words: str) -> int:
    """Read off the official result how many rows break a rule."""
    official = json.loads((place.folder / "state/docs/runs/run-1/sales.json").read_text())
    (result,) = (r for r in official["results"] if r["expectation_config"]["description"].startswith(words))
    return int(result["result"]["unexpected_count"])


def test_generating_again_gives_the_same_list(place: Place, tmp_path: Path) -> None:
    generate(tmp_path / "again", LINES, seed=11)
    assert (tmp_path / "again/bad_rows.csv").read_bytes() == (place.source / "bad_rows.csv").read_bytes()
