"""Ids of transactions that stand for several: the same id with several customers, stores or months."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from jobs.adapters.objects import Store
from jobs.state import Manifest, read_parquet
from marts.calculate import shared_ids
from marts.identity import Identity

_COLUMNS = ["transaction_id", "customer_id", "store_id", "sales_date", "total_cents"]


def check_ids(
    state: Store, manifests: Sequence[Manifest], identity: Identity, limit: int
) -> tuple[int, list[dict[str, Any]]]:
    """Return how many ids of live lines stand for several transactions, and the first of them by their money."""
    count, rows = shared_ids(_blocks(state, manifests, identity), limit)
    return count, rows.to_pylist()


def _blocks(state: Store, manifests: Sequence[Manifest], identity: Identity) -> Iterator[pa.Table]:
    for manifest in manifests:
        for month, lines in manifest.months.items():
            for file in lines.files:
                block = identity.with_ids(read_parquet(state, file.path, _COLUMNS))
                yield block.append_column("month", pa.array([month] * block.num_rows, pa.string()))
