"""Custom expectations, for types that the library of Great Expectations lacks.

Their metrics are measured by `marts.quality.measures`, never computed by an engine of Great Expectations.
"""

from typing import Any, ClassVar

from great_expectations.compatibility.pydantic import Field
from great_expectations.core.suite_parameters import SuiteParameterDict
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import (
    BatchExpectation,
    ColumnMapExpectation,
    MulticolumnMapExpectation,
)
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnMapMetricProvider,
    MulticolumnMapMetricProvider,
    column_condition_partial,
    multicolumn_condition_partial,
)
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from marts.errors import Defect

_SHOWN = 10
"""Maximum number of drops in a result."""


def _never(metric: str) -> Defect:
    return Defect(f"{metric} was requested from an engine, but only workers measure it")


class FitsSchema(ColumnMapMetricProvider):
    """Values that match the type in the schema."""

    condition_metric_name = "column_values.fits_schema"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: Any, **kwargs: Any) -> Any:  # noqa: N805
        raise _never("column_values.fits_schema")


class LastIsProduct(MulticolumnMapMetricProvider):
    """Rows whose last column is the product of the others."""

    condition_metric_name = "multicolumn_values.last_is_product"
    condition_domain_keys = ("batch_id", "table", "column_list", "row_condition", "condition_parser", "ignore_row_if")
    condition_value_keys = ("tolerance",)

    @multicolumn_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_list: Any, **kwargs: Any) -> Any:  # noqa: N805
        raise _never("multicolumn_values.last_is_product")


class _OfTable(TableMetricProvider):
    """A metric of one or several whole drops."""

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, **kwargs: Any) -> Any:  # noqa: N805
        raise _never(str(cls.metric_name))


class MalformedRows(_OfTable):
    """Number of rows that are not valid CSV, and of all rows."""

    metric_name = "table.malformed_rows"


class LinesOfDimension(_OfTable):
    """Number of lines, and of lines without a row in a dimension."""

    metric_name = "lines.of_dimension"
    value_keys = ("dimension",)


class EachDrop(_OfTable):
    """Number of drops, and the drops that break a rule, with the observed values."""

    metric_name = "drops.each"
    value_keys = ("rule",)


class ExpectColumnValuesToFitSchema(ColumnMapExpectation):
    """Expect each value to match the schema: a whole number, a decimal, a date, or text up to a length."""

    map_metric = "column_values.fits_schema"


class ExpectColumnValuesToBeKnownInDimension(BatchExpectation):
    """Expect each counted line's value to be a key of a dimension."""

    column: str
    dimension: str
    mostly: float | SuiteParameterDict = Field(default=1)
    metric_dependencies: ClassVar[tuple[str, ...]] = ("lines.of_dimension",)
    success_keys: ClassVar[tuple[str, ...]] = ("dimension", "mostly")

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        lines, unknown = metrics["lines.of_dimension"]
        success = not lines or (float(lines) - unknown) / lines >= self.mostly
        return {"success": success, "result": {"observed_value": f"{unknown:,} of {lines:,} lines are not"}}


class ExpectEachDrop(BatchExpectation):
    """Expect each of several drops to satisfy a rule about whole drops."""

    rule: str
    """The rule's id."""
    metric_dependencies: ClassVar[tuple[str, ...]] = ("drops.each",)
    success_keys: ClassVar[tuple[str, ...]] = ("rule",)

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        drops, broken = metrics["drops.each"]
        displayed = "; ".join(f"{key}: {value}" for key, value in broken[:_SHOWN])
        observed = f"{len(broken):,} of {drops:,} drops break it{f': {displayed}' if displayed else ''}"
        return {"success": not broken, "result": {"observed_value": observed}}


class ExpectColumnToEqualProductOfColumns(MulticolumnMapExpectation):
    """Expect the last of some columns to be the product of the others, within a tolerance."""

    tolerance: float | SuiteParameterDict = Field(default=0)
    map_metric = "multicolumn_values.last_is_product"
    success_keys: ClassVar[tuple[str, ...]] = ("tolerance", "mostly")


class ExpectRowsToBeWellFormed(BatchExpectation):
    """Expect each row to be valid CSV: closed quotes, UTF-8, the header's number of fields."""

    mostly: float | SuiteParameterDict = Field(default=1)
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.malformed_rows",)
    success_keys: ClassVar[tuple[str, ...]] = ("mostly",)

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        malformed, rows = metrics["table.malformed_rows"]
        success = not rows or (float(rows) - malformed) / rows >= self.mostly
        return {"success": success, "result": {"observed_value": f"{malformed:,} of {rows:,} rows are not"}}
