"""Check changes to a dimension: rows to add or replace, and rows that delete a key."""

from collections.abc import Container
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.errors import DropRejected
from marts.pack import Kind
from marts.policy import Policy
from marts.quality.check import Checked, check_rows
from marts.quality.rules import Suite
from marts.rows.buffers import stripped
from marts.rows.cast import DELETED, clean_schema, read_column
from marts.rows.header import Header
from marts.rows.source_block import SourceBlock

OPERATION = "op"
"""Column that says what a row does."""
_OPERATIONS = dict.fromkeys(("c", "r", "u", "i", "insert", "create", "update", "upsert"), False)
_OPERATIONS |= dict.fromkeys(("d", "delete"), True)
"""Operations by name, in lower case, and whether they delete the row of the key. Without one, a row is an update."""
NO_KEY = "has no key to delete"


def check_block(
    kind: Kind, header: Header, text: pa.Table, policy: Policy, suite: Suite, block: SourceBlock
) -> Checked:
    """Check the rows of a block, in their order. Of a row of changes that deletes, only the key counts.

    Drops of a dimension with versions are changes if they have a column ``op``.

    Raise DropRejected for an unknown operation.
    """
    if kind.versions and is_log(header.all, block):
        block = block.model_copy(update={"delivers": "changes"})
    deletes = _deletes(header, text) if block.delivers == "changes" else np.zeros(text.num_rows, bool)
    if not deletes.any():
        return check_rows(kind, header, text, policy, suite, block)
    others = check_rows(kind, header, text.filter(pa.array(~deletes)), policy, suite, block)
    keys = read_column(kind.column(kind.key or ""), header, text.filter(pa.array(deletes)), policy, block)
    places, own = np.flatnonzero(~deletes), np.flatnonzero(deletes)
    valid = keys.values.is_valid().to_numpy(zero_copy_only=False)
    clean = pa.concat_tables([others.clean, _deletions(kind, keys.values.filter(pa.array(valid)))])
    kept = np.concatenate([places[others.kept], own[valid]])
    order = np.argsort(kept)
    reasons = {int(places[row]): why for row, why in others.reasons.items()}
    reasons |= {row: [(NO_KEY, keys.written_at(at) or "")] for at, row in enumerate(own.tolist()) if not valid[at]}
    moved = tuple(replace(item, rows=places[item.rows]) for item in others.findings.keys)
    return Checked(clean.take(pa.array(order)), kept[order], replace(others.findings, keys=moved), reasons)


def is_log(columns: Container[str], block: SourceBlock) -> bool:
    """Return whether a drop of a dimension holds changes; ``columns`` are all that it has."""
    return block.delivers == "changes" or OPERATION in columns


def _deletions(kind: Kind, keys: pa.Array) -> pa.Table:
    """Return clean rows that delete keys."""
    columns = {kind.key: keys, DELETED: pa.array(np.ones(len(keys), bool))}
    schema = clean_schema(kind, True)
    return pa.table([columns.get(item.name, pa.nulls(len(keys), item.type)) for item in schema], schema=schema)


def _deletes(header: Header, text: pa.Table) -> np.ndarray:
    """Return which rows delete their key."""
    if OPERATION not in header.all:
        return np.zeros(text.num_rows, bool)
    written = pc.utf8_lower(stripped(text[OPERATION].combine_chunks()))
    unknown = [name for name in pc.unique(written).to_pylist() if name is not None and name not in _OPERATIONS]
    if unknown:
        what = f"{OPERATION} has {unknown[0]!r}: known are {', '.join(_OPERATIONS)}"
        raise DropRejected(what, "", "compute op in the [[source]] block, such as CASE WHEN … THEN 'd' ELSE 'u' END")
    deleting = pa.array([name for name, deletes in _OPERATIONS.items() if deletes])
    return np.asarray(pc.is_in(written, deleting).to_numpy(zero_copy_only=False), bool)
