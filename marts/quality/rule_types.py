"""Rule types: the arguments, wording, measure and verdict of each."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from marts.quality import drop_values, row_measures
from marts.quality.drop_values import DropMeasure
from marts.quality.row_measures import Masks
from marts.rows.columns import Frame

Level = Literal["row", "key", "drop", "run", "mart"]
OF_TYPE = "expect_column_values_to_be_of_type"
FITS = "expect_column_values_to_fit_schema"
WELL_FORMED = "expect_rows_to_be_well_formed"
PRODUCT = "expect_column_to_equal_product_of_columns"
KNOWN = "expect_column_values_to_be_known_in_dimension"
QUERY = "unexpected_rows_expectation"
NOT_NULL = "expect_column_values_to_not_be_null"
UNIQUE = "expect_column_values_to_be_unique"
UNIQUE_TOGETHER = "expect_compound_columns_to_be_unique"
BETWEEN = "expect_column_values_to_be_between"
EXTREMES = ("expect_column_min_to_be_between", "expect_column_max_to_be_between")
Family = Literal["number", "date", "text", "flag"]


@dataclass(frozen=True)
class RuleType:
    """The arguments, wording, measure and verdict of an expectation type."""

    level: Level
    words: Callable[[Mapping[str, Any]], str]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    mostly: bool = False
    condition: bool = True
    families: tuple[Family, ...] = ()
    """Families of columns that it accepts; all if empty."""
    together: bool = False
    """Whether all its columns must be of one family."""
    own: bool = False
    """Whether Martwright defines it, not Great Expectations."""
    broken: Callable[[Mapping[str, Any]], str] | None = None
    """Describes what is wrong with a row; if None, the negated ``words`` are used."""
    rows: Callable[[Mapping[str, Any], Frame], Masks] | None = None
    """For a row rule: the rows that it skips, and the rows that break it."""
    value: Callable[[DropMeasure], Any] | None = None
    """For a rule about the drop: the value that it evaluates."""
    holds: Callable[[Mapping[str, Any], Any], bool] = drop_values.within
    """For a rule about the drop: whether that value is valid."""


def listed(values: Iterable[Any]) -> str:
    """Return the first ten values as one text, and the number of the others."""
    displayed = [str(value) for value in values]
    return ", ".join(displayed[:10]) + (f" and {len(displayed) - 10} more" if len(displayed) > 10 else "")


def _range(k: Mapping[str, Any], what: str = "") -> str:
    low, high = k.get("min_value"), k.get("max_value")
    parts = []
    after, from_, before, until = _DATED if isinstance(low or high, str) else _COUNTED
    if low is not None:
        parts.append(f"{after if k.get('strict_min') else from_} {_number(low)}")
    if high is not None:
        parts.append(f"{before if k.get('strict_max') else until} {_number(high)}")
    return " and ".join(parts) + what


_COUNTED = ("more than", "at least", "less than", "at most")
_DATED = ("after", "not before", "before", "not after")


def _number(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():,f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _outside(k: Mapping[str, Any]) -> str:
    low, high = k.get("min_value"), k.get("max_value")
    less, greater = ("before", "after") if isinstance(low or high, str) else ("less than", "greater than")
    if high is None:
        return f"not {greater} {_number(low)}" if k.get("strict_min") else f"{less} {_number(low)}"
    if low is None:
        return f"not {less} {_number(high)}" if k.get("strict_max") else f"{greater} {_number(high)}"
    return f"not between {_number(low)} and {_number(high)}"


_BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")
RULE_TYPES: dict[str, RuleType] = {
    FITS: RuleType(
        "row",
        lambda k: f"{k['column']} has the right type",
        ("column",),
        mostly=True,
        condition=False,
        own=True,
        rows=row_measures.fits,
    ),
    PRODUCT: RuleType(
        "row",
        lambda k: (
            f"{k['column_list'][-1]} is {' * '.join(k['column_list'][:-1])}, rounded"
            + (f", within {k['tolerance']}" if Decimal(str(k.get("tolerance") or 0)) else "")
        ),
        ("column_list",),
        ("tolerance", "ignore_row_if"),
        mostly=True,
        families=("number",),
        own=True,
        broken=lambda k: f"{k['column_list'][-1]} is not {' * '.join(k['column_list'][:-1])}",
        rows=row_measures.product,
    ),
    NOT_NULL: RuleType(
        "row",
        lambda k: f"{k['column']} is not empty",
        ("column",),
        mostly=True,
        broken=lambda k: f"{k['column']} is empty",
        rows=row_measures.not_null,
    ),
    "expect_column_values_to_be_null": RuleType(
        "row",
        lambda k: f"{k['column']} is empty",
        ("column",),
        mostly=True,
        broken=lambda k: f"{k['column']} is not empty",
        rows=row_measures.null,
    ),
    "expect_column_values_to_be_in_set": RuleType(
        "row",
        lambda k: f"{k['column']} is one of {listed(k['value_set'])}",
        ("column", "value_set"),
        mostly=True,
        broken=lambda k: f"{k['column']} is not one of {listed(k['value_set'])}",
        rows=row_measures.in_set,
    ),
    "expect_column_values_to_not_be_in_set": RuleType(
        "row",
        lambda k: f"{k['column']} is not {'one of ' if len(k['value_set']) > 1 else ''}{listed(k['value_set'])}",
        ("column", "value_set"),
        mostly=True,
        broken=lambda k: f"{k['column']} is {'one of ' if len(k['value_set']) > 1 else ''}{listed(k['value_set'])}",
        rows=row_measures.not_in_set,
    ),
    BETWEEN: RuleType(
        "row",
        lambda k: f"{k['column']} is {_range(k)}",
        ("column",),
        _BOUNDS,
        mostly=True,
        families=("number", "date"),
        broken=lambda k: f"{k['column']} is {_outside(k)}",
        rows=row_measures.between,
    ),
    "expect_column_values_to_match_regex": RuleType(
        "row",
        lambda k: f"{k['column']} looks like {k['regex']}",
        ("column", "regex"),
        mostly=True,
        broken=lambda k: f"{k['column']} does not look like {k['regex']}",
        rows=row_measures.matches_regex,
    ),
    "expect_column_values_to_not_match_regex": RuleType(
        "row",
        lambda k: f"{k['column']} does not look like {k['regex']}",
        ("column", "regex"),
        mostly=True,
        broken=lambda k: f"{k['column']} looks like {k['regex']}",
        rows=row_measures.matches_no_regex,
    ),
    "expect_column_values_to_match_regex_list": RuleType(
        "row",
        lambda k: f"{k['column']} looks like {k.get('match_on') or 'any'} of {listed(k['regex_list'])}",
        ("column", "regex_list"),
        ("match_on",),
        mostly=True,
        rows=row_measures.matches_regexes,
    ),
    "expect_column_values_to_not_match_regex_list": RuleType(
        "row",
        lambda k: f"{k['column']} looks like none of {listed(k['regex_list'])}",
        ("column", "regex_list"),
        mostly=True,
        rows=row_measures.matches_none_of_regexes,
    ),
    "expect_column_value_lengths_to_be_between": RuleType(
        "row",
        lambda k: f"{k['column']} has {_range(k, ' characters')}",
        ("column",),
        _BOUNDS,
        mostly=True,
        broken=lambda k: f"the length of {k['column']} is {_outside(k)}",
        rows=row_measures.length_between,
    ),
    "expect_column_value_lengths_to_equal": RuleType(
        "row",
        lambda k: f"{k['column']} has {k['value']} characters",
        ("column", "value"),
        mostly=True,
        rows=row_measures.length_equal,
    ),
    "expect_column_values_to_be_dateutil_parseable": RuleType(
        "row",
        lambda k: f"{k['column']} reads as a date",
        ("column",),
        mostly=True,
        broken=lambda k: f"{k['column']} does not read as a date",
        rows=row_measures.parseable,
    ),
    "expect_column_values_to_match_strftime_format": RuleType(
        "row",
        lambda k: f"{k['column']} is written as {k['strftime_format']}",
        ("column", "strftime_format"),
        mostly=True,
        rows=row_measures.strftime,
    ),
    "expect_column_pair_values_to_be_equal": RuleType(
        "row",
        lambda k: f"{k['column_A']} equals {k['column_B']}",
        ("column_A", "column_B"),
        ("ignore_row_if",),
        mostly=True,
        together=True,
        broken=lambda k: f"{k['column_A']} is not {k['column_B']}",
        rows=row_measures.pair_equal,
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": RuleType(
        "row",
        lambda k: f"{k['column_A']} is {'at least' if k.get('or_equal') else 'greater than'} {k['column_B']}",
        ("column_A", "column_B"),
        ("or_equal", "ignore_row_if"),
        mostly=True,
        families=("number", "date", "text"),
        together=True,
        rows=row_measures.pair_greater,
    ),
    "expect_select_column_values_to_be_unique_within_record": RuleType(
        "row",
        lambda k: f"{listed(k['column_list'])} all differ",
        ("column_list",),
        ("ignore_row_if",),
        mostly=True,
        together=True,
        rows=row_measures.all_differ,
    ),
    "expect_multicolumn_sum_to_equal": RuleType(
        "row",
        lambda k: f"{' + '.join(k['column_list'])} is {k['sum_total']}",
        ("column_list", "sum_total"),
        ("ignore_row_if",),
        mostly=True,
        families=("number",),
        rows=row_measures.sum_equal,
    ),
    UNIQUE: RuleType("key", lambda k: f"{k['column']} is unique", ("column",), mostly=True),
    UNIQUE_TOGETHER: RuleType(
        "key",
        lambda k: f"({listed(k['column_list'])}) is unique",
        ("column_list",),
        ("ignore_row_if",),
        mostly=True,
    ),
    "expect_column_unique_value_count_to_be_between": RuleType(
        "key",
        lambda k: f"{k['column']} has {_range(k, ' different values')}",
        ("column",),
        _BOUNDS,
        value=drop_values.distinct,
    ),
    "expect_column_proportion_of_unique_values_to_be_between": RuleType(
        "key",
        lambda k: f"different values of {k['column']}, per value, are {_range(k)}",
        ("column",),
        _BOUNDS,
        value=drop_values.distinct_share,
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": RuleType(
        "drop",
        lambda k: f"the share of {k['column']} that is not empty is {_range(k)}",
        ("column",),
        _BOUNDS,
        value=drop_values.filled_share,
    ),
    OF_TYPE: RuleType(
        "drop",
        lambda k: f"{k['column']} is of type {k['type_']}",
        ("column", "type_"),
        condition=False,
        holds=drop_values.always,
    ),
    "expect_column_min_to_be_between": RuleType(
        "drop",
        lambda k: f"the minimum of {k['column']} is {_range(k)}",
        ("column",),
        _BOUNDS,
        families=("number", "date"),
        value=drop_values.least,
    ),
    "expect_column_max_to_be_between": RuleType(
        "drop",
        lambda k: f"the maximum of {k['column']} is {_range(k)}",
        ("column",),
        _BOUNDS,
        families=("number", "date"),
        value=drop_values.greatest,
    ),
    "expect_column_sum_to_be_between": RuleType(
        "drop",
        lambda k: f"the sum of {k['column']} is {_range(k)}",
        ("column",),
        _BOUNDS,
        families=("number",),
        value=drop_values.total,
    ),
    "expect_column_mean_to_be_between": RuleType(
        "drop",
        lambda k: f"the mean of {k['column']} is {_range(k)}",
        ("column",),
        _BOUNDS,
        families=("number",),
        value=drop_values.mean,
    ),
    "expect_table_row_count_to_be_between": RuleType(
        "drop", lambda k: f"the number of rows is {_range(k)}", (), _BOUNDS, value=drop_values.row_count
    ),
    "expect_table_row_count_to_equal": RuleType(
        "drop",
        lambda k: f"the number of rows is {k['value']}",
        ("value",),
        value=drop_values.row_count,
        holds=drop_values.equals,
    ),
    "expect_table_columns_to_match_set": RuleType(
        "drop",
        lambda k: (
            f"the columns are {'' if k.get('exact_match', True) is not False else 'at least '}{listed(k['column_set'])}"
        ),
        ("column_set",),
        ("exact_match",),
        condition=False,
        value=drop_values.column_names,
        holds=drop_values.matches_set,
    ),
    "expect_table_columns_to_match_ordered_list": RuleType(
        "drop",
        lambda k: f"the columns are, in order, {listed(k['column_list'])}",
        ("column_list",),
        condition=False,
        value=drop_values.column_names,
        holds=drop_values.matches_list,
    ),
    "expect_table_column_count_to_be_between": RuleType(
        "drop",
        lambda k: f"the number of columns is {_range(k)}",
        (),
        ("min_value", "max_value"),
        condition=False,
        value=drop_values.column_count,
    ),
    "expect_table_column_count_to_equal": RuleType(
        "drop",
        lambda k: f"the number of columns is {k['value']}",
        ("value",),
        condition=False,
        value=drop_values.column_count,
        holds=drop_values.equals,
    ),
    "expect_column_to_exist": RuleType(
        "drop",
        lambda k: f"the column {k['column']} exists",
        ("column",),
        condition=False,
        value=drop_values.column_names,
        holds=drop_values.has_column,
    ),
    WELL_FORMED: RuleType("drop", lambda _: "every row is well formed CSV", mostly=True, condition=False, own=True),
    KNOWN: RuleType(
        "run",
        lambda k: f"{k['column']} is known in {k['dimension']}",
        ("column", "dimension"),
        mostly=True,
        condition=False,
        own=True,
    ),
    QUERY: RuleType("mart", lambda _: "the query finds no row", ("unexpected_rows_query",), condition=False),
}
TYPES = tuple(RULE_TYPES)
TYPE_NAMES: dict[str, tuple[str, ...]] = {
    "int": ("int", "long"),
    "Decimal": ("Decimal",),
    "date": ("date",),
    "datetime": ("datetime",),
    "str": ("str",),
    "bool": ("bool",),
}
"""Type names that expect_column_values_to_be_of_type accepts, by type."""
_NAMES_COLUMNS = ("column", "column_list", "column_A", "column_B")


def type_words() -> list[tuple[str, Level, tuple[str, ...], tuple[str, ...]]]:
    """List the rule types: type, level, required and optional arguments."""
    return [
        (name, type_.level, type_.required, (*type_.optional, *(["mostly"] if type_.mostly else [])))
        for name, type_ in sorted(RULE_TYPES.items())
    ]


def columns_of(type_: RuleType, kwargs: Mapping[str, Any]) -> Iterable[str]:
    """Yield the columns that a rule of a type evaluates."""
    if type_.level == "drop" and "column_list" in kwargs:
        return  # names to compare with the header, not columns to evaluate
    for key in _NAMES_COLUMNS:
        if key in kwargs:
            yield from kwargs[key] if key == "column_list" else [kwargs[key]]
