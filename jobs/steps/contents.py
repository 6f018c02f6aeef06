"""What a delivery is: its content, whatever the object is called, and its place in the order of deliveries.

The ledger remembers when each content was first seen, and under what name. That is its place: an old drop that is put
again, or moved, changes nothing.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from jobs.ports.records import DropRecord
from jobs.ports.store import Store
from jobs.state.catalog import Catalog
from jobs.state.manifest import Delivery, Manifest, name_of
from jobs.state.parquet import read_parquet, read_quarantine
from jobs.steps.blocks import hash_object
from marts.compute.identity import Identity
from marts.errors import ObjectChanged, ObjectUnreadable
from marts.rows.cast import clean_schema
from marts.rows.hashing import hash_rows, mix
from marts.schema import SALES

Place = tuple[str, str]
"""When a content was first seen, and the name of its object then, compared by code points."""
ALIKE = "it looks like the same days again"
"""Begins the reason for which a drop of lines without ids is held."""
ALIKE_FROM = 20
"""Drops of so many equal rows are the same delivery, although their rows have no ids."""
_ROWS_HASH = 3
"""Version of what rows_hash holds."""
_SEED = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Memory:
    """What the ledger remembers of contents."""

    contents: Mapping[str, str] = field(default_factory=dict)
    """By delivery."""
    places: Mapping[tuple[str, str], Place] = field(default_factory=dict)
    """By kind and content, or delivery where the content is not known."""
    live: frozenset[str] = frozenset()
    """Deliveries that count, and their contents."""
    last: Mapping[tuple[str, str, int], str] = field(default_factory=dict)
    """Content by kind, key and size, of deliveries that were there when the last run looked."""

    @classmethod
    def of(cls, ledger: Iterable[DropRecord]) -> "Memory":
        """Read the records of drops; those that an earlier version wrote have the time of their object."""
        records = list(ledger)
        places: dict[tuple[str, str], Place] = {}
        for record in records:
            place = (record.first_seen or record.modified, record.first_key or record.object_key)
            for name in {record.content, record.delivery_id} - {""}:
                key = (record.kind, name)
                places[key] = min(places.get(key, place), place)
        contents = {record.delivery_id: record.content for record in records if record.content}
        live = (name for r in records if r.state == "live" for name in (r.delivery_id, r.content) if name)
        last = {(r.kind, r.object_key, r.size): r.content for r in records if r.state != "withdrawn" and r.content}
        return cls(contents, places, frozenset(live), last)

    def knows(self, delivery: Delivery, content: str) -> bool:
        """Return whether the ledger has a place for a delivery, or for its content."""
        return (delivery.kind, content or delivery.id) in self.places or (delivery.kind, delivery.id) in self.places

    def content(self, delivery: Delivery, catalog: Catalog) -> str:
        """Return the hash of the bytes of a delivery that was read before; nothing of another."""
        manifest = catalog.get(delivery.id)
        return (manifest.content if manifest else "") or self.contents.get(delivery.id, "")

    def last_of(self, delivery: Delivery) -> str:
        """Return the content that the object had before if it has the same size; nothing for one that was not there."""
        return self.last.get((delivery.kind, delivery.key, delivery.size), "")

    def places_of(self, deliveries: Sequence[Delivery], contents: Mapping[str, str]) -> dict[str, Place]:
        """Return the place of each delivery: as remembered, or else the earliest object with its content."""
        first: dict[tuple[str, str], Place] = {}
        for delivery in deliveries:
            key = (delivery.kind, contents.get(delivery.id) or delivery.id)
            first[key] = min(first.get(key, delivery.order), delivery.order)
        results = {}
        for delivery in deliveries:
            key = (delivery.kind, contents.get(delivery.id) or delivery.id)
            results[delivery.id] = self.places.get(key) or self.places.get((delivery.kind, delivery.id)) or first[key]
        return results


def read_contents(
    source: Store,
    catalog: Catalog,
    memory: Memory,
    deliveries: Mapping[str, Sequence[Delivery]],
    pool: ThreadPoolExecutor,
    most: int,
) -> dict[str, str]:
    """Return the hash of the bytes of deliveries, inflated, as far as it is known or must be: nothing of the others.

    Sales drops of equal size may be the same, an object may have been put again as it was, and of a dimension an older
    drop may have been: those are hashed, unless a scan has hashed them, or will. A gzip that inflates to more than
    ``most`` bytes is not.
    """
    contents = {}
    suspects: list[Delivery] = []
    for kind, result in deliveries.items():
        known = {delivery.id: memory.content(delivery, catalog) for delivery in result}
        contents.update(known)
        unknown = [delivery for delivery in result if not known[delivery.id] and delivery.size]
        if kind == SALES.name:
            sizes = Counter(delivery.size for delivery in result)
            suspects += [d for d in unknown if sizes[d.size] > 1 or memory.last_of(d)]
        else:
            suspects += [d for d in unknown if d is not result[-1] or memory.last_of(d)]  # the newest is scanned
    contents.update(zip([d.id for d in suspects], pool.map(lambda d: _hash(source, d, most), suspects), strict=True))
    return contents


def _hash(source: Store, delivery: Delivery, most: int) -> str:
    try:
        return hash_object(source, delivery.version, most)
    except (ObjectChanged, ObjectUnreadable):
        return ""  # the scan will meet it too


@dataclass(frozen=True)
class SameRows:
    """Drops with the same rows under other bytes."""

    groups: tuple[tuple[str, ...], ...] = ()
    """Deliveries that are one."""
    small: tuple[tuple[str, ...], ...] = ()
    """Deliveries that have equal rows, too few to be sure that they are one."""
    hashed: tuple[Manifest, ...] = ()
    """Scans whose rows were hashed for it, to be remembered in the catalog."""


def find_same_rows(
    state: Store, manifests: Iterable[Manifest], identity: Identity, left: Iterable[str] = ()
) -> SameRows:
    """Compare the rows of drops whose sums are the same: clean ones as lines, bad ones as text.

    ``manifests`` are scans, without repairs; ``left`` is what the ledger remembers of drops that were taken back.
    """
    recalled = map(Manifest.model_validate_json, left)
    remembered = [manifest for manifest in recalled if manifest.rows_hash.startswith(_made_with(identity))]
    removed = {manifest.delivery.id for manifest in remembered}
    groups: list[list[Manifest]] = []
    small: list[list[Manifest]] = []
    hashed: list[Manifest] = []
    for suspects in _with_equal_sums((*manifests, *remembered)):
        by_rows: dict[str, list[Manifest]] = defaultdict(list)
        for manifest in suspects:
            known = _with_rows_hash(state, manifest, identity)
            if known is not manifest:
                hashed.append(known)
            by_rows[known.rows_hash].append(known)
        for same in by_rows.values():
            here = [manifest for manifest in same if manifest.delivery.id not in removed]
            if same[0].sums[0] >= ALIKE_FROM or same[0].all_have_ids:
                groups.append(same)
            elif len(here) > 1:
                small.append(here)
    return SameRows(
        tuple(tuple(manifest.delivery.id for manifest in same) for same in groups if len(same) > 1),
        tuple(tuple(manifest.delivery.id for manifest in same) for same in small),
        tuple(hashed),
    )


def remembered_rows(state: Store, manifest: Manifest, identity: Identity) -> str:
    """Return what the ledger keeps of the rows of a drop that is taken back: they may come under other bytes."""
    kept = {"delivery", "scan", "rules", "content", "sums", "rows_hash", "all_have_ids"}
    return _with_rows_hash(state, manifest, identity).model_dump_json(include=kept, exclude_defaults=True)


def _with_equal_sums(manifests: Iterable[Manifest]) -> Iterator[list[Manifest]]:
    """Return drops that may have the same rows, and are not known to have the same bytes."""
    by_sums: dict[tuple[int, ...], list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        if manifest.sums:
            by_sums[manifest.sums].append(manifest)
    for suspects in by_sums.values():
        if len({manifest.content or manifest.delivery.id for manifest in suspects}) > 1:
            yield suspects


def _made_with(identity: Identity) -> str:
    """Return what a hash of rows begins with: it depends on the words that are no ids."""
    return f"{name_of(_ROWS_HASH, identity.no_ids)}-"


def _with_rows_hash(state: Store, manifest: Manifest, identity: Identity) -> Manifest:
    """Return a scan with a hash of its rows without their order, each as often as it is there; itself if it has one."""
    if manifest.rows_hash.startswith(_made_with(identity)):
        return manifest
    totals, all_have_ids = np.zeros(2, np.uint64), True
    for month in manifest.months.values():
        for file in month.files:
            lines = read_parquet(state, file.path, clean_schema(SALES).names)
            all_have_ids &= not identity.named(lines)["transaction_id"].null_count
            for start in range(0, lines.num_rows, 1 << 18):
                hashes = hash_rows(pa.table(lines.slice(start, 1 << 18)).combine_chunks())
                totals += np.array([hashes.sum(), mix(hashes, np.full(len(hashes), _SEED)).sum()], np.uint64)
    rows_hash = _made_with(identity) + name_of(manifest.sums, totals.tolist(), _bad_rows(state, manifest))
    return manifest.model_copy(update={"rows_hash": rows_hash, "all_have_ids": all_have_ids})


def _bad_rows(state: Store, manifest: Manifest) -> list[str]:
    """Return the texts of the rows of a drop that are in quarantine, in order.

    Without quotes, which programs add, and with their fields in order, for columns may stand in another one.
    """
    files = (read_quarantine(state, manifest, path, ["drop", "raw"]) for path in manifest.quarantine)
    return sorted(_bare(text) for rows in files for text in rows["raw"].to_pylist())


def _bare(text: str) -> str:
    try:
        fields = next(csv.reader([text.replace("\n", " ")]), [])
    except csv.Error:
        fields = [text]
    return ",".join(sorted(field.replace('"', "").strip() for field in fields))
