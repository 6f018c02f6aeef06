"""Convert columns of text to typed columns, and list for each bad row the rules it breaks.

A row's verdict depends only on the row, the schema and the policy, never on other rows. Each conversion
therefore has two implementations that accept exactly the same texts: a fast one for columns that are
entirely clean, and an exact one that finds the bad values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.errors import DropRejected
from marts.expressions import missing_column, parsed
from marts.pack import EXTRA, GUEST, TEXT_GUEST, Kind, SourceColumn
from marts.policy import Policy, nearest
from marts.privacy.masking import free_texts, without_cards
from marts.quality.findings import Findings
from marts.quality.measures import measure
from marts.quality.rule_types import PRODUCT
from marts.quality.rules import Rule, Suite
from marts.rows.cast import DELETED, TIME, clean_schema, extra_as_json, read_column
from marts.rows.columns import Column, Frame, Mask, last_digits
from marts.rows.computed import compute
from marts.rows.dates import TIMES, local_times, whole_times
from marts.rows.header import Header
from marts.rows.source_block import DEFAULT, SourceBlock


@dataclass(frozen=True)
class Checked:
    """The validated rows of one block."""

    clean: pa.Table
    """Typed rows, columns as in `clean_schema`."""
    kept: np.ndarray
    """Index of each clean row in the block."""
    findings: Findings
    """Measures over all rows."""
    reasons: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    """For each bad row, the broken rules and the values that break them, masked."""


def check_rows(
    kind: Kind, header: Header, text: pa.Table, policy: Policy, suite: Suite, block: SourceBlock = DEFAULT
) -> Checked:
    """Validate the rows of a block of text against a suite, and type the good rows."""
    columns = {column.name: read_column(column, header, text, policy, block) for column in kind.columns}
    typed = {column.clean_name: _clean(column, columns[column.name].values) for column in kind.columns}
    times = _times(kind, text, columns, policy, block)
    columns |= {name: replace(columns[name], values=_at_any_time(columns[name].values, times[name])) for name in times}
    columns |= _expected(suite, header, text, block, columns)
    findings = measure(suite.rules, Frame(text.num_rows, columns, header.all))
    typed |= times
    if kind.is_fact:
        if kind.dated_by.type == "date":  # as text: rows of other times are other rows
            typed[TIME] = whole_times(text[kind.dated_by.name].combine_chunks(), block)
        typed[EXTRA] = extra_as_json(header.extra, text)
    typed |= {name: without_cards(typed[name]) for name in free_texts(kind)}
    if block.delivers == "changes":
        typed[DELETED] = pa.array(np.zeros(text.num_rows, bool))
    schema = clean_schema(kind, DELETED in typed)
    broken = [(rule, mask) for rule, mask in findings.broken if rule.quarantines]
    if not broken:
        return Checked(pa.table(typed, schema=schema), np.arange(text.num_rows), findings)
    good = ~np.logical_or.reduce([mask for _, mask in broken])
    existing = pa.array(good)
    # By column: filtering the whole table takes twice as long.
    clean = pa.table({name: values.filter(existing) for name, values in typed.items()}, schema=schema)
    return Checked(clean, np.flatnonzero(good), findings, _reasons(broken, columns))


def _expected(
    suite: Suite, header: Header, text: pa.Table, block: SourceBlock, columns: Mapping[str, Column]
) -> dict[str, Column]:
    """Compute the expressions that rules compare columns with, rounded as these columns are."""
    lists = [rule.kwargs["column_list"] for rule in suite.rules if rule.type == PRODUCT]
    wanted = {names[0]: names[1] for names in lists if names[0] not in columns}
    results = {}
    for expression, target in wanted.items():
        item = parsed(expression)
        if absent := missing_column(item, header.all):
            others = nearest(absent, header.all)
            what = f"total_cost_rule names a column {absent!r} that the file does not have{others}"
            raise DropRejected(what, "", "correct it in the policy")
        scale = columns[target].scale
        values = compute({target: item}, text, header.digits, block, {target: scale}.get)[target]
        results[expression] = Column(last_digits(values), scale)
    return results


def _times(
    kind: Kind, text: pa.Table, columns: Mapping[str, Column], policy: Policy, block: SourceBlock
) -> dict[str, pa.Array]:
    """Return the times of a fact's rows by column; null where only a day is known."""
    times = {}
    for name in (column.name for column in kind.columns if column.type == "time"):
        days, zone = columns[name].values, policy.business_timezone
        written = text[name].combine_chunks() if name in text.column_names else None
        times[name] = pa.nulls(len(days), TIMES) if written is None else local_times(written, days, zone, block)
    return times


def _at_any_time(days: pa.Array, times: pa.Array) -> pa.Array:
    """Return the times, for rules; a day of which no time is known begins at midnight."""
    return pc.coalesce(times, days.cast(TIMES))


def _clean(column: SourceColumn, values: pa.Array) -> pa.Array:
    """Return the values of a clean column; all guests get the same number, so that their lines group together."""
    if not column.guests or not values.null_count:
        return values
    return values.fill_null(TEXT_GUEST if column.type == "text_id" else GUEST)


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
