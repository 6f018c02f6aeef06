"""How things stand, without changing anything: what `marts plan` and the commands about the quarantine look at."""

from dataclasses import dataclass, replace
from datetime import datetime

from jobs.adapters.objects import ObjectVersion, Store, open_store
from jobs.build import scan_settings
from jobs.judge import Verdicts, judge
from jobs.ledger import Warehouse, erased_people
from jobs.plan import Plan, make_plan, same_rows_of, with_recorded_holds, with_same_rows
from jobs.repair import accepted_by, repaired_drops, repairs_of
from jobs.scan_task import ScanSettings
from jobs.settings import Settings
from jobs.state import Catalog
from jobs.withdrawals import Withdrawals, since, withdrawals_of
from marts.identity import Identity
from marts.policy import Policy


@dataclass(frozen=True)
class Now:
    """The drops that are there, and what is known of them."""

    plan: Plan
    catalog: Catalog
    source: Store
    state: Store
    settings: ScanSettings
    identity: Identity
    withdrawals: Withdrawals

    @property
    def verdicts(self) -> Verdicts:
        """Return what becomes of each drop."""
        return judge(self.plan, self.withdrawals)


def look(settings: Settings, policy: Policy, warehouse: Warehouse, at: datetime) -> Now:
    """List the drops and compare them with the ledger and the state, as a build at this moment would."""
    source = open_store(settings.source or "", settings.s3)
    state = open_store(settings.state_uri, settings.s3)
    catalog, scan = Catalog(state), replace(scan_settings(settings, policy), erased=erased_people(warehouse.erasures()))
    decisions = warehouse.decisions()
    repaired = repaired_drops(catalog, repairs_of(decisions), scan, state)
    tables: dict[str, list[ObjectVersion]] = {name: [] for name in settings.dimensions.tables}
    ledger = warehouse.drops()
    plan = make_plan(source, catalog, ledger, scan, tables, False, accepted_by(decisions), repaired)
    identity = Identity.of(policy)
    plan = with_same_rows(plan, same_rows_of(source, state, plan, identity), ledger)
    gone = withdrawals_of(settings.drops.withdrawals, decisions, warehouse.withdrawn(since(at)), ledger)
    return Now(with_recorded_holds(plan, ledger), catalog, source, state, scan, identity, gone)
