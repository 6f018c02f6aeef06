"""The execution engine of Great Expectations that returns the workers' measures.

It computes nothing. Great Expectations lists the metrics that each expectation needs; each is taken from the
measure of its rule. A metric without a measure is a Defect: nothing is silently skipped.
"""

import json
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from great_expectations.compatibility.pydantic import BaseModel
from great_expectations.datasource.fluent.pandas_datasource import DataFrameAsset, PandasDatasource
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.query_metric_provider import QueryMetricProvider
from great_expectations.expectations.registry import get_expectation_impl

from jobs.adapters.great_expectations import library
from jobs.adapters.great_expectations.results import Batch, is_about_whole
from marts.errors import Defect
from marts.quality.rule_types import NOT_NULL
from marts.quality.rules import Rule
from marts.quality.values import SAMPLES, Measure
from marts.quality.verdicts import observed

FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": SAMPLES}
ANSWERS = "marts_answers"
_TYPES = {
    "int": pd.ArrowDtype(pa.int64()),
    "Decimal": pd.ArrowDtype(pa.decimal128(18, 2)),
    "date": pd.ArrowDtype(pa.date32()),
    "datetime": pd.ArrowDtype(pa.timestamp("us")),
    "str": pd.ArrowDtype(pa.string()),
    "bool": pd.ArrowDtype(pa.bool_()),
}
Answers = dict[str, Any]
assert library  # the import registers its expectations


class MergedEngine(PandasExecutionEngine):
    """Return metrics from measures that are already merged."""

    def resolve_metrics(
        self, metrics_to_resolve: Iterable[Any], metrics: Any = None, runtime_configuration: Any = None
    ) -> dict[Any, Any]:
        data = self.batch_manager.active_batch_data
        answers = data.dataframe.attrs[ANSWERS] if data else {}
        # Only the metrics that expectations use have values; their intermediate metrics are not needed.
        return {metric.id: answers.get(metric_name(metric)) for metric in metrics_to_resolve}


class RowsFound(QueryMetricProvider):
    """Rows that the query of a rule returns."""

    metric_name = "unexpected_rows_query.table"
    value_keys = ("unexpected_rows_query",)

    @metric_value(engine=MergedEngine)
    def _merged(cls, **kwargs: Any) -> Any:  # noqa: N805
        raise Defect("the engine of merged measures cannot run a query")


class RowsCounted(RowsFound):
    """Number of these rows."""

    metric_name = "unexpected_rows_query.row_count"


class MergedDatasource(PandasDatasource):
    """A source of empty frames with metric values attached."""

    type: Literal["merged"] = "merged"  # type: ignore[assignment]
    execution_engine_override = MergedEngine
    asset_types = [DataFrameAsset]  # noqa: RUF012 - as the parent has it


def expectation_of(rule: Rule, drops: int = 1) -> Expectation:
    """Return the Expectation object of a rule. With several drops, a rule about whole drops applies to each of them."""
    messages = {"severity": rule.severity, "description": f"{rule.severity}: {rule.words}"}
    if drops > 1 and is_about_whole(rule):
        return library.ExpectEachDrop(rule=rule.id, **messages)
    kwargs = {name: _plain(value) for name, value in rule.entry()["kwargs"].items()}
    return get_expectation_impl(rule.type)(**kwargs, **messages)


def frame_of(rules: Iterable[Rule], batch: Batch) -> pd.DataFrame:
    """Return an empty frame with the value of each metric that the rules need attached."""
    answers: Answers = {}
    frame = pd.DataFrame({name: pd.Series([], dtype=_TYPES[type_]) for name, type_ in batch.types.items()})
    frame.attrs[ANSWERS] = answers
    engine = MergedEngine(batch_data_dict={"plan": frame})
    columns = [{"name": name, "type": _TYPES[type_]} for name, type_ in batch.types.items()]
    answers["table.column_types"] = columns
    for rule in rules:
        for name, metric in metrics_of(rule, engine, batch.drops).items():
            answers[metric_name(metric)] = _answer(name, rule, batch, columns)
    return frame


def metrics_of(rule: Rule, engine: PandasExecutionEngine, drops: int = 1) -> dict[str, Any]:
    """Return the metrics that Great Expectations needs for an expectation."""
    expectation = expectation_of(rule, drops)
    needs = expectation.get_validation_dependencies(
        execution_engine=engine, runtime_configuration={"result_format": FORMAT}
    )
    results: dict[str, Any] = needs.metric_configurations
    return results


def metric_name(metric: Any) -> str:
    """Return a key of a metric from its domain and arguments, without its batch and result format."""
    if metric.metric_name == "table.column_types":
        return "table.column_types"
    domain = {k: v for k, v in metric.metric_domain_kwargs.items() if k not in ("batch_id", "table") and v is not None}
    value = {k: v for k, v in metric.metric_value_kwargs.items() if k not in ("result_format", "limit")}
    return json.dumps([metric.metric_name, domain, value], sort_keys=True, default=_as_text)


def _as_text(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return json.loads(value.json())
    return str(value)


def _answer(name: str, rule: Rule, batch: Batch, columns: list[dict[str, Any]]) -> Any:
    """Return the value of one metric of a rule."""
    if name == "table.column_types":
        return columns
    if name in _WHOLE or name.startswith("column."):
        return _typed(observed(rule, batch.measured), batch.types.get(rule.kwargs.get("column", ""), ""))
    answer = _OURS.get(name) or _OF_ROWS.get(name.rpartition(".")[2])
    if answer:
        return answer(rule, batch)
    raise Defect(f"{name} is not measured, but {rule.type} needs it", rule.type, "please report it")


def _built(rule: Rule, batch: Batch) -> Measure:
    return batch.measured.of(rule)


_WHOLE = ("table.columns", "table.column_count")
_OURS: dict[str, Callable[[Rule, Batch], Any]] = {
    "table.row_count": lambda rule, batch: _built(rule, batch).rows,
    "table.malformed_rows": lambda _, batch: (batch.measured.malformed, batch.measured.rows + batch.measured.malformed),
    "lines.of_dimension": lambda rule, batch: batch.known[rule.kwargs["dimension"]],
    "drops.each": lambda rule, batch: (batch.drops, batch.broken.get(rule.id, ())),
    "unexpected_rows_query.table": lambda rule, batch: batch.query_rows[rule.id][1],
    "unexpected_rows_query.row_count": lambda rule, batch: batch.query_rows[rule.id][0],
    # Only for the rule not null, empty values are the unexpected ones.
    "column_values.nonnull.unexpected_count": lambda rule, batch: (
        _built(rule, batch).unexpected if rule.type == NOT_NULL else _built(rule, batch).missing
    ),
}
_OF_ROWS: dict[str, Callable[[Rule, Batch], Any]] = {
    "unexpected_count": lambda rule, batch: _built(rule, batch).unexpected,
    "unexpected_values": lambda rule, batch: [_sample(rule, values) for _, values in _built(rule, batch).samples],
    "unexpected_index_list": lambda rule, batch: [row for row, _ in _built(rule, batch).samples],
    "unexpected_index_query": lambda *_: None,
    "filtered_row_count": lambda rule, batch: (_built(rule, batch).rows or 0) - _built(rule, batch).missing,
}


def _typed(value: Any, type_: str) -> Any:
    """Return a value of a column of dates or times as such: Great Expectations compares it with dates."""
    types = {"date": date, "datetime": datetime}
    return types[type_].fromisoformat(value) if type_ in types and isinstance(value, str) else value


def _sample(rule: Rule, values: tuple[Any, ...]) -> Any:
    """Return values that break a rule, in the shape that its rule family uses."""
    if "column_list" in rule.kwargs:
        return dict(zip(rule.columns, values, strict=True))
    return values if len(values) > 1 else values[0]


def _plain(value: Any) -> Any:
    """Return arguments as JSON types."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value
