"""Stage load, and the comparison with the live marts before a publication."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs.ports.records import DropRecord, Generation
from jobs.ports.store import at_once
from jobs.report.run_report import RunReport
from jobs.run.context import Run
from jobs.run.stages import Live, Loaded, RolledUp
from jobs.state.catalog import Catalog
from jobs.state.manifest import Manifest, name_of
from jobs.steps.contents import remembered_rows
from jobs.steps.fall import Fall, totals_before
from jobs.steps.load import load as load_staged
from jobs.steps.load import stage, tasks_of
from jobs.steps.materialize import MartRows
from jobs.steps.plan import as_scanned
from jobs.steps.resolve import Resolved
from jobs.steps.withdrawals import TAKEN_BACK
from marts import __version__
from marts.errors import UsageError


def live_marts(run: Run) -> Live:
    """Read the live generations and the reports of their runs."""
    generations = run.warehouse.live()
    records = run.warehouse.runs_named({item.run_id for item in generations.values()})
    return Live(generations, {record.run_id: RunReport.model_validate_json(record.report) for record in records})


def require_ids(run: Run) -> None:
    """Raise UsageError if the live marts have ids of the other type: their rows could not be compared with new ones."""
    types = {report.ids for report in run.live.reports.values()} - {run.settings.ids}
    if types:
        raise UsageError(
            f'the target was built with ids = "{types.pop()}"',
            "ids",
            "set ids as the builds before did, or give these ids a target and a state of their own",
        )


def require_one_day(run: Run) -> None:
    """Raise UsageError for a build of one mart with another as_of than the marts that it leaves as they are."""
    name = run.settings.mart
    if not name:
        return
    others = {item.as_of_date for mart, item in run.live.generations.items() if mart in run.pack.marts and mart != name}
    days = sorted(others - {run.as_of.isoformat()})
    if days:
        raise UsageError(
            f"as_of is {run.as_of}, and the other marts of this target are as of {days[-1]}",
            "as_of",
            f"give the build of {name} a target and a state of its own (--target, --state), or leave out --mart",
        )


def total_changes(run: Run, live: Live, rolled_up: RolledUp) -> list[Fall]:
    """Return the changes of the totals of facts up to the last publication, the largest fall last.

    A fact of which nothing was published before has none.
    """
    totals = totals_before(live.generations, live.reports.values(), list(rolled_up.days))
    if not totals:
        return []
    # After a rollback, the live marts may not contain the drops that are withdrawn now.
    visible = live.generations
    went_back = any(
        visible[item.mart].generation != item.generation for item in run.warehouse.built() if item.mart in visible
    )
    taken: Counter[str] = Counter()
    for item in rolled_up.resolved.all if not went_back else ():
        if item.drop.record and item.reason in TAKEN_BACK:
            taken[item.drop.delivery.kind] += item.drop.record.counted_cents
    falls = [
        Fall(fact, before, rolled_up.days[fact].up_to(before.as_of)[1], taken[fact]) for fact, before in totals.items()
    ]
    return sorted(falls, key=lambda fall: fall.share)


def load(run: Run, marts: Sequence[MartRows], resolved: Resolved, live: Live) -> Loaded:
    """Load the marts that differ from the live ones, unless a rollback left a generation of the same inputs."""
    visible = live.generations
    published = [rows for rows in marts if rows.mart in run.pack.marts]
    changed = [
        rows for rows in published if rows.mart not in visible or visible[rows.mart].fingerprint != rows.fingerprint
    ]
    inputs = inputs_of(run, resolved)
    left = rolled_back_marts(run, inputs, visible) if changed else set()
    if any(rows.mart in left for rows in changed):
        changed = [rows for rows in changed if rows.mart not in left]
        run.stages.held_back = held_back(run)
    if not changed:
        return Loaded((), ())
    state = run.scan_settings.state
    with run.step("clean up"):
        run.warehouse.clean_up(run.run_id)
        staged = stage(run.warehouse, run.pack, changed, inputs, visible)
    with run.step("load", len(tasks_of(run.settings, state, staged, changed))):
        where = (run.warehouse, run.runner, run.settings, state)
        staged = load_staged(*where, staged, changed, run.progress.advance, run.run_id)
    return Loaded(tuple(changed), tuple(staged))


def with_rows(run: Run, catalog: Catalog, resolved: Resolved, records: Sequence[DropRecord]) -> list[DropRecord]:
    """Return the records, in which drops of facts that leave the marts describe their rows as delivered."""
    taken = {
        v.drop.delivery.id: as_scanned(v.drop.manifest, catalog)
        for v in resolved.all
        if v.drop.is_fact and v.state == "withdrawn" and not v.drop.duplicate_of
        if v.drop.manifest
    }

    def read(manifest: Manifest) -> str:
        return remembered_rows(run.state, manifest, run.identities[manifest.delivery.kind])

    rows = dict(zip(taken, at_once(read, taken.values()), strict=True))
    return [replace(record, delivered_rows=rows.get(record.delivery_id, record.delivered_rows)) for record in records]


def inputs_of(run: Run, resolved: Resolved) -> str:
    """Return a name for the inputs of the marts without as_of: the drops that count, the policy, the version."""
    made_of = [(m.origin, _names(m)) for m in (*resolved.live_facts, *resolved.dimensions)]
    return name_of(__version__, run.policy.digest(), made_of)


def _names(manifest: Manifest) -> list[str]:
    return [path.rpartition("/")[2] for path in manifest.paths]


def rolled_back_marts(run: Run, inputs: str, live: Mapping[str, Generation]) -> set[str]:
    """Return the names of rolled-back marts that would be built from the same inputs again."""
    if run.request.rebuild or run.request.rescan:
        return set()
    left = [
        item for item in run.warehouse.built() if item.mart not in live or live[item.mart].generation != item.generation
    ]
    generations = run.warehouse.generations() if left else {}
    return {item.mart for item in left if generations[item.generation].inputs == inputs}


def held_back(run: Run) -> str:
    """Describe who rolled back, and until when that holds."""
    last = run.warehouse.publications(1)[0][0]
    built = run.warehouse.generations()[last.generation].run_id
    when = f"{last.who} rolled back to run {built} on {last.published_at[:19]} UTC"
    return f"{when}: nothing is published until a drop or the policy changes, or with --rebuild"
