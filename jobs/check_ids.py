"""Ids of transactions that stand for several: the same id with several customers, stores or months."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.adapters.objects import Store
from jobs.lines import files_of, parts_for, read_lines, read_suspects
from jobs.state import Manifest
from marts.calculate import marked, shared_ids
from marts.identity import Identity, suspects

_COLUMNS = ["transaction_id", "customer_id", "store_id", "total_cents"]
_PART_LINES = 1_000_000


def check_ids(
    state: Store, manifests: Sequence[Manifest], identity: Identity, limit: int
) -> tuple[int, list[dict[str, Any]]]:
    """Return how many ids of lines that count stand for several transactions, and the first of them by their money.

    ``manifests``: of the live drops, in the order of delivery.
    """
    count, rows = shared_ids(_blocks(state, manifests, identity), limit)
    return count, rows.to_pylist()


def _blocks(state: Store, manifests: Sequence[Manifest], identity: Identity) -> Iterator[pa.Table]:
    """Return the lines without those that were repeated or replaced: blocks as ``shared_ids`` takes them."""
    months = {month for manifest in manifests for month in manifest.months}
    if not identity.within_month:
        yield from _counting(state, manifests, months, identity)
        return
    for month in sorted(months):  # no transaction is in two of them
        yield from _counting(state, manifests, {month}, identity)


def _counting(state: Store, manifests: Sequence[Manifest], months: set[str], identity: Identity) -> Iterator[pa.Table]:
    files = files_of(manifests, months)
    parts = parts_for(sum(m.months[month].rows for m in manifests for month in months & set(m.months)), _PART_LINES)
    for part in range(parts):
        lines, rows = read_lines(state, files, part, parts, identity)
        places = np.flatnonzero(suspects(lines) & lines["transaction_id"].is_valid().to_numpy())
        marks = marked(read_suspects(state, files, lines, rows, places), identity)
        dropped = marks.filter(pc.is_in(marks["mark"], pa.array(["repeated", "replaced"])))["position"]
        lines = lines.filter(
            pc.and_(lines["transaction_id"].is_valid(), pc.invert(pc.is_in(lines["position"], dropped)))
        )
        yield lines.select(_COLUMNS).append_column("month", pc.strftime(lines["sales_date"], "%Y-%m"))
