"""Replaced lines and the lines that replaced them, for `marts history --replaced`."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.ports.store import Store
from jobs.state.manifest import Manifest
from jobs.steps.lines import MarkedLines, read_all_marked
from marts.compute.identity import Identity
from marts.errors import UsageError


@dataclass(frozen=True)
class ReplacedLine:
    """A line of a transaction that was delivered again."""

    transaction_id: str
    customer_id: int
    store_id: int
    sales_date: str
    product_name: str
    quantity: Decimal
    total_cost: Decimal
    line_no: int | None
    drop: str
    fate: str
    """replaced, repeated, or counts."""


def replaced_lines(state: Store, manifests: Sequence[Manifest], key: str, identity: Identity) -> list[ReplacedLine]:
    """Return the lines of each transaction in which a drop replaced lines, or had lines replaced.

    ``manifests``: those of the live drops, in order of delivery. Raise UsageError for a drop that is not live.
    """
    own = [number for number, manifest in enumerate(manifests) if manifest.delivery.key == key]
    if not own:
        raise UsageError("not a live sales drop", key, "`marts history` lists the drops that runs have read")
    wanted = {month for number in own for month in manifests[number].months}
    months = {month for manifest in manifests for month in manifest.months}
    if identity.within_month:
        months &= wanted
    results = [item for read in read_all_marked(state, manifests, months, identity) for item in _concerning(read, own)]
    keys = [manifest.delivery.key for manifest in manifests]
    order = sorted(results, key=lambda row: (row["transaction_id"], row["basket"], row["delivery"], row["position"]))
    return [_line(row, keys) for row in order]


def _concerning(read: MarkedLines, own: Sequence[int]) -> list[dict[str, Any]]:
    """Return the lines of transactions that concern one of some drops."""
    whole, marks = read.suspects, read.marks
    replaced = marks.filter(pc.equal(marks["mark"], "replaced"))
    # Its own lines were replaced, or it has lines of a transaction in which an earlier drop's were.
    with_mine = pc.unique(marks.filter(pc.is_in(marks["delivery"], pa.array(own, marks["delivery"].type)))["basket"])
    baskets = pc.unique(replaced.filter(pc.is_in(replaced["basket"], with_mine))["basket"])
    displayed = marks.filter(pc.is_in(marks["basket"], baskets)).to_pylist()  # a line may have several marks
    left_out = {row["position"]: row["mark"] for row in displayed if row["mark"] in ("replaced", "repeated")}
    fates = {row["position"]: (row["basket"], left_out.get(row["position"], "counts")) for row in displayed}
    result = whole.filter(pc.is_in(whole["position"], pa.array(list(fates), pa.int64()))).to_pylist()
    return [{**row, "basket": fates[row["position"]][0], "fate": fates[row["position"]][1]} for row in result]


def _line(row: dict[str, Any], keys: Sequence[str]) -> ReplacedLine:
    return ReplacedLine(
        transaction_id=row["transaction_id"],
        customer_id=row["customer_id"],
        store_id=row["store_id"],
        sales_date=row["sales_date"].isoformat(),
        product_name=row["product_name"],
        quantity=(Decimal(row["quantity_ten_thousandths"]) / 10_000).normalize(),
        total_cost=Decimal(row["total_cents"]).scaleb(-2),
        line_no=row["line_no"],
        drop=keys[row["delivery"]],
        fate=row["fate"],
    )
