"""Identify deliveries by content, independent of object names, and order them.

The ledger records when each content was first seen and under which name. That is its place in the order: an old drop
that is put again or moved changes nothing.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from jobs.ports.records import DropRecord
from jobs.ports.store import Store, at_once
from jobs.state.catalog import Catalog
from jobs.state.manifest import Delivery, Manifest, name_of
from jobs.state.parquet import read_parquet, read_quarantine
from jobs.steps.blocks import hash_object
from jobs.steps.scan_settings import ScanSettings
from marts.compute.identity import Identities, Identity
from marts.errors import ObjectChanged, ObjectUnreadable
from marts.rows.hashing import hash_rows, mix

Place = tuple[str, str]
"""Time when a content was first seen and the name of its object then, compared by code points."""
ALIKE = "it looks like the same days again"
"""Prefix of the reason for which a drop of lines without ids is held."""
ALIKE_FROM = 20
"""Equal rows from which two drops are the same delivery although their rows have no ids."""
_ROWS_HASH = 3
"""Version of the contents of rows_hash."""
_SEED = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Memory:
    """Contents recorded in the ledger."""

    contents: Mapping[str, str] = field(default_factory=dict)
    """Content by delivery."""
    places: Mapping[tuple[str, str], Place] = field(default_factory=dict)
    """By kind and content, and by kind and delivery."""
    live: frozenset[str] = frozenset()
    """Deliveries that count and their contents."""
    last: Mapping[tuple[str, str, int], str] = field(default_factory=dict)
    """Content by kind, key and size, for objects that existed at the last run."""

    @classmethod
    def of(cls, ledger: Iterable[DropRecord]) -> "Memory":
        """Read drop records. Records of an earlier version have no first_seen: use the time of their object."""
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
        """Return whether the ledger has a place for a delivery or its content."""
        return (delivery.kind, content or delivery.id) in self.places or (delivery.kind, delivery.id) in self.places

    def content(self, delivery: Delivery, catalog: Catalog) -> str:
        """Return the content hash of a delivery that was read before; empty for another."""
        manifest = catalog.get(delivery.id)
        return (manifest.content if manifest else "") or self.contents.get(delivery.id, "")

    def last_of(self, delivery: Delivery) -> str:
        """Return the previous content of the object if it had the same size; empty if it did not exist."""
        return self.last.get((delivery.kind, delivery.key, delivery.size), "")

    def places_of(self, deliveries: Sequence[Delivery], contents: Mapping[str, str]) -> dict[str, Place]:
        """Return the place of each delivery: the recorded one, or else that of the earliest object with its content."""
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
    settings: ScanSettings,
) -> dict[str, str]:
    """Return the hash of the inflated bytes of each delivery, as far as known or needed; empty for the others.

    Drops of a fact of equal size, objects that may have been put again unchanged, and all but the newest drop of a
    dimension may have known contents: they are hashed, unless a scan has hashed or will hash them. A gzip that
    inflates to more than ``max_inflated_bytes`` is not hashed.
    """
    contents = {}
    suspects: list[Delivery] = []
    for kind, result in deliveries.items():
        known = {delivery.id: memory.content(delivery, catalog) for delivery in result}
        contents.update(known)
        unknown = [delivery for delivery in result if not known[delivery.id] and delivery.size]
        if settings.pack.is_fact(kind):
            sizes = Counter(delivery.size for delivery in result)
            suspects += [d for d in unknown if sizes[d.size] > 1 or memory.last_of(d)]
        else:
            suspects += [d for d in unknown if d is not result[-1] or memory.last_of(d)]  # the newest is scanned
    hashes = at_once(lambda delivery: _hash(source, delivery, settings), suspects)
    return contents | dict(zip((delivery.id for delivery in suspects), hashes, strict=True))


def _hash(source: Store, delivery: Delivery, settings: ScanSettings) -> str:
    try:
        unzip = settings.block(delivery.key).format in ("csv", "jsonl")
        hashed = hash_object(source, delivery.version, settings.max_inflated_bytes, unzip)
        return settings.content(delivery.key, hashed)
    except (ObjectChanged, ObjectUnreadable):
        return ""  # the scan reports it


@dataclass(frozen=True)
class SameRows:
    """Drops with the same rows but different bytes."""

    groups: tuple[tuple[str, ...], ...] = ()
    """Groups of deliveries that are treated as one."""
    small: tuple[tuple[str, ...], ...] = ()
    """Groups of deliveries with equal rows, too few to treat them as one."""
    hashed: tuple[Manifest, ...] = ()
    """Scans whose rows were hashed for the comparison, to be recorded in the catalog."""


def find_same_rows(
    state: Store, manifests: Iterable[Manifest], identities: Identities, left: Iterable[str] = ()
) -> SameRows:
    """Compare the rows of drops with equal sums: clean rows as lines, bad rows as text.

    ``manifests`` are scans without repairs; ``left`` is what the ledger has of the rows of withdrawn drops, as JSON.
    """
    recalled = map(Manifest.model_validate_json, left)
    remembered = [
        manifest
        for manifest in recalled
        if (identity := identities.get(manifest.delivery.kind))
        if manifest.rows_hash.startswith(_made_with(identity))
    ]
    removed = {manifest.delivery.id for manifest in remembered}
    groups: list[list[Manifest]] = []
    small: list[list[Manifest]] = []
    hashed: list[Manifest] = []
    for suspects in _with_equal_sums((*manifests, *remembered)):
        by_rows: dict[str, list[Manifest]] = defaultdict(list)
        for manifest in suspects:
            known = _with_rows_hash(state, manifest, identities[manifest.delivery.kind])
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
    """Return what the ledger keeps of a withdrawn drop's rows, as JSON: they may be delivered again as other bytes."""
    kept = {"delivery", "scan", "rules", "content", "sums", "rows_hash", "all_have_ids"}
    return _with_rows_hash(state, manifest, identity).model_dump_json(include=kept, exclude_defaults=True)


def _with_equal_sums(manifests: Iterable[Manifest]) -> Iterator[list[Manifest]]:
    """Yield groups of drops of a fact that may have the same rows and are not known to have the same bytes."""
    by_sums: dict[tuple[str, tuple[int, ...]], list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        if manifest.sums:
            by_sums[manifest.delivery.kind, manifest.sums].append(manifest)
    for suspects in by_sums.values():
        if len({manifest.content or manifest.delivery.id for manifest in suspects}) > 1:
            yield suspects


def _made_with(identity: Identity) -> str:
    """Return the prefix of a rows hash: it depends on the placeholders that are not ids."""
    return f"{name_of(_ROWS_HASH, identity.no_ids)}-"


def _with_rows_hash(state: Store, manifest: Manifest, identity: Identity) -> Manifest:
    """Return a scan with an order-independent hash of its rows, repeated rows included; itself if it has one."""
    if manifest.rows_hash.startswith(_made_with(identity)):
        return manifest
    totals, all_have_ids = np.zeros(2, np.uint64), True
    for month in manifest.months.values():
        for file in month.files:
            lines = read_parquet(state, file.path, identity.schema.names)
            all_have_ids &= not identity.named(lines)["t_id"].null_count
            for start in range(0, lines.num_rows, 1 << 18):
                hashes = hash_rows(pa.table(lines.slice(start, 1 << 18)).combine_chunks())
                totals += np.array([hashes.sum(), mix(hashes, np.full(len(hashes), _SEED)).sum()], np.uint64)
    rows_hash = _made_with(identity) + name_of(manifest.sums, totals.tolist(), _bad_rows(state, manifest))
    return manifest.model_copy(update={"rows_hash": rows_hash, "all_have_ids": all_have_ids})


def _bad_rows(state: Store, manifest: Manifest) -> list[str]:
    """Return the texts of a drop's rows in quarantine, sorted.

    Quotes are removed because programs add them; fields are sorted because columns may be in another order.
    """
    files = (read_quarantine(state, manifest, path, ["drop", "raw"]) for path in manifest.quarantine)
    return sorted(_bare(text) for rows in files for text in rows["raw"].to_pylist())


def _bare(text: str) -> str:
    try:
        fields = next(csv.reader([text.replace("\n", " ")]), [])
    except csv.Error:
        fields = [text]
    return ",".join(sorted(field.replace('"', "").strip() for field in fields))
