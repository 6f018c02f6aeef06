"""Survey drops, ledger and state without changing anything, for `marts plan` and the quarantine commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs.adapters.store.open import open_store
from jobs.config.settings import Settings
from jobs.ports.records import DropRecord, erased_people
from jobs.ports.store import ObjectVersion, Store
from jobs.ports.warehouse import Warehouse
from jobs.state.catalog import Catalog
from jobs.state.manifest import Delivery, Manifest
from jobs.steps.contents import Memory
from jobs.steps.plan import make_plan, same_rows_of, with_emptied_held, with_recorded_holds, with_same_rows
from jobs.steps.planned import Plan, PlannedDrop
from jobs.steps.repair import accepted_by, accepted_reasons, repaired_drops, repairs_of
from jobs.steps.resolve import Resolved, resolve
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.withdrawals import WEIGHED, Withdrawals, refused_by, since, withdrawals_of
from marts.compute.identity import Identities, Identity
from marts.pack import Pack
from marts.policy import Policy


@dataclass(frozen=True)
class Survey:
    """The listed drops with what ledger and state know of them."""

    plan: Plan
    """The drops as they are listed now."""
    known: tuple[PlannedDrop, ...]
    """The drops as of the last publication, regardless of what is listed now."""
    catalog: Catalog
    source: Store
    state: Store
    settings: ScanSettings
    identities: Identities
    withdrawals: Withdrawals

    @property
    def resolved(self) -> Resolved:
        """Return what happens to each drop."""
        return resolve(self.plan, self.withdrawals)

    @property
    def changed(self) -> int:
        """Return the number of drops that are listed differently from the last publication."""
        listed = (drop for drop in self.plan.drops if not drop.superseded)
        return len({(d.delivery.kind, d.delivery.key) for d in listed if d.change != "known" or d.gone})


def survey(settings: Settings, policy: Policy, warehouse: Warehouse, at: datetime) -> Survey:
    """List the drops and compare them with the ledger and the state, as a build at ``at`` would."""
    source = open_store(settings.source or "", settings.s3)
    state = open_store(settings.state_uri, settings.s3)
    erased = erased_people(warehouse.erasures(), settings.domain.subject)
    catalog, scan = Catalog(state), ScanSettings.of(settings, policy, erased=erased)
    decisions = warehouse.decisions()
    catalog.name_contents(scan.content)
    ledger = scan.named(warehouse.drops())
    contents = Memory.of(ledger).contents
    repaired = repaired_drops(catalog, repairs_of(decisions, contents), scan, state)
    tables = {name: _last_snapshot(name, ledger) for name in settings.dimension_tables}
    accepted, refused = accepted_by(decisions, contents), refused_by(decisions)
    plan = make_plan(source, catalog, ledger, scan, tables, False, accepted, repaired, refused)
    identities = Identity.of_all(policy, scan.pack)
    plan = with_same_rows(plan, same_rows_of(state, plan, catalog, (), identities), ledger)
    plan = with_emptied_held(plan, accepted_reasons(decisions))
    plan = with_recorded_holds(plan, ledger, accepted_by(decisions, contents, alike=True))
    past = since(at)
    removed = withdrawals_of(
        settings.drops.withdrawals, decisions, warehouse.withdrawn(past, WEIGHED), ledger, past, scan.pack
    )
    known = _known(plan, ledger, catalog, scan, repaired)
    return Survey(plan, known, catalog, source, state, scan, identities, removed)


def _last_snapshot(kind: str, ledger: Sequence[DropRecord]) -> list[ObjectVersion]:
    """Return the last snapshot of a dimension that is a table: only a build reads the table."""
    return [
        ObjectVersion(record.object_key, record.size, record.etag, record.modified)
        for record in ledger
        if record.kind == kind and record.state == "live"
    ]


def _known(
    plan: Plan,
    ledger: Sequence[DropRecord],
    catalog: Catalog,
    settings: ScanSettings,
    repaired: Mapping[str, Manifest],
) -> tuple[PlannedDrop, ...]:
    """Return the drops of the ledger: as planned if they are listed unchanged, else as recorded."""
    listed = {drop.delivery.id: drop for drop in plan.drops}
    known = []
    for record in ledger:
        if record.state not in ("withdrawn", "older") and record.kind in settings.pack.kinds:
            manifest = catalog.get(record.delivery_id, settings.rules(record.kind, record.object_key))
            manifest = repaired.get(manifest.scan, manifest) if manifest else None
            planned = listed.get(record.delivery_id)
            as_planned = planned and planned.manifest and not planned.taken_over
            known.append(planned if planned and as_planned else _remembered(record, manifest, settings.pack))
    return tuple(known)


def _remembered(record: DropRecord, manifest: Manifest | None, pack: Pack) -> PlannedDrop:
    version = ObjectVersion(record.object_key, record.size, record.etag, record.modified)
    why = record.reason or record.state
    duplicate_of, rejected, held = (why if record.state == state else "" for state in ("duplicate", "rejected", "held"))
    delivery = manifest.delivery if manifest else Delivery.of(record.kind, version)
    return PlannedDrop(
        delivery,
        "known",
        manifest=manifest,
        duplicate_of=duplicate_of,
        rejected=rejected,
        held=held,
        record=record,
        of=pack.kinds.get(record.kind),
    )
