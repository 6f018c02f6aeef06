"""Stages plan and scan: list the drops, compare them with the ledger, read new ones."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from jobs.ports.records import DropRecord
from jobs.run.context import Run
from jobs.run.stages import Known, Scanned
from jobs.state.catalog import Catalog
from jobs.state.manifest import Delivery
from jobs.steps.contents import Memory
from jobs.steps.listing import list_source
from jobs.steps.plan import make_plan, same_rows_of, with_emptied_held, with_same_rows
from jobs.steps.repair import accepted_by, accepted_reasons, repaired_drops, repairs_of
from jobs.steps.scan import full_tasks, plan_splits, scan_drops
from jobs.steps.snapshot import snapshot_tables
from jobs.steps.withdrawals import WEIGHED, Withdrawals, refused_by, since, withdrawals_of

_ROUNDS = 3
"""Maximum number of times that a drop is read, or waited for, while it changes."""


def withdrawals(run: Run, known: Known) -> Withdrawals:
    """Return the decisions about drops whose objects were removed."""
    past = since(run.started_at)
    events = run.warehouse.withdrawn(past, WEIGHED)
    return withdrawals_of(run.settings.drops.withdrawals, known.decisions, events, known.ledger, past, run.pack)


def known_state(run: Run) -> Known:
    """Read the results of earlier runs, and forget incomplete ones."""
    ledger, decisions = tuple(run.scan_settings.named(run.warehouse.drops())), tuple(run.warehouse.decisions())
    with run.step("plan"):
        catalog = Catalog(run.state)
        catalog.name_contents(run.scan_settings.content)
        if run.request.rebuild:
            catalog.forget_all(but=_without_object(run, ledger))
            return Known(ledger, decisions, catalog, frozenset())
        folders = ("lines", "dimensions", "quarantine", "settled", "facts", "versions", "marts")
        paths = {version.key for folder in folders for version in run.state.versions(folder)}
        catalog.forget_incomplete(paths)
        return Known(ledger, decisions, catalog, frozenset(paths))


def _without_object(run: Run, ledger: Sequence[DropRecord]) -> set[str]:
    """Return the live deliveries whose object was removed: they cannot be scanned again."""
    drops = list_source(run.source, run.pack, run.scan_settings.blocks).drops
    listed = {Delivery.of(kind, version).id for kind, versions in drops.items() for version in versions}
    return {record.delivery_id for record in ledger if record.state == "live"} - listed


def scan(run: Run, known: Known) -> Scanned:
    """Plan and scan until nothing is left to scan; plan a drop again if it changes meanwhile."""
    ledger, decisions, catalog = known.ledger, known.decisions, known.catalog
    scanned: set[str] = set()
    contents = Memory.of(ledger).contents
    accepted, repairs = accepted_by(decisions, contents), repairs_of(decisions, contents)
    refused = refused_by(decisions)
    with run.step("plan"):
        _wait_for_arrivals(run)
        tables = snapshot_tables(run.settings, run.state, run.scan_settings.erased)
    tried: Counter[str] = Counter()
    while True:
        rescan = run.request.rescan and not tried
        with run.step("plan"):
            repaired = repaired_drops(catalog, repairs, run.scan_settings, run.state)
            plan = make_plan(
                run.source, catalog, ledger, run.scan_settings, tables, rescan, accepted, repaired, refused
            )
            # Skip a drop that changes each time it is read. Rounds are unlimited: a dimension may have many bad drops.
            waiting = [drop for drop in plan.to_scan if tried[drop.delivery.key] < _ROUNDS]
            if not waiting:
                same = same_rows_of(run.state, plan, catalog, ledger, run.identities)
                catalog.add(same.hashed)
                plan = with_emptied_held(with_same_rows(plan, same, ledger), accepted_reasons(decisions))
                break
        tried.update(drop.delivery.key for drop in waiting)
        scanned |= {drop.delivery.id for drop in waiting}
        splits = plan_splits(waiting, run.scan_settings)
        parts = [part for parts in splits.values() for part in parts]
        run.ready(parts, full_tasks(parts, run.scan_settings.split_bytes))
        with run.step("scan", len(parts)):
            scan_drops(run.runner, run.scan_settings, splits, catalog, run.progress.advance)
    return Scanned(plan, frozenset(scanned))


def _wait_for_arrivals(run: Run) -> None:
    """Wait until the files of a folder are stable: a recently written file may be incomplete.

    A file that keeps changing is left to the scan, which reads a version as a whole or defers it to the next run.
    """
    settle = run.settings.limits.settle_seconds
    for _ in range(0 if run.source.whole else _ROUNDS):
        drops = list_source(run.source, run.pack, run.scan_settings.blocks).drops
        changed = [version.modified for versions in drops.values() for version in versions]
        age = (run.clock() - datetime.fromisoformat(max(changed))).total_seconds() if changed else settle
        if not 0 <= age < settle:
            return
        time.sleep(settle - age)
