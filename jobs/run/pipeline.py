"""A whole build: plan, scan, roll up, finish, publish. `python -m jobs.build …` is `marts build …`."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

import pyarrow as pa

from jobs.adapters.store.open import open_store
from jobs.config.settings import Settings, masked
from jobs.ports.notices import Notice
from jobs.ports.records import DropRecord, Generation, NoticeChanges, QualityRecord, Staged, erased_people
from jobs.ports.runner import Runner
from jobs.ports.warehouse import Warehouse
from jobs.report.delivery import addresses_of
from jobs.report.notices import Before, before, over, raised
from jobs.report.quality_pages import write_site
from jobs.report.run_records import RUNS_BEFORE, adopt_waiting, recent_reports, run_record
from jobs.report.run_report import BrokenRule, DropReport, MartReport, Outcome, Problem, QualityReport, RunReport
from jobs.runtime.logs import within
from jobs.runtime.retries import retried
from jobs.runtime.scrub import scrubbed
from jobs.state.catalog import Catalog
from jobs.state.manifest import Delivery, Manifest, name_of
from jobs.state.parquet import read_parquet
from jobs.steps import quality
from jobs.steps import snapshot as dimensions
from jobs.steps.alike import Shared, look_alike
from jobs.steps.check_ids import check_ids
from jobs.steps.contents import Memory, remembered_rows
from jobs.steps.fall import DayTotals, Fall, accepted_falls, check_fall, total_before
from jobs.steps.load import read_back, stage
from jobs.steps.materialize import MartRows, customers_before, made_from, plan_finish, save_rows, saved_rows
from jobs.steps.materialize_task import Finish, Finished, run_finish
from jobs.steps.plan import as_scanned, make_plan, same_rows_of, with_emptied_held, with_same_rows
from jobs.steps.planned import Plan
from jobs.steps.reconcile import check_marts, known_lines, notes_of, require_key, require_lines, unknown, warnings_of
from jobs.steps.repair import accepted_by, accepted_reasons, repaired_drops, repairs_of
from jobs.steps.resolve import REPLACED, DropCounts, Verdict, Verdicts, judge
from jobs.steps.rollup import RollUp, RollUpWork, plan_rollups, run_rollup
from jobs.steps.scan import full_tasks, plan_splits, scan_drops
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.settle import Settled, plan_settling, read_settled, run_settle
from jobs.steps.withdrawals import TAKEN_BACK, WEIGHED, Withdrawals, refused_by, since, why_left, withdrawals_of
from marts import __version__
from marts.compute.highlights import Figures, of_both, unusual_months
from marts.compute.identity import Identity
from marts.errors import (
    EXIT_DATA,
    DataError,
    Defect,
    MartsError,
    NotShown,
    OutcomeUnknown,
    QualityBroken,
    StateDamaged,
    Stopped,
    TryLater,
)
from marts.policy import Policy
from marts.schema import CUSTOMERS_MART, KINDS, MARTS, SALES

_ROUNDS = 3
"""Times that one drop is read, or waited for, while it changes."""
_DAMAGED = 100
"""Files of the state that may be damaged; each costs what is made from it again."""
_THREADS = 16
_log = logging.getLogger("marts.build")
_IDS = 3
"""Ids that a warning shows."""
_EARLIER = 20_000
"""Records of earlier drops that new ones are compared with."""


class Progress(Protocol):
    """Somebody who watches a run."""

    def begin(self, step: str, total: int) -> None:
        """A step with so many tasks begins."""

    def advance(self, rows: int = 0, drops: int = 0) -> None:
        """One task of the step is done, with so many rows, and the last part of so many drops."""


@dataclass
class Run:
    """One run: what it was told, what it works with, and the seconds of its steps."""

    settings: Settings
    policy: Policy
    as_of: date
    run_id: str
    clock: Callable[[], datetime]
    runner: Runner
    warehouse: Warehouse
    progress: Progress
    start: Callable[[], None] = lambda: None
    """Makes the runner ready; called when the first task is at hand that needs it."""
    needs_start: Callable[[float], bool] = lambda _: True
    """Tells whether a step that is the work of so many full tasks needs that."""
    submission: str = ""
    """Submission id of the Ray job, if this is one."""
    rebuild: bool = False
    rescan: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    """What the report will say, as far as it is known: a failed run tells it too."""
    audit: str = ""
    """Hash of the end of the audit trail."""
    done: RunReport | None = None
    """The report of what is published, or about to be."""
    before: Before = field(default_factory=Before)
    """The runs before this one."""
    known: Sequence[Notice] = ()
    """Notices that are open, or not sent to all."""
    unkept: Sequence[Notice] = ()
    """Notices that the database could not keep."""
    unrecorded: bool = False
    """The database could not take how the run ended."""
    ended: RunReport | None = None
    """How it failed."""
    reports: Mapping[str, RunReport] = field(default_factory=dict)
    """Of the runs whose marts are live, by their ids."""

    def __post_init__(self) -> None:
        self.identity = Identity.of(self.policy)
        self.settings.require("source", "target")
        self.started_at = self.clock()
        self.source = open_store(self.settings.source or "", self.settings.s3)
        self.state = open_store(self.settings.state_uri, self.settings.s3)
        self.scan_settings = ScanSettings.of(self.settings, self.policy, self.run_id)

    def ready(self, tasks: Sequence[Any], full: float | None = None) -> None:
        """Start the cluster if it has not started yet, and the tasks are the work of many ``full`` ones."""
        if tasks and "start Ray" not in self.seconds and self.needs_start(len(tasks) if full is None else full):
            with self.step("start Ray"):
                self.start()

    @contextmanager
    def step(self, name: str, total: int = 0) -> Iterator[None]:
        """Time a step, and tell whoever watches."""
        self.progress.begin(name, total)
        before = time.perf_counter()
        try:
            with within(step=name):
                yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - before, 3)


def build(run: Run) -> RunReport:
    """Bring the marts up to date. A failure is a report too, with its exit code and what to do."""
    try:
        with run.warehouse.lock(run.settings.lock_timeout):
            run.warehouse.prepare()
            run.warehouse.begin(run_record(_report(run, "running", 0)))
            _look_back(run)
            last = run.warehouse.audit_end()
            run.audit = last.hash if last else ""
            run.scan_settings = replace(run.scan_settings, erased=erased_people(run.warehouse.erasures()))
            report = _healed(run)
            late = _after(run, report)
            report = _ended(run, report, late)
    except (MartsError, Stopped) as problem:
        return _failed(run, problem.as_error() if isinstance(problem, Stopped) else problem)
    except Exception as problem:  # a defect: it is recorded, and goes on its way
        run.ended = _failed(run, Defect(f"{type(problem).__name__}: {problem}", "marts", "please report it"))
        raise
    return report


def _look_back(run: Run) -> None:
    """See what was before, and what people were told of it; some of that may wait in the state."""
    _remember(run)  # first: if the state cannot be read, people may know that already
    if adopt_waiting(run.state, run.warehouse):
        _remember(run)


def _remember(run: Run) -> None:
    run.before = before(run.warehouse.runs(RUNS_BEFORE), run.run_id)
    run.known = run.warehouse.notices()


def _news(run: Run, report: RunReport) -> NoticeChanges:
    """Give what people are to hear of a run, and what they need not hear any more."""
    addresses = addresses_of(run.settings)
    at = report.ended_at.isoformat()
    new = raised(report, run.before, run.known, addresses)
    return NoticeChanges(tuple(new), tuple(over(report, run.known, addresses.scope)), at)


def _healed(run: Run) -> RunReport:
    """Build. A file of the state that is damaged is removed, and made again: all of the state can be."""
    for _ in range(_DAMAGED):
        try:
            return _build(run)
        except StateDamaged as error:
            _log.warning("%s; it is made again", error)
            run.state.delete(error.where)
            run.found.clear()
    return _build(run)


def _failed(run: Run, error: MartsError) -> RunReport:
    """Record that a run failed; unless it did publish, and was told to stop or lost its database just then."""
    error = scrubbed(error)
    outcome: Outcome = "unknown" if isinstance(error, OutcomeUnknown) else "failed"
    report = _report(run, outcome, error.exit_code, error=Problem.of(error))
    news = _news(run, report)
    end = run.warehouse.disown if isinstance(error, NotShown) else run.warehouse.fail
    try:
        if end(run_record(report), news) in ("published", "unchanged") and run.done:
            return run.done.model_copy(update={"warnings": (*run.done.warnings, f"after it was published: {error}")})
    except MartsError:  # the database may be what failed
        run.unkept, run.unrecorded = news.new, True
        return report
    with suppress(MartsError):
        _write_site(run)
    return report


def _after(run: Run, report: RunReport) -> list[str]:
    """Do what is left when the marts are live. What fails then is told, and fails nothing."""
    late = []
    try:
        run.warehouse.clean_up(run.run_id)
    except MartsError as error:
        late.append(f"old rows are left for the next build: {error}")
    try:
        if report.quality:
            _write_site(run)
    except MartsError as error:
        late.append(f"the index of the data docs is not up to date: {error}")
    return late


def _ended(run: Run, report: RunReport, late: Sequence[str]) -> RunReport:
    """Write down when all was done: pages made from the ledger say it took as long as those made from the report."""
    done = {"warnings": (*report.warnings, *late), "seconds": dict(run.seconds), "ended_at": run.clock()}
    report = report.model_copy(update=done)
    try:
        run.warehouse.write_end(run_record(report))
    except MartsError as error:
        unwritten = f"the ledger has the end of this run as that of its publication: {error}"
        return report.model_copy(update={"warnings": (*report.warnings, unwritten)})
    return report


def _write_site(run: Run) -> None:
    """Write the pages in front of the data docs."""
    if run.settings.quality.judge:
        docs = open_store(run.settings.docs_uri, run.settings.s3)
        write_site(docs, recent_reports(run.warehouse), run.warehouse.quality(_EARLIER))


def _build(run: Run) -> RunReport:
    ledger = run.warehouse.drops()
    catalog, there = _known_state(run, ledger)
    plan, scanned = _scan(run, catalog, ledger)
    verdicts = judge(plan, _withdrawals(run, ledger))
    run.found["drops"] = _drops_to_tell(verdicts, verdicts.changed(ledger, run.run_id))
    require_lines(verdicts)
    require_key(verdicts, run.identity.more)
    verdicts, rollups, rolled_up, days = _settled(run, verdicts, ledger, there)
    run.found["drops"] = _drops_to_tell(verdicts, verdicts.changed(ledger, run.run_id))
    used = [rollup for rollup in rollups if rollup.starts <= run.as_of]
    if not verdicts.counts.counted:
        raise DataError(f"no line is dated up to as_of {run.as_of}", run.source.uri, "the live marts are untouched")
    names = [run.settings.mart] if run.settings.mart else list(MARTS)
    try:
        marts = _finish(run, names, used, verdicts.dimensions, there)
    except DataError:  # such as a key that is there twice: the pages say it too
        _judge_drops(run, verdicts, scanned, [])
        raise
    run.found["totals"] = verdicts.totals(scanned)
    run.found["warnings"] = (*warnings_of(plan, verdicts, marts), *_ids_of_several(run, verdicts))
    run.found["notes"] = notes_of(plan, verdicts)
    measured = _judge_drops(run, verdicts, scanned, marts)
    check_marts(marts, verdicts, run.policy)
    records = _with_rows(run, catalog, verdicts, verdicts.changed(ledger, run.run_id))
    withdrawn = [_withdrawn(record, verdicts, run.run_id) for record in plan.withdrawn]
    live = run.warehouse.live()
    _check_fall(run, live, verdicts, days)
    changed = [rows for rows in marts if rows.mart not in live or live[rows.mart].fingerprint != rows.fingerprint]
    inputs = _inputs(run, verdicts)
    left = _gone_back_from(run, inputs) if changed else set()
    if any(rows.mart in left for rows in changed):
        changed = [rows for rows in changed if rows.mart not in left]
        run.found["held_back"] = _held_back(run)
    with run.step("load", sum(len(rows.parts) for rows in changed)):
        staged = []
        if changed:
            run.warehouse.clean_up(run.run_id)
            where = (run.warehouse, run.runner, run.settings, run.scan_settings.state)
            staged = stage(*where, changed, run.progress.advance, run.run_id, inputs)
    _judge_marts(run, staged, changed, live)
    run.found["notes"] = (*run.found["notes"], *_why_changed(run, changed, scanned, verdicts, live))
    run.done = _report(
        run,
        "published" if staged else "unchanged",
        _exit_code(verdicts, ledger),
        marts=tuple(_mart_report(rows, rows in changed) for rows in marts),
        months_rolled_up=tuple(sorted({rollup.month for rollup in rolled_up})),
        months=len({rollup.month for rollup in used}),
        unknown=unknown(marts),
        **_figures(run, marts),
    )
    with run.step("publish"):
        news = _news(run, run.done)
        run.warehouse.publish(staged, [*withdrawn, *records], run_record(run.done), measured, news)
        read_back(run.warehouse, staged, changed, run.run_id)
    return run.done


def _withdrawals(run: Run, ledger: Sequence[DropRecord]) -> Withdrawals:
    past = since(run.started_at)
    decisions, events = run.warehouse.decisions(), run.warehouse.withdrawn(past, WEIGHED)
    return withdrawals_of(run.settings.drops.withdrawals, decisions, events, ledger, past)


def _settled(
    run: Run, verdicts: Verdicts, ledger: Sequence[DropRecord], there: set[str]
) -> tuple[Verdicts, list[RollUp], list[RollUp], DayTotals]:
    """Roll up, and hold drops that look like the same days again, until no drop does.

    Gives the verdicts with their counts, the roll-ups, those of them that were made now, and the totals of each day.
    """
    memory = Memory.of(ledger)
    accepted = accepted_by(run.warehouse.decisions(), memory.contents, alike=True)
    made: list[RollUp] = []
    while True:
        rollups, missing = _roll_up(run, verdicts.live_sales, there)
        made += missing
        there = there | {path for rollup in missing for path in rollup.paths}
        counts, days = _drop_counts(run, rollups)
        verdicts = verdicts.with_counts(counts)
        held = look_alike(verdicts, _shared(run, rollups), memory.live, accepted)
        if not held:
            return verdicts, rollups, [rollup for rollup in made if rollup in rollups], days
        verdicts = verdicts.with_counts(dict.fromkeys(counts, DropCounts())).holding(held)


def _ids_of_several(run: Run, verdicts: Verdicts) -> list[str]:
    """Warn of ids that stand for several transactions, where the policy says that each stands for one."""
    if run.policy.transaction_ids != "unique":
        return []
    with run.step("check ids"):
        count, rows = check_ids(run.state, verdicts.live_sales, run.identity, _IDS)
    shown = ", ".join(str(row["transaction_id"]) for row in rows)
    words = f"{count:,} ids of transactions are live under several customers, stores or months, such as {shown}"
    return [f"{words}: `marts check ids` lists them"] if count else []


def _shared(run: Run, rollups: Sequence[RollUp]) -> Shared:
    """Add up the lines without ids that two drops share, over all months."""
    lines: Counter[frozenset[str]] = Counter()
    for table in _facts(run, rollups, "shared"):
        for row in table.to_pylist():
            lines[frozenset((row["delivery"], row["other"]))] += row["lines"]
    return Shared(lines)


def _facts(run: Run, rollups: Sequence[RollUp], name: str) -> list[pa.Table]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda rollup: read_parquet(run.state, rollup.path(name)), rollups))


def _check_fall(run: Run, live: Mapping[str, Generation], verdicts: Verdicts, days: DayTotals) -> None:
    """Raise TotalFell if the total up to the last publication fell by more than the policy allows."""
    records = run.warehouse.runs_named({one.run_id for one in live.values()})
    run.reports = {record.run_id: RunReport.model_validate_json(record.report) for record in records}
    before = total_before(live, run.reports.values())
    if before is None:
        return
    _, now = days.up_to(before.as_of)
    # After somebody went back, what is live may not hold the drops that are taken back now.
    went_back = any(live[one.mart].generation != one.generation for one in run.warehouse.built() if one.mart in live)
    taken = [v.drop.record for v in verdicts.all if v.drop.record and v.reason in TAKEN_BACK]
    back = 0 if went_back else sum(record.counted_cents for record in taken)
    fall = Fall(before, now, back)
    run.found["fall"] = fall.report
    check_fall(fall, run.policy, accepted_falls(run.warehouse.decisions()))


def _with_rows(run: Run, catalog: Catalog, verdicts: Verdicts, records: Sequence[DropRecord]) -> list[DropRecord]:
    """Return records in which sales drops that leave the marts have what their rows are, as they were delivered."""
    taken = {
        v.drop.delivery.id: as_scanned(v.drop.manifest, catalog)
        for v in verdicts.all
        if v.drop.delivery.kind == SALES.name and v.state == "withdrawn" and not v.drop.duplicate_of
        if v.drop.manifest
    }
    with ThreadPoolExecutor(_THREADS) as pool:
        read = pool.map(lambda manifest: remembered_rows(run.state, manifest, run.identity), taken.values())
        rows = dict(zip(taken, read, strict=True))
    return [replace(record, delivered_rows=rows.get(record.delivery_id, record.delivered_rows)) for record in records]


def _inputs(run: Run, verdicts: Verdicts) -> str:
    """Name what marts are made of, whatever the day: the drops that count, the policy, our version."""
    made_of = [(m.origin, _names(m)) for m in (*verdicts.live_sales, *verdicts.dimensions)]
    return name_of(__version__, run.policy.digest(), made_of)


def _why_changed(
    run: Run, changed: Sequence[MartRows], scanned: set[str], verdicts: Verdicts, live: Mapping[str, Generation]
) -> list[str]:
    """Say why the numbers change although nothing was read: a run that reads nothing changes nothing by itself."""
    before = [report for one in live.values() if (report := run.reports.get(one.run_id))]
    if not changed or scanned or not before:
        return []
    last = max(before, key=lambda report: report.started_at)
    gone = sum(v.state == "withdrawn" and v.reason != REPLACED for v in verdicts.all)
    came = sum(v.state == "live" and v.drop.change == "new" for v in verdicts.all)
    erased = any(one.number and one.erased_at > last.started_at.isoformat() for one in run.warehouse.erasures())
    reasons = [
        f"as_of is {run.as_of}, and was {last.as_of}" if run.as_of.isoformat() != last.as_of else "",
        "the policy is another" if run.policy.digest() != last.policy else "",
        f"Martwright is {__version__}, and was {last.version}" if __version__ != last.version else "",
        f"{gone:,} drops left the marts" if gone else "",
        f"{came:,} drops came that were read before" if came else "",
        "somebody was erased" if erased else "",
        "drops that were held count now, or the other way round" if _changed_fate(verdicts, last) else "",
        "everything was made again (--rebuild)" if run.rebuild else "",
    ]
    said = "; ".join(filter(None, reasons)) or "the order of deliveries, repairs, or dimensions are others than then"
    return [f"nothing new was read, and the marts change: {said}"]


def _changed_fate(verdicts: Verdicts, last: RunReport) -> bool:
    """Return whether a drop counts that the last report left out, or the other way round."""
    out = {drop.delivery for drop in last.drops if drop.state == "held"}
    return bool(out & {v.drop.delivery.id for v in verdicts.all if v.state == "live"}) or any(
        v.state == "held" and v.drop.delivery.id not in out for v in verdicts.all
    )


def _names(manifest: Manifest) -> list[str]:
    return [path.rpartition("/")[2] for path in manifest.paths]


def _gone_back_from(run: Run, inputs: str) -> set[str]:
    """Name the marts that somebody has gone back from, if they would be made of the same again."""
    if run.rebuild or run.rescan:
        return set()
    live = {name: generation.generation for name, generation in run.warehouse.live().items()}
    left = [one for one in run.warehouse.built() if live.get(one.mart) != one.generation]
    generations = run.warehouse.generations() if left else {}
    return {one.mart for one in left if generations[one.generation].inputs == inputs}


def _held_back(run: Run) -> str:
    """Say who went back, and until when that holds."""
    last = run.warehouse.publications(1)[0][0]
    made = run.warehouse.generations()[last.generation].run_id
    when = f"{last.who} went back to run {made} on {last.published_at[:19]} UTC"
    return f"{when}: nothing is published until a drop or the policy changes, or with --rebuild"


def _pages(run: Run) -> quality.Pages:
    return quality.Pages(open_store(run.settings.docs_uri, run.settings.s3), run.run_id, run.started_at)


def _judge_drops(run: Run, verdicts: Verdicts, scanned: set[str], marts: Sequence[MartRows]) -> list[QualityRecord]:
    """Let Great Expectations judge the drops that this run brings. Gives what the database keeps of them."""
    drops = quality.brought(verdicts, scanned) if run.settings.quality.judge else {}
    if not drops:
        return []
    looked_up = {kind: known_lines(verdicts, kind) for kind in unknown(marts) if kind not in verdicts.absent}
    known = {kind: (lines, unknown(marts)[kind]) for kind, lines in looked_up.items()}
    with run.step("judge", len(drops)):
        found = quality.judge_drops(drops, run.scan_settings, known, _pages(run))
        measured = quality.records(drops, run.scan_settings, run.run_id)
        earlier = run.warehouse.quality(_EARLIER)
    _tell(run, found, quality.unusual(measured, earlier))
    return measured


def _judge_marts(run: Run, staged: Sequence[Staged], rows: Sequence[MartRows], live: Mapping[str, Generation]) -> None:
    """Judge the marts before anybody sees them. Raises QualityBroken if a critical one is broken."""
    found = []
    for item, made in zip(staged, rows, strict=True) if run.settings.quality.judge else ():
        before = live[made.mart].row_count if made.mart in live else 0
        with run.step("judge"):
            what = (run.warehouse, item, made, before, run.settings.expectations, run.policy, _pages(run))
            found.append(retried(partial(quality.judge_mart, *what), run.settings.mysql.deadline))
    _tell(run, found, [])
    failed = next((report for report in found if report.outcome == "failed"), None)
    if failed:
        broken = next(rule for rule in failed.broken if rule.severity == "critical")
        hint = f"look at {run.settings.docs_uri}/{failed.page}; the live marts are untouched"
        raise QualityBroken(f"a critical expectation is broken: {broken.rule}", failed.name, hint)


def _tell(run: Run, found: Sequence[QualityReport], unusual: Sequence[str]) -> None:
    """Add to the report what was judged."""
    run.found["docs"] = run.settings.docs_uri if run.settings.quality.judge else ""
    run.found["quality"] = (*run.found.get("quality", ()), *found)
    said = [
        f"{one.name}: {rule.rule} ({_share(rule)})"
        for one in found
        for rule in one.broken
        if rule.severity != "critical"
    ]
    run.found["warnings"] = (*run.found.get("warnings", ()), *said, *unusual)


def _share(rule: BrokenRule) -> str:
    return f"{rule.unexpected:,} of {rule.rows:,} {rule.basis}" if rule.rows else f"observed: {rule.observed}"


def _known_state(run: Run, ledger: Sequence[DropRecord]) -> tuple[Catalog, set[str]]:
    """Read what earlier runs left, and forget what is not whole any more."""
    with run.step("plan"):
        catalog = Catalog(run.state)
        if run.rebuild:
            catalog.forget_all(but=_without_object(run, ledger))
            return catalog, set()
        folders = ("lines", "dimensions", "quarantine", "settled", "facts", "marts")
        there = {version.key for folder in folders for version in run.state.versions(folder)}
        catalog.forget_incomplete(there)
        return catalog, there


def _without_object(run: Run, ledger: Sequence[DropRecord]) -> set[str]:
    """Return the live deliveries whose object is gone: they cannot be scanned again."""
    listed = {Delivery.of(kind, version).id for kind in KINDS for version in run.source.versions(kind)}
    return {record.delivery_id for record in ledger if record.state == "live"} - listed


def _scan(run: Run, catalog: Catalog, ledger: Sequence[DropRecord]) -> tuple[Plan, set[str]]:
    """Plan and scan until nothing is left to scan; a drop that changes meanwhile is planned again."""
    scanned: set[str] = set()
    decisions = run.warehouse.decisions()
    contents = Memory.of(ledger).contents
    accepted, repairs = accepted_by(decisions, contents), repairs_of(decisions, contents)
    refused = refused_by(decisions)
    with run.step("plan"):
        _wait_for_arrivals(run)
        tables = dimensions.snapshot(run.settings, run.state, run.scan_settings.erased)
    tried: Counter[str] = Counter()
    while True:
        rescan = run.rescan and not tried
        with run.step("plan"):
            repaired = repaired_drops(catalog, repairs, run.scan_settings, run.state)
            plan = make_plan(
                run.source, catalog, ledger, run.scan_settings, tables, rescan, accepted, repaired, refused
            )
            # One that changes each time it is read is left; a dimension may have many drops that are of no use.
            waiting = [drop for drop in plan.to_scan if tried[drop.delivery.key] < _ROUNDS]
            if not waiting:
                same = same_rows_of(run.state, plan, catalog, ledger, run.identity)
                catalog.add(same.hashed)
                plan = with_emptied_held(with_same_rows(plan, same, ledger), accepted_reasons(decisions))
                break
        tried.update(drop.delivery.key for drop in waiting)
        scanned |= {drop.delivery.id for drop in waiting}
        splits = plan_splits(waiting, run.scan_settings.split_bytes)
        parts = [part for parts in splits.values() for part in parts]
        run.ready(parts, full_tasks(parts, run.scan_settings.split_bytes))
        if run.settings.quality.judge and "start Ray" in run.seconds:  # tasks in this process import, too
            quality.preload()
        with run.step("scan", len(parts)):
            scan_drops(run.runner, run.scan_settings, splits, catalog, run.progress.advance)
    return plan, scanned


def _wait_for_arrivals(run: Run) -> None:
    """Wait until the files of a folder stand still: one that was written to a moment ago may be half of itself.

    One that goes on changing is met by the scan, which takes a version as a whole or leaves it for the next run.
    """
    settle = run.settings.limits.settle_seconds
    for _ in range(0 if run.source.whole else _ROUNDS):
        changed = [version.modified for kind in KINDS for version in run.source.versions(kind)]
        age = (run.clock() - datetime.fromisoformat(max(changed))).total_seconds() if changed else settle
        if not 0 <= age < settle:
            return
        time.sleep(settle - age)


def _roll_up(run: Run, live: Sequence[Manifest], there: set[str]) -> tuple[list[RollUp], list[RollUp]]:
    """Make the facts that are not there yet. Gives those of all months, and those made now."""
    marks = None if run.identity.within_month else _settle(run, live, there)
    rollups = plan_rollups(live, run.as_of, run.settings.limits.rollup_lines, run.identity, marks)
    if not rollups:
        hint = "`marts plan` says what is wrong with each drop; the live marts are untouched"
        raise DataError("no drop has a line that can be used", run.source.uri, hint)
    missing = [rollup for rollup in rollups if not rollup.paths <= there]
    run.ready(missing, sum(rollup.rows for rollup in missing) / run.settings.limits.rollup_lines)
    with run.step("roll up", len(missing)):
        # The newest months first: they are the largest most often, and small tasks at the end let all end together.
        work = [RollUpWork(rollup, run.scan_settings.state) for rollup in reversed(missing)]
        for _, lines in run.runner("RollUp", run_rollup, work):
            run.progress.advance(lines)
    return rollups, missing


def _settle(run: Run, live: Sequence[Manifest], there: set[str]) -> Settled:
    """Say which lines count, where transactions go beyond a month."""
    tasks = plan_settling(live, run.settings.limits.rollup_lines, run.identity, run.as_of, run.scan_settings.state)
    missing = [task for task in tasks if not task.paths <= there]
    run.ready(missing)
    with run.step("settle", len(missing)):
        for _, lines in run.runner("SettleTransactions", run_settle, missing):
            run.progress.advance(lines)
    return read_settled(run.state, tasks, live)


def _drop_counts(run: Run, rollups: Sequence[RollUp]) -> tuple[dict[str, DropCounts], DayTotals]:
    """Add up what the months say: per origin of a drop, and per day."""
    counts: dict[str, DropCounts] = defaultdict(DropCounts)
    days: dict[date, tuple[int, int]] = {}
    for table in _facts(run, rollups, "drops"):
        for row in table.to_pylist():
            origin, day = row.pop("delivery"), row.pop("day")
            found = DropCounts(**{name: int(value) for name, value in row.items()})
            lines, cents = days.get(day, (0, 0))
            days[day] = (lines + found.counted, cents + found.counted_cents)
            if day > run.as_of:
                found = replace(found, counted=0, counted_cents=0, guests=0, guest_cents=0)
            counts[origin] += found
    return dict(counts), DayTotals(days)


def _finish(
    run: Run, names: Sequence[str], rollups: Sequence[RollUp], dims: Sequence[Manifest], there: set[str]
) -> list[MartRows]:
    """Make the rows of marts, all side by side, unless an earlier run has made the same."""
    of = {name: made_from(MARTS[name], rollups, dims, run.policy, run.as_of) for name in names}
    saved = {name: saved_rows(run.state, name, of[name].name, there) for name in names}
    tasks: list[Finish] = []
    limit = run.settings.limits.finish_rows
    for name in (name for name in reversed(names) if not saved[name]):
        before = customers_before(run.state, of[name], there, limit) if name == CUSTOMERS_MART.name else None
        what = (MARTS[name], of[name], before, run.policy, limit)
        tasks += plan_finish(run.scan_settings.state, *what)  # the one task of the sales team first: it is the longest
    run.ready(tasks)
    parts: dict[int, Finished] = {}
    if tasks:
        with run.step("finish", len(tasks)):
            for index, part in run.runner("FinishMarts", run_finish, tasks):
                parts[index] = part
                run.progress.advance(part.rows)
            for name in dict.fromkeys(task.mart for task in tasks):
                mine = tuple(parts[index] for index, task in enumerate(tasks) if task.mart == name)
                rows = saved[name] = MartRows(name, of[name], mine)
                save_rows(run.state, rows)
    return [rows for rows in saved.values() if rows]


def _exit_code(verdicts: Verdicts, ledger: Sequence[DropRecord]) -> int:
    """Give 65 for a rejected or held drop that no earlier run told of, 75 for one that changed while it was read."""
    if verdicts.unheard(ledger):
        return EXIT_DATA
    return TryLater.exit_code if any(verdict.state == "deferred" for verdict in verdicts.all) else 0


def _withdrawn(record: DropRecord, verdicts: Verdicts, run_id: str) -> DropRecord:
    keys = {(v.drop.delivery.kind, v.drop.delivery.key) for v in verdicts.all if not v.drop.gone}
    reason = REPLACED if (record.kind, record.object_key) in keys else why_left(record)
    return replace(record, state="withdrawn", reason=reason, run_id=run_id)


def _drops_to_tell(verdicts: Verdicts, records: Sequence[DropRecord]) -> tuple[DropReport, ...]:
    """Give the drops of which something changed, and those that people have to look at."""
    told = {record.delivery_id for record in records}
    return tuple(v.report for v in verdicts.all if _is_told(v, told))


def _is_told(verdict: Verdict, changed: Container[str]) -> bool:
    """Return whether people hear of a drop: it changed, or it does not count as it should."""
    if verdict.state == "older" or verdict.reason == REPLACED:
        return False
    return verdict.drop.delivery.id in changed or verdict.state not in ("live", "duplicate", "withdrawn")


def _figures(run: Run, marts: Sequence[MartRows]) -> dict[str, Any]:
    """Give what a business looks for, unless somebody went back: then it is not what is live."""
    if "held_back" in run.found:
        return {}
    known = {rows.mart: rows.figures for rows in marts}
    figures = of_both(*(known.get(mart, Figures()) for mart in MARTS))
    return {"figures": figures, "unusual": unusual_months(figures.months, run.as_of)}


def _mart_report(rows: MartRows, changed: bool) -> MartReport:
    return MartReport(
        name=rows.mart,
        table=MARTS[rows.mart].table,
        rows=rows.rows,
        total_sales=Decimal(rows.cents).scaleb(-2),
        changed=changed,
    )


def _report(run: Run, outcome: Outcome, exit_code: int, **found: Any) -> RunReport:
    return RunReport(
        run_id=run.run_id,
        outcome=outcome,
        exit_code=exit_code,
        as_of=run.as_of.isoformat(),
        policy=run.policy.digest(),
        version=__version__,
        source=run.source.uri,
        target=masked(run.settings.target),
        state=run.state.uri,
        started_at=run.started_at,
        ended_at=run.clock(),
        submission=run.submission,
        audit=run.audit,
        seconds=run.seconds,
        **{**run.found, **found},
    )
