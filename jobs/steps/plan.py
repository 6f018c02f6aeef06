"""Step 1, plan: list the drops, compare them with the ledger and the state, and decide what to scan."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.ports.records import DropRecord
from jobs.ports.store import ObjectVersion, Store
from jobs.state.catalog import Catalog
from jobs.state.manifest import Delivery, Manifest
from jobs.steps.contents import ALIKE, Memory, Place, SameRows, find_same_rows, read_contents
from jobs.steps.histories import DATE, day_of
from jobs.steps.listing import list_source, unread_format
from jobs.steps.planned import DropChange, Gone, Plan, PlannedDrop
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.series import newest_usable, without_unread
from jobs.steps.withdrawals import counts_on
from marts.compute.identity import Identities
from marts.errors import DataError, UsageError
from marts.pack import Kind, Pack
from marts.quality.changes import is_log
from marts.quality.rule_types import PRODUCT, UNIQUE
from marts.rows.diagnosis import advice, block_hint
from marts.rows.source_block import SourceBlock


def make_plan(
    source: Store,
    catalog: Catalog,
    ledger: Sequence[DropRecord],
    settings: ScanSettings,
    tables: Mapping[str, Sequence[ObjectVersion]] | None = None,
    rescan: bool = False,
    accepted: Container[str] = (),
    repaired: Mapping[str, Manifest] | None = None,
    refused: Container[str] = (),
) -> Plan:
    """Compare the listed objects with the ledger and the state. Read only names, except where contents may be equal.

    ``tables`` are snapshots of dimensions from a database; they replace the drops of those dimensions. ``accepted``
    contains deliveries and contents that were released although they would be held for their rows, ``repaired`` the
    manifests of repaired drops by scan, ``refused`` the deliveries that still count without their objects.
    """
    memory = Memory.of(ledger)
    pack = settings.pack
    _require_own(pack, ledger)
    listing = list_source(source, pack, settings.blocks)
    live = [record for record in ledger if record.state == "live" and record.kind in pack.kinds]
    needed = pack.facts or pack.dimensions
    if not any(listing.has(kind.name) for kind in needed) and not any(r.kind in map(_name, needed) for r in live):
        source.require()
        names = " or ".join(f"{kind.name}/" for kind in needed)
        raise DataError(f"no drop under {names}", source.uri, "check --source, and whether the drops have arrived")
    deliveries = {
        name: sorted((Delivery.of(name, version) for version in versions), key=lambda d: d.order)
        for name, versions in ({**listing.drops, **(tables or {})}).items()
    }
    contents = read_contents(source, catalog, memory, deliveries, settings)
    places = memory.places_of([delivery for result in deliveries.values() for delivery in result], contents)
    known = _by_key(ledger, refused)
    look = _Look(catalog, settings, accepted, repaired or {}, refused)

    def planned(delivery: Delivery) -> PlannedDrop:
        content = contents[delivery.id]
        change = _change(delivery, known, again=bool(content) and content == memory.last_of(delivery))
        return _planned(delivery, look, change, rescan, places[delivery.id], content)

    removed = _vanished(live, deliveries, look)
    _require_one_order(settings, deliveries)
    drops: list[PlannedDrop] = []
    for kind in (*pack.facts, *pack.dimensions):
        own = _in_order([*map(planned, deliveries[kind.name]), *(drop for drop in removed if _of(drop) == kind.name)])
        if not kind.is_fact:
            drops += own if kind.versions else newest_usable(own)
            continue
        drops += without_unread(_without_duplicates(own, memory, look), memory.live)
        drops += [_unread(version, kind, known) for version in listing.others[kind.name] if unread_format(version.key)]
    left = {drop.delivery.id for drop in drops}
    of_facts = [delivery for fact in pack.facts for delivery in deliveries[fact.name]]
    return Plan(
        drops=tuple(drops),
        pack=pack,
        withdrawn=tuple(
            r for r in ledger if r.kind in pack.kinds and r.state != "withdrawn" and r.delivery_id not in left
        ),
        older_rules=sum(_is_older(drop, look) and not drop.gone for drop in drops),
        older_gone=sum(_is_older(drop, look) and drop.gone == "vanished" for drop in drops),
        passed_over=Counter({name: _passed_over(pack, name, versions) for name, versions in listing.others.items()}),
        no_data=listing.no_data,
        unremembered=0 if ledger else len(of_facts),
        forgotten=0 if ledger else _forgotten(catalog, pack, of_facts),
    )


def _require_own(pack: Pack, ledger: Iterable[DropRecord]) -> None:
    """Raise UsageError if drops of another pack are live in the target: its totals and rollbacks are of one pack."""
    if others := sorted({record.kind for record in ledger if record.state == "live"} - set(pack.kinds)):
        raise UsageError(
            f"the target holds drops of {', '.join(others)}, which the pack {pack.name!r} does not have",
            "pack",
            "set pack as the builds before did, or give this pack a target and a state of its own",
        )


def _require_one_order(settings: ScanSettings, deliveries: Mapping[str, Sequence[Delivery]]) -> None:
    """Raise UsageError if drops of a kind are ordered by name, and others of it by time."""
    for kind, own in deliveries.items():
        orders = {settings.block(delivery.key).order for delivery in own}
        if "name" in orders and len(orders) > 1:
            listed = ", ".join(map(repr, sorted(orders)))
            hint = "write blocks in which all drops of the kind have the same order"
            raise UsageError(f"drops are ordered in ways that cannot be compared: {listed}", f"{kind}/", hint)


def _forgotten(catalog: Catalog, pack: Pack, deliveries: Iterable[Delivery]) -> int:
    """Count the contents of drops of facts in the state of which the source has no version."""
    keys = {delivery.key for delivery in deliveries}
    scans = [scan for scan in catalog.everything() if pack.is_fact(scan.delivery.kind) and scan.clean]
    listed = {scan.content or scan.delivery.id for scan in scans if scan.delivery.key in keys}
    return len({scan.content or scan.delivery.id for scan in scans} - listed)


def _is_older(drop: PlannedDrop, look: "_Look") -> bool:
    """Return whether a drop was judged by rules other than the current ones."""
    return bool(drop.manifest and drop.manifest.rules != look.rules(drop.delivery))


def _passed_over(pack: Pack, kind: str, versions: Iterable[ObjectVersion]) -> int:
    """Count objects that are not drops, except those that are reported by name."""
    return sum(not (pack.is_fact(kind) and unread_format(v.key)) for v in versions)


def _of(drop: PlannedDrop) -> str:
    return drop.delivery.kind


def _name(kind: Kind) -> str:
    return kind.name


def _in_order(drops: Iterable[PlannedDrop]) -> list[PlannedDrop]:
    return sorted(drops, key=lambda drop: drop.rank)


def _unread(version: ObjectVersion, fact: Kind, known: Mapping[tuple[str, str], Sequence[str]]) -> PlannedDrop:
    """Return an object of an unsupported format as a rejected drop, so that it is reported once."""
    delivery = Delivery.of(fact.name, version)
    ways = "deliver it as .csv or .csv.gz, match it in a [[source]] block if it is text, or rename it to begin with _"
    why = f"{unread_format(version.key)}; {ways}"
    return PlannedDrop(delivery, _change(delivery, known), delivery.order, rejected=why, of=fact)


def _vanished(
    live: Sequence[DropRecord], deliveries: Mapping[str, Sequence[Delivery]], look: "_Look"
) -> list[PlannedDrop]:
    """Return the live drops of the ledger whose object was removed, with their manifests from the state."""
    existing = {delivery.id for result in deliveries.values() for delivery in result}
    keys = {(name, delivery.key) for name, result in deliveries.items() for delivery in result}
    drops = []
    for record in live:
        if record.delivery_id in existing:
            continue
        delivery = Delivery(
            kind=record.kind, key=record.object_key, etag=record.etag, size=record.size, modified=record.modified
        )
        manifest = look.manifest(delivery)
        place = (record.first_seen or record.modified, record.first_key or record.object_key)
        replaced = (record.kind, record.object_key) in keys and not counts_on(record, look.refused)
        how: Gone = "replaced" if replaced else "vanished"
        months = tuple(manifest.months) if manifest else ()
        content = record.content or (manifest.content if manifest else "")
        block = look.settings.block(delivery.key)
        drops.append(
            PlannedDrop(
                delivery,
                "known",
                place,
                manifest,
                content,
                months=months,
                gone=how,
                record=record,
                block=block,
                of=look.settings.pack.kinds[record.kind],
            )
        )
    return drops


def _without_duplicates(drops: Sequence[PlannedDrop], memory: Memory, look: "_Look") -> list[PlannedDrop]:
    """Choose which of the drops with the same content counts: one that counted before, or else the first.

    Content that was rejected is rejected again where it is read in the same way.
    """

    def known(drop: PlannedDrop) -> tuple[str, str]:
        return drop.content, look.rules(drop.delivery)

    refused = {known(drop): drop.rejected for drop in drops if drop.content and drop.rejected and drop.manifest}
    drops = [replace(d, rejected=refused[known(d)]) if d.to_scan and known(d) in refused else d for d in drops]
    by_content: dict[str, list[PlannedDrop]] = defaultdict(list)
    for drop in drops:
        if drop.content and not drop.rejected:
            by_content[drop.content].append(drop)
    return _marked(drops, [[drop.delivery.id for drop in same] for same in by_content.values()], memory)


def _marked(drops: Sequence[PlannedDrop], groups: Iterable[Sequence[str]], memory: Memory) -> list[PlannedDrop]:
    """Mark all drops of each group but one as duplicates of it; that one gets the earliest place of the group.

    A group may contain deliveries that were withdrawn: only their place matters.
    """
    by_id = {drop.delivery.id: drop for drop in drops}
    for ids in groups:
        same = [by_id[name] for name in ids if name in by_id and not by_id[name].duplicate_of]
        if not same:
            continue
        earlier = [memory.places[same[0].delivery.kind, name] for name in ids if name not in by_id]
        if len(same) + len(earlier) < 2:
            continue
        # A place is set once: the time of another object does not change a place in the ledger.
        known = [drop.place for drop in same if memory.knows(drop.delivery, drop.content)] + earlier
        first = min(same, key=lambda d: (bool(d.gone), d.delivery.id not in memory.live, d.rank))
        place = min(known or [drop.place for drop in same])
        for drop in same:
            by_id[drop.delivery.id] = replace(drop, duplicate_of=first.delivery.key, twin=first.manifest, place=place)
        by_id[first.delivery.id] = replace(first, place=place)
    return [by_id[drop.delivery.id] for drop in drops]


def with_recorded_holds(plan: Plan, ledger: Iterable[DropRecord], accepted: Container[str]) -> Plan:
    """Return a plan that holds the drops that the last run held after comparing their lines.

    ``accepted`` contains the deliveries that were released since.
    """
    held = {
        record.delivery_id: record.reason
        for record in ledger
        if record.state == "held" and record.reason.startswith(ALIKE) and record.delivery_id not in accepted
    }
    drops = (replace(d, held=held[d.delivery.id]) if d.delivery.id in held and d.manifest else d for d in plan.drops)
    return replace(plan, drops=tuple(drops))


def same_rows_of(
    state: Store, plan: Plan, catalog: Catalog, ledger: Iterable[DropRecord], identities: Identities
) -> SameRows:
    """Compare the rows of a plan's drops of facts that may count, as delivered, without repairs.

    Rows of withdrawn drops are compared too, as recorded in the ledger: they give rows a place.
    """
    drops = (drop for drop in plan.drops if drop.is_fact and not (drop.duplicate_of or drop.rejected))
    manifests = [as_scanned(drop.manifest, catalog) for drop in drops if drop.manifest and not drop.held]
    planned = {drop.delivery.id for drop in plan.drops}
    left = [
        r.delivered_rows for r in ledger if r.state == "withdrawn" and r.delivered_rows and r.delivery_id not in planned
    ]
    return find_same_rows(state, manifests, identities, left)


def as_scanned(manifest: Manifest, catalog: Catalog) -> Manifest:
    """Return the scan of a drop that may have been repaired since."""
    scan = catalog.get(manifest.delivery.id, manifest.rules) if manifest.repaired or manifest.overruled else None
    return scan or manifest


def with_same_rows(plan: Plan, same: SameRows, ledger: Iterable[DropRecord]) -> Plan:
    """Return a plan in which drops of a fact with the same rows but different bytes are one."""
    memory = Memory.of(ledger)
    marked = _in_order(_marked([drop for drop in plan.drops if drop.is_fact], same.groups, memory))
    return replace(plan, drops=(*marked, *(drop for drop in plan.drops if not drop.is_fact)), small_alike=same.small)


def with_emptied_held(plan: Plan, accepted: Container[tuple[str, str]]) -> Plan:
    """Return a plan that holds a new version of a drop of a fact without rows if the version before has clean ones.

    Most often its writer failed. ``accepted`` contains released deliveries, each with the reason of the hold.
    """
    replaced = (d for d in plan.gone("replaced") if d.is_fact and not d.duplicate_of)
    before = {drop.delivery.key: drop.record for drop in replaced if drop.record and drop.record.clean}

    def held(drop: PlannedDrop) -> PlannedDrop:
        old = before.get(drop.delivery.key) if drop.is_fact and not drop.gone else None
        rows = drop.manifest or drop.twin
        if old is None or rows is None or rows.rows_read or drop.rejected:
            return drop
        why = f"it has no rows, and the version before, of {old.modified[:19]}, has {old.clean:,} clean ones"
        if (drop.delivery.id, why) in accepted:  # accepted for this previous version only
            return drop
        manifest = rows.model_copy(update={"delivery": drop.delivery})
        return replace(drop, manifest=manifest, duplicate_of="", twin=None, held=why)

    return replace(plan, drops=tuple(map(held, plan.drops))) if before else plan


@dataclass(frozen=True)
class _Look:
    """Known results of drops, and the settings that judge them."""

    catalog: Catalog
    settings: ScanSettings
    accepted: Container[str]
    repaired: Mapping[str, Manifest]
    refused: Container[str]
    """Deliveries that still count although their objects were removed."""

    def rules(self, delivery: Delivery) -> str:
        return self.settings.rules(delivery.kind, delivery.key)

    def manifest(self, delivery: Delivery) -> Manifest | None:
        result = self.catalog.get(delivery.id, self.rules(delivery))
        return self.repaired.get(result.scan, result) if result else None

    def held(self, manifest: Manifest) -> str:
        """Return why a drop is held; empty if it is not or was released."""
        if manifest.rejected or manifest.delivery.id in self.accepted or manifest.content in self.accepted:
            return ""
        if manifest.foreign:
            return self._other_encoding(manifest)
        kind, block = self.settings.pack.kinds[manifest.delivery.kind], self.settings.block(manifest.delivery.key)
        if kind.versions and not manifest.rows_read and not is_log(manifest.measured.columns, block):
            return "it has no rows: all entities would end"
        policy, suite = self.settings.policy, self.settings.suites[manifest.delivery.kind]
        why = manifest.held_because(suite, policy.max_bad_ratio, policy.max_bad_rows)
        return f"{why}{self._way_out(manifest)}" if why else ""

    def _other_encoding(self, manifest: Manifest) -> str:
        """Return that a drop without any character of UTF-8 has letters of another encoding, and the setting."""
        rows = f"{manifest.foreign:,} rows are" if manifest.foreign > 1 else "1 row is"
        key = manifest.delivery.key
        hint = block_hint(key, self.settings.block(key), 'encoding = "cp1252"')
        return f"{rows} not UTF-8 text, but may be in cp1252; {hint}"

    def _way_out(self, manifest: Manifest) -> str:
        """Return the settings with which the bad rows of a drop may be read; empty if none is known."""
        key, suite = manifest.delivery.key, self.settings.suites[manifest.delivery.kind]
        totals = {rule.broken for rule in suite.rules if rule.type == PRODUCT}
        others = max((reason.rows for reason in manifest.reasons if reason.rule not in totals), default=0)
        for reason in manifest.reasons:
            if reason.rule in totals and reason.rows <= others:
                continue  # these rows break another rule: another rule for totals would not release them
            if reason.rule in totals:
                return '; set total_cost_rule in the policy: an expression over the columns of the drop, or "off"'
            if setting := advice(reason.rule, reason.example):
                hint = block_hint(key, self.settings.block(key), setting)
                return f"; {reason.rule}: {reason.example}; if that is right, {hint}"
        return ""


def _planned(
    delivery: Delivery,
    look: _Look,
    change: DropChange,
    rescan: bool,
    place: Place,
    content: str,
) -> PlannedDrop:
    kind, block = look.settings.pack.kinds[delivery.kind], look.settings.block(delivery.key)
    if kind.versions and day_of(delivery.key, block) is None:
        return PlannedDrop(delivery, change, place, None, content, rejected=_NO_DAY, of=kind, block=block)
    manifest = look.manifest(delivery)
    held = look.held(manifest) if manifest else ""
    if manifest and _judge_again(manifest, look, bool(held), rescan or change != "known"):
        manifest, held = None, ""
    if manifest:
        # Use the object time of the listing: the same content may have been put again.
        manifest = manifest.model_copy(update={"delivery": delivery})
    return PlannedDrop(
        delivery,
        change,
        place,
        manifest,
        content,
        rejected=(manifest.rejected or _repeats(kind, manifest, look, block)) if manifest else "",
        held=held,
        months=tuple(manifest.months) if manifest else (),
        of=kind,
        block=block,
    )


_NO_DAY = (
    "its name has no date, YYYY-MM-DD or YYYY/MM/DD: which day does it describe? rename it, or write from_path with a "
    f"group {DATE} in a [[source]] block"
)


def _repeats(kind: Kind, manifest: Manifest, look: "_Look", block: SourceBlock) -> str:
    """Return why a snapshot with several rows of a key cannot be used; empty if it has none."""
    if not kind.versions or is_log(manifest.measured.columns, block):
        return ""
    suite = look.settings.suites[kind.name]
    rules = (rule for rule in suite.rules if rule.type == UNIQUE and rule.kwargs["column"] == kind.key)
    repeated = max((manifest.measured.of(rule).unexpected for rule in rules), default=0)
    return f"{kind.key} is not unique: {repeated:,} rows have the key of another row" if repeated else ""


def _judge_again(manifest: Manifest, look: _Look, held: bool, changed_rules_apply: bool) -> bool:
    """Return whether a scanned drop must be scanned again with the current rules.

    Changed rules apply to drops that are new to the target, to all drops with --rescan, and to drops that the old
    rules left out.
    """
    if manifest.rejected and manifest.limit < look.settings.max_inflated_bytes:
        return True
    left_out = bool(manifest.rejected) or held
    return manifest.rules != look.rules(manifest.delivery) and (changed_rules_apply or left_out)


def _by_key(ledger: Sequence[DropRecord], refused: Container[str]) -> dict[tuple[str, str], list[str]]:
    """Return the deliveries in the ledger by object, without withdrawn ones and those kept without object."""
    known = defaultdict(list)
    for record in ledger:
        if record.state != "withdrawn" and not counts_on(record, refused):
            known[record.kind, record.object_key].append(record.delivery_id)
    return known


def _change(delivery: Delivery, known: Mapping[tuple[str, str], Sequence[str]], again: bool = False) -> DropChange:
    before = known.get((delivery.kind, delivery.key), ())
    if delivery.id in before:
        return "known"
    return "put again" if before and again else "replaced" if before else "new"
