"""Stage load, and what must hold before a publication."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from jobs.ports.records import DropRecord
from jobs.report.run_report import RunReport
from jobs.run.context import Run
from jobs.run.stages import Live, Loaded, RolledUp
from jobs.state.catalog import Catalog
from jobs.state.manifest import Manifest, name_of
from jobs.steps.contents import remembered_rows
from jobs.steps.fall import Fall, total_before
from jobs.steps.load import stage
from jobs.steps.materialize import MartRows
from jobs.steps.plan import as_scanned
from jobs.steps.resolve import Resolved
from jobs.steps.withdrawals import TAKEN_BACK
from marts import __version__
from marts.schema import SALES

_THREADS = 16


def live_marts(run: Run) -> Live:
    """Read what readers see now."""
    generations = run.warehouse.live()
    records = run.warehouse.runs_named({item.run_id for item in generations.values()})
    return Live(generations, {record.run_id: RunReport.model_validate_json(record.report) for record in records})


def total_change(run: Run, live: Live, rolled_up: RolledUp) -> Fall | None:
    """Return how the total up to the last publication has changed; None if nothing was published before."""
    before = total_before(live.generations, live.reports.values())
    if before is None:
        return None
    _, now = rolled_up.days.up_to(before.as_of)
    # After somebody went back, what is live may not hold the drops that are taken back now.
    visible = live.generations
    went_back = any(
        visible[item.mart].generation != item.generation for item in run.warehouse.built() if item.mart in visible
    )
    taken = [v.drop.record for v in rolled_up.resolved.all if v.drop.record and v.reason in TAKEN_BACK]
    return Fall(before, now, 0 if went_back else sum(record.counted_cents for record in taken))


def load(run: Run, marts: Sequence[MartRows], resolved: Resolved, live: Live) -> Loaded:
    """Load the marts that differ from the live ones, unless somebody went back from what they were made of."""
    visible = live.generations
    changed = [rows for rows in marts if rows.mart not in visible or visible[rows.mart].fingerprint != rows.fingerprint]
    inputs = inputs_of(run, resolved)
    left = gone_back_from(run, inputs) if changed else set()
    if any(rows.mart in left for rows in changed):
        changed = [rows for rows in changed if rows.mart not in left]
        run.stages.held_back = held_back(run)
    with run.step("load", sum(len(rows.parts) for rows in changed)):
        if not changed:
            return Loaded((), ())
        run.warehouse.clean_up(run.run_id)
        where = (run.warehouse, run.runner, run.settings, run.scan_settings.state)
        staged = stage(*where, changed, run.progress.advance, run.run_id, inputs)
        return Loaded(tuple(changed), tuple(staged))


def with_rows(run: Run, catalog: Catalog, resolved: Resolved, records: Sequence[DropRecord]) -> list[DropRecord]:
    """Return records in which sales drops that leave the marts have what their rows are, as they were delivered."""
    taken = {
        v.drop.delivery.id: as_scanned(v.drop.manifest, catalog)
        for v in resolved.all
        if v.drop.delivery.kind == SALES.name and v.state == "withdrawn" and not v.drop.duplicate_of
        if v.drop.manifest
    }
    with ThreadPoolExecutor(_THREADS) as pool:
        read = pool.map(lambda manifest: remembered_rows(run.state, manifest, run.identity), taken.values())
        rows = dict(zip(taken, read, strict=True))
    return [replace(record, delivered_rows=rows.get(record.delivery_id, record.delivered_rows)) for record in records]


def inputs_of(run: Run, resolved: Resolved) -> str:
    """Return a name for what marts are made of, whatever the day: the drops that count, the policy, our version."""
    made_of = [(m.origin, _names(m)) for m in (*resolved.live_sales, *resolved.dimensions)]
    return name_of(__version__, run.policy.digest(), made_of)


def _names(manifest: Manifest) -> list[str]:
    return [path.rpartition("/")[2] for path in manifest.paths]


def gone_back_from(run: Run, inputs: str) -> set[str]:
    """Return the names of the marts that somebody has gone back from, if they would be made of the same again."""
    if run.request.rebuild or run.request.rescan:
        return set()
    live = {name: generation.generation for name, generation in run.warehouse.live().items()}
    left = [item for item in run.warehouse.built() if live.get(item.mart) != item.generation]
    generations = run.warehouse.generations() if left else {}
    return {item.mart for item in left if generations[item.generation].inputs == inputs}


def held_back(run: Run) -> str:
    """Describe who went back, and until when that holds."""
    last = run.warehouse.publications(1)[0][0]
    built = run.warehouse.generations()[last.generation].run_id
    when = f"{last.who} went back to run {built} on {last.published_at[:19]} UTC"
    return f"{when}: nothing is published until a drop or the policy changes, or with --rebuild"
