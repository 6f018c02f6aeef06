"""How things stand, without changing anything: what `marts plan` and the commands about the quarantine look at."""

from dataclasses import dataclass, replace

from jobs.adapters.objects import ObjectVersion, Store, open_store
from jobs.build import scan_settings
from jobs.ledger import Warehouse, erased_people
from jobs.plan import Plan, make_plan
from jobs.repair import accepted_by, repaired_drops, repairs_of
from jobs.scan_task import ScanSettings
from jobs.settings import Settings
from jobs.state import Catalog
from marts.policy import Policy


@dataclass(frozen=True)
class Now:
    """The drops that are there, and what is known of them."""

    plan: Plan
    catalog: Catalog
    source: Store
    state: Store
    settings: ScanSettings


def look(settings: Settings, policy: Policy, warehouse: Warehouse) -> Now:
    """List the drops and compare them with the ledger and the state, as a build would."""
    source = open_store(settings.source or "", settings.s3)
    state = open_store(settings.state_uri, settings.s3)
    catalog, scan = Catalog(state), replace(scan_settings(settings, policy), erased=erased_people(warehouse.erasures()))
    decisions = warehouse.decisions()
    repaired = repaired_drops(catalog, repairs_of(decisions), scan, state)
    tables: dict[str, list[ObjectVersion]] = {name: [] for name in settings.dimensions.tables}
    plan = make_plan(source, catalog, warehouse.drops(), scan, tables, False, accepted_by(decisions), repaired)
    return Now(plan, catalog, source, state, scan)
