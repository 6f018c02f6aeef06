"""Find transaction ids that several transactions share: one id with several owners or months."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.ports.store import Store
from jobs.state.manifest import Manifest
from jobs.steps.lines import of_fact, read_all_marked
from marts.compute.engine import shared_ids
from marts.compute.identity import Identities, Identity


@dataclass(frozen=True)
class SharedIds:
    """Ids of a fact that several transactions share."""

    identity: Identity
    count: int
    largest: list[dict[str, Any]]
    """Some of them, the largest by amount first, with the values that they are live under."""


def check_ids(state: Store, manifests: Sequence[Manifest], identities: Identities, limit: int) -> list[SharedIds]:
    """Return the counted ids that several transactions share, and the ``limit`` largest by amount, of each fact.

    ``manifests``: those of the live drops, in order of delivery. A fact without ids or owners is left out.
    """
    results = []
    for identity in identities.values():
        if identity.fact.id and identity.owners:
            blocks = _blocks(state, of_fact(manifests, identity), identity)
            count, rows = shared_ids(blocks, identity.owners, limit)
            results.append(SharedIds(identity, count, [{identity.fact.id: row.pop("t_id"), **row} for row in rows]))
    return results


def _blocks(state: Store, manifests: Sequence[Manifest], identity: Identity) -> Iterator[pa.Table]:
    """Yield the lines with an id that were neither repeated nor replaced, in blocks for ``shared_ids``."""
    months = sorted({month for manifest in manifests for month in manifest.months})
    together = [{month} for month in months] if identity.within_month else [set(months)]
    for some in together:  # no transaction spans two of these groups
        for read in read_all_marked(state, manifests, some, identity):
            dropped = read.marks.filter(pc.is_in(read.marks["mark"], pa.array(["repeated", "replaced"])))["position"]
            counts = pc.invert(pc.is_in(read.lines["position"], dropped))
            lines = read.lines.filter(pc.and_(read.lines["t_id"].is_valid(), counts))
            own = lines.select(["t_id", *identity.owners])
            control = identity.fact.control
            cents = lines[control] if control else pa.array([0] * len(lines), pa.int64())
            months = pc.strftime(lines[identity.fact.at], "%Y-%m")
            yield own.append_column("month", months).append_column("cents", cents)
