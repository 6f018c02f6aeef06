"""Run one Checkpoint of Great Expectations per run and kind of drop, and per run and mart."""

import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from jobs.adapters.great_expectations.engine import (
    ANSWERS,
    FORMAT,
    MergedDatasource,
    expectation_of,
    frame_of,
)
from jobs.adapters.great_expectations.pages import as_json, page_of
from jobs.adapters.great_expectations.results import About, Batch, RuleResult, SuiteOutcome, SuiteResult
from jobs.runtime.escaping import for_html
from marts.errors import Defect
from marts.quality.findings import Measured
from marts.quality.rule_types import KNOWN
from marts.quality.rules import Rule, Suite


def judge(suite: Suite, rules: Iterable[Rule], batch: Batch, run: About, counts: bool = False) -> SuiteResult:
    """Validate measures with Great Expectations. ``counts``: none of the drops is held, broken rules cost rows only."""
    rules = list(rules)
    return _judged(suite.name, rules, official_result(suite.name, rules, batch, run), run, counts)


def official_result(name: str, rules: Iterable[Rule], batch: Batch, run: About) -> ExpectationSuiteValidationResult:
    """Run a Checkpoint over measures. The results are in the order of the rules."""
    rules = list(rules)
    with _quiet():
        context = new_context()
        expectations = [expectation_of(rule, batch.drops) for rule in rules]
        source = context._add_fluent_datasource(datasource=MergedDatasource(name="drops"))  # noqa: SLF001 - the hook
        batches = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        return _run(context, name, batches, expectations, {"dataframe": frame_of(rules, batch)}, run)


def plan(suite: Suite, types: Mapping[str, str]) -> int:
    """Return the number of metrics that Great Expectations needs for a suite. Each must be one that is measured."""
    known = {rule.kwargs["dimension"]: (0, 0) for rule in suite.rules if rule.type == KNOWN}
    nothing: dict[str, tuple[int, list[dict[str, Any]]]] = {
        rule.id: (0, []) for rule in suite.rules if rule.level == "mart"
    }
    with _quiet():
        frame = frame_of(suite.rules, Batch(Measured(), types, known, nothing))
    return len(frame.attrs[ANSWERS])


def _run(
    context: Any,
    name: str,
    batches: Any,
    expectations: list[Any],
    parameters: dict[str, Any],
    run: About,
) -> ExpectationSuiteValidationResult:
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
    validation = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batches, suite=suite))
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(name=name, validation_definitions=[validation], result_format=FORMAT)
    )
    done = checkpoint.run(batch_parameters=parameters, run_id=RunIdentifier(run_name=run.run_id, run_time=run.at))
    (result,) = done.run_results.values()
    assert isinstance(result, ExpectationSuiteValidationResult)
    # In the order of the suite: Great Expectations groups by column.
    order = {expectation.id: number for number, expectation in enumerate(suite.expectations)}
    result.results.sort(key=lambda item: order[item.expectation_config.id])
    return result


def _judged(
    name: str, rules: list[Rule], result: ExpectationSuiteValidationResult, run: About, counts: bool = False
) -> SuiteResult:
    results = tuple(_rule_result(rule, item, run.rows) for rule, item in zip(rules, result.results, strict=True))
    broken = {
        "warning" if counts and item.rule.costs_rows_only else item.rule.severity
        for item in results
        if not item.success
    }
    outcome: SuiteOutcome = "failed" if "critical" in broken else "warned" if broken else "passed"
    bases = [(item.rows, item.basis, item.rule.limit) for item in results]
    escaped = {name: for_html(place) for name, place in run.places.items()}
    page = page_of(result, bases, title=run.title, about=run.words, outcome=outcome, places=escaped, here="")
    return SuiteResult(name, outcome, results, as_json(result), page)


def _rule_result(rule: Rule, item: Any, of: str) -> RuleResult:
    raised = next((text for text in _exceptions(item.exception_info)), "")
    if raised:
        raise Defect(f"Great Expectations cannot validate {rule.type}: {raised}", rule.words, "please report it")
    match = item.result
    missing = match.get("missing_count") or 0
    rows = (match.get("element_count") or 0) - missing
    observed = match.get("observed_value", match.get("unexpected_percent"))
    unexpected = match.get("unexpected_count") or 0
    return RuleResult(rule, bool(item.success), rows, rule.basis(missing, of), unexpected, str(observed))


def _exceptions(info: dict[str, Any]) -> Iterable[str]:
    """Return the messages of exceptions raised for an expectation or one of its metrics."""
    if "raised_exception" in info:
        if info["raised_exception"]:
            yield str(info.get("exception_message"))
    else:
        for inner in info.values():
            yield from _exceptions(inner)


def new_context() -> Any:
    """Return a context that neither reads from nor writes to disk."""
    backend = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    config = DataContextConfig(store_backend_defaults=backend, progress_bars=ProgressBarsConfig(globally=False))
    return gx.get_context(mode="ephemeral", project_config=config)


@contextmanager
def _quiet() -> Any:
    """Suppress log lines and warnings of the library that are meant for developers."""
    logger = logging.getLogger("great_expectations")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
