"""Turn columns of text into typed columns, and say of each row that does not fit why.

A row's verdict depends on the row, the schema and the policy alone: never on its neighbours. Each
conversion therefore has two ways that accept exactly the same texts: a fast one for columns that are
clean as a whole, and an exact one that finds the values that are not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from marts.policy import Policy
from marts.quality.findings import Findings
from marts.quality.measures import measure
from marts.quality.rule_types import PRODUCT
from marts.quality.rules import Rule, Suite
from marts.rows.cast import GUEST, TIME, clean_name, clean_schema, extra_as_json, read_column, whole_times
from marts.rows.columns import Column, Frame, Mask
from marts.rows.records import Header
from marts.schema import EXTRA, SALES, Kind, SourceColumn


@dataclass(frozen=True)
class Checked:
    """The rows of one block, judged."""

    clean: pa.Table
    """Typed rows, columns as in `clean_schema`."""
    kept: np.ndarray
    """Index of each clean row in the block."""
    findings: Findings
    """What was measured, for all rows."""
    reasons: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    """For each bad row, the rules it breaks and the values that break them, masked."""


def check_rows(kind: Kind, header: Header, text: pa.Table, policy: Policy, suite: Suite) -> Checked:
    """Judge the rows of a block of text by a suite, and type those that are right."""
    columns = {column.name: read_column(column, header, text, policy) for column in kind.columns}
    findings = measure(suite.rules, Frame(text.num_rows, columns, header.names))
    typed = {clean_name(column): _clean(column, columns[column.name].values) for column in kind.columns}
    if kind is SALES:
        typed[TIME] = whole_times(text["sales_date"].combine_chunks())
        typed[EXTRA] = extra_as_json(header.extra, text)
    schema = clean_schema(kind)
    broken = [(rule, mask) for rule, mask in findings.broken if rule.quarantines]
    if not broken:
        return Checked(pa.table(typed, schema=schema), np.arange(text.num_rows), findings)
    good = ~np.logical_or.reduce([mask for _, mask in broken])
    existing = pa.array(good)
    # By column: to filter a table at once takes twice as long.
    clean = pa.table({name: values.filter(existing) for name, values in typed.items()}, schema=schema)
    return Checked(clean, np.flatnonzero(good), findings, _reasons(broken, columns))


def _clean(column: SourceColumn, values: pa.Array) -> pa.Array:
    """Return the values of a clean column: guests have a number of their own, so that their lines meet."""
    return values.fill_null(GUEST) if column.guests and values.null_count else values


def _reasons(broken: Sequence[tuple[Rule, Mask]], columns: Mapping[str, Column]) -> dict[int, list[tuple[str, str]]]:
    """Collect, for each bad row, its broken rules in the order of the suite."""
    reasons: dict[int, list[tuple[str, str]]] = {}
    for rule, mask in broken:
        words = rule.broken
        named = rule.columns[-1:] if rule.type == PRODUCT else rule.columns
        for row in np.flatnonzero(mask).tolist():
            values = [columns[name].written_at(row) for name in named]
            reasons.setdefault(row, []).append((words, ", ".join(value for value in values if value)))
    return reasons
