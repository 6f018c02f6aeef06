"""Step 1, plan: list the drops, compare them with the ledger and the state, and say what is to do."""

import re
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

from jobs.adapters.objects import ObjectVersion, Store
from jobs.ledger import DropRecord
from jobs.read import hash_object
from jobs.scan_task import ScanSettings, is_compressed
from jobs.state import Catalog, Delivery, Manifest
from marts.errors import DataError, DropRejected, ObjectChanged, ObjectUnreadable
from marts.records import read_header
from marts.schema import KINDS, SALES

Change = Literal["new", "replaced", "known"]
_THREADS = 16
_PEEK = 64 << 10
_MONTH = re.compile(rb"\b((?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2]))-[0-3][0-9]\b")


@dataclass(frozen=True)
class PlannedDrop:
    """One drop that is there now."""

    delivery: Delivery
    change: Change
    """Against the ledger."""
    manifest: Manifest | None = None
    """What its scan found, if it was scanned before."""
    duplicate_of: str = ""
    """Key of the drop with the same content that counts."""
    rejected: str = ""
    held: str = ""
    """Why nothing of it may count, although it can be read."""
    months: tuple[str, ...] = ()
    """Months it touches; of a drop that was not scanned yet, those seen at its start and end."""

    @property
    def to_scan(self) -> bool:
        return not self.manifest and not self.duplicate_of


@dataclass(frozen=True)
class Plan:
    """What a build would do."""

    drops: tuple[PlannedDrop, ...]
    """All drops: sales in the order of their delivery, of each dimension the newest."""
    vanished: tuple[DropRecord, ...] = ()
    """Drops that were live, and are no longer there."""
    replaced: tuple[DropRecord, ...] = ()
    """Earlier versions of drops that are there now."""
    older_rules: int = 0
    """Drops that were judged by other row rules than today's; --rescan judges them again."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Objects that are no CSV, by kind."""

    @property
    def to_scan(self) -> list[PlannedDrop]:
        return [drop for drop in self.drops if drop.to_scan]


def is_csv(key: str) -> bool:
    """Tell whether an object is a drop by its name."""
    return key.lower().endswith((".csv", ".csv.gz"))


def make_plan(
    source: Store,
    catalog: Catalog,
    ledger: Sequence[DropRecord],
    settings: ScanSettings,
    tables: Mapping[str, Sequence[ObjectVersion]] | None = None,
    rescan: bool = False,
    accepted: Container[str] = (),
    repaired: Mapping[str, Manifest] | None = None,
) -> Plan:
    """Compare what is there with what is known. Reads nothing but names, except to compare equal sizes.

    ``tables`` are snapshots of dimensions that come from a database; they stand in for their drops. ``accepted``
    are deliveries that somebody has released although they would be held, ``repaired`` are drops with rows that
    somebody has repaired, by their scan.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        names = list(KINDS)
        listed = dict(zip(names, pool.map(source.versions, names), strict=True)) | dict(tables or {})
        if not listed[SALES.name]:
            source.require()
            raise DataError(
                "there is no drop under sales/", source.uri, "check --source, and that the drops have arrived"
            )
        deliveries = {
            name: sorted((Delivery.of(name, v) for v in versions if is_csv(v.key)), key=lambda d: d.order)
            for name, versions in listed.items()
        }
        duplicates = _find_duplicates(source, catalog, deliveries[SALES.name], pool)
    known = _by_key(ledger)
    look = _Look(catalog, settings, accepted, repaired or {})
    drops = [
        _planned(delivery, look, known, duplicates, rescan)
        for name in names
        for delivery in (deliveries[name] if name == SALES.name else _newest_usable(deliveries[name], look))
    ]
    # Of a dimension one object is live; the older ones, although still there, are not.
    there = {drop.delivery.id for drop in drops}
    keys = {(name, delivery.key) for name in names for delivery in deliveries[name]}
    gone = [record for record in ledger if record.kind in names and record.state != "withdrawn"]
    gone = [record for record in gone if record.delivery_id not in there]
    return Plan(
        drops=tuple(drops),
        vanished=tuple(record for record in gone if (record.kind, record.object_key) not in keys),
        replaced=tuple(record for record in gone if (record.kind, record.object_key) in keys),
        older_rules=sum(bool(drop.manifest and drop.manifest.rules != look.rules(drop.delivery)) for drop in drops),
        passed_over=Counter({n: sum(not is_csv(v.key) for v in listed[n]) for n in names if listed[n]}),
    )


@dataclass(frozen=True)
class _Look:
    """What is known of drops, and how they are judged."""

    catalog: Catalog
    settings: ScanSettings
    accepted: Container[str]
    repaired: Mapping[str, Manifest]

    def rules(self, delivery: Delivery) -> str:
        return self.settings.rules(delivery.kind)

    def manifest(self, delivery: Delivery) -> Manifest | None:
        found = self.catalog.get(delivery.id, self.rules(delivery))
        return self.repaired.get(found.scan, found) if found else None

    def held(self, manifest: Manifest) -> str:
        """Say why a drop is held, unless somebody has released it."""
        if manifest.rejected or manifest.delivery.id in self.accepted:
            return ""
        return manifest.held_because(self.settings.suites[manifest.delivery.kind], self.settings.policy.max_bad_ratio)


def _newest_usable(deliveries: list[Delivery], look: _Look) -> list[Delivery]:
    """Of a dimension, the newest object holds the full table; one known to be unusable gives way to the one before."""
    taken: list[Delivery] = []
    for delivery in reversed(deliveries):
        taken.append(delivery)
        manifest = look.manifest(delivery)
        if manifest is None or not (manifest.rejected or look.held(manifest)):
            break
    return taken[::-1]


def _planned(
    delivery: Delivery,
    look: _Look,
    known: Mapping[tuple[str, str], Sequence[str]],
    duplicates: Mapping[str, str],
    rescan: bool,
) -> PlannedDrop:
    change = _change(delivery, known)
    manifest = look.manifest(delivery)
    held = look.held(manifest) if manifest else ""
    if manifest and _judge_again(manifest, look, bool(held), rescan or change != "known"):
        manifest, held = None, ""
    if manifest:
        # The time of the object is that of the listing: the same content may have been put again.
        manifest = manifest.model_copy(update={"delivery": delivery})
    return PlannedDrop(
        delivery,
        change,
        manifest,
        duplicate_of=duplicates.get(delivery.id, ""),
        rejected=manifest.rejected if manifest else "",
        held=held,
        months=tuple(manifest.months) if manifest else (),
    )


def _judge_again(manifest: Manifest, look: _Look, held: bool, changed_rules_apply: bool) -> bool:
    """Tell whether a drop that was scanned must be scanned by today's rules.

    Changed rules apply to drops that the target does not know yet, to all if asked for, and to those that did not
    get in by the old ones.
    """
    if manifest.rejected and manifest.limit < look.settings.max_inflated_bytes:
        return True
    left_out = bool(manifest.rejected) or held
    return manifest.rules != look.rules(manifest.delivery) and (changed_rules_apply or left_out)


def _by_key(ledger: Sequence[DropRecord]) -> dict[tuple[str, str], list[str]]:
    """Give the deliveries that the ledger remembers of each object, without those that are gone."""
    known = defaultdict(list)
    for record in ledger:
        if record.state != "withdrawn":
            known[record.kind, record.object_key].append(record.delivery_id)
    return known


def _change(delivery: Delivery, known: Mapping[tuple[str, str], Sequence[str]]) -> Change:
    before = known.get((delivery.kind, delivery.key), ())
    return "known" if delivery.id in before else "replaced" if before else "new"


def _find_duplicates(
    source: Store, catalog: Catalog, deliveries: Sequence[Delivery], pool: ThreadPoolExecutor
) -> dict[str, str]:
    """Find deliveries with the content of an earlier one that counts: delivery id → key of the earlier one.

    Only objects of equal size can be equal, so only those are hashed, unless a scan has hashed them.
    """
    by_size = defaultdict(list)
    for delivery in deliveries:
        if delivery.size:
            by_size[delivery.size].append(delivery)
    suspects = [delivery for same in by_size.values() if len(same) > 1 for delivery in same]
    contents = dict(
        zip([d.id for d in suspects], pool.map(lambda d: _content(source, catalog, d), suspects), strict=True)
    )
    first: dict[tuple[str, bool], Delivery] = {}
    duplicates: dict[str, str] = {}
    for delivery in suspects:
        manifest = catalog.get(delivery.id)
        if not contents[delivery.id] or (manifest and manifest.rejected):
            continue
        content = (contents[delivery.id], is_compressed(delivery.key))
        if first.setdefault(content, delivery) is not delivery:
            duplicates[delivery.id] = first[content].key
    return duplicates


def _content(source: Store, catalog: Catalog, delivery: Delivery) -> str:
    manifest = catalog.get(delivery.id)
    if manifest and manifest.content:
        return manifest.content
    try:
        return hash_object(source, delivery.version)
    except (ObjectChanged, ObjectUnreadable):
        return ""  # the scan will meet it too


def peek(source: Store, plan: Plan, delimiter: str) -> Plan:
    """Look at the start and the end of drops that were not scanned yet: their months, and whether they can be read."""
    with ThreadPoolExecutor(_THREADS) as pool:
        drops = pool.map(lambda drop: _peek(source, drop, delimiter) if drop.to_scan else drop, plan.drops)
        return Plan(tuple(drops), plan.vanished, plan.replaced, plan.older_rules, plan.passed_over)


def _peek(source: Store, drop: PlannedDrop, delimiter: str) -> PlannedDrop:
    version = drop.delivery.version
    if not version.size:
        return _with(drop, rejected="the object is empty")
    try:
        start = source.read(version, 0, min(_PEEK, version.size))
        if is_compressed(version.key):
            return drop if start.startswith(b"\x1f\x8b") else _with(drop, rejected="it is no gzip")
        read_header(start.partition(b"\n")[0], KINDS[drop.delivery.kind], delimiter)
        end = source.read(version, max(version.size - _PEEK, 0), version.size)
    except DropRejected as error:
        return _with(drop, rejected=error.what)
    except ObjectChanged:
        return drop
    months = {found.decode() for found in _MONTH.findall(start + end)} if drop.delivery.kind == SALES.name else set()
    return _with(drop, months=tuple(sorted(months)))


def _with(drop: PlannedDrop, rejected: str = "", months: tuple[str, ...] = ()) -> PlannedDrop:
    return replace(drop, rejected=rejected, months=months)


def months_that_change(plan: Plan, catalog: Catalog) -> list[str]:
    """Name the months that a build would roll up anew, as far as they are known."""
    months = {month for drop in plan.drops if drop.change != "known" and not drop.rejected for month in drop.months}
    for record in (*plan.vanished, *plan.replaced):
        manifest = catalog.get(record.delivery_id)
        months.update(manifest.months if manifest else ())
    return sorted(months)
