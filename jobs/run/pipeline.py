"""A whole build: plan, scan, resolve, roll up, materialize, judge, load, publish."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from jobs.adapters.store.open import open_store
from jobs.config.suites import require_suites
from jobs.ports.records import DropRecord, erased_people
from jobs.report.notices import before
from jobs.report.places import reports_of
from jobs.report.quality_pages import write_site
from jobs.report.run_records import RUNS_BEFORE, adopt_waiting, recent_reports, run_record
from jobs.report.run_report import Outcome, Problem, RunReport
from jobs.run.computing import ambiguous_ids, derive, fold_versions, materialize, settle_and_roll_up
from jobs.run.context import Run
from jobs.run.judging import EARLIER, judge_drops, judge_marts, require_quality
from jobs.run.publishing import live_marts, load, require_ids, require_one_day, total_changes, with_rows
from jobs.run.reporting import alerts_of, exit_code_of, news_of, report_of, why_changed, withdrawn_record
from jobs.run.scanning import known_state, scan, withdrawals
from jobs.run.stages import Judged, Loaded, Stages
from jobs.runtime.scrub import scrubbed
from jobs.steps.fall import accepted_falls, check_fall
from jobs.steps.key_lines import with_lines
from jobs.steps.load import read_back
from jobs.steps.reconcile import check_marts, require_key, require_lines, require_no_stops
from jobs.steps.resolve import resolve
from marts.compute.check import check_pack
from marts.errors import DataError, Defect, DuplicateKeys, MartsError, NotShown, OutcomeUnknown, StateDamaged, Stopped

_DAMAGED = 100
"""Maximum number of damaged files of the state; each one costs a rebuild of what depends on it."""
_log = logging.getLogger("marts.build")


def build(run: Run) -> RunReport:
    """Bring the marts up to date. A failure is a report too, with its exit code and a hint."""
    try:
        with run.warehouse.lock(run.settings.lock_timeout):
            run.warehouse.prepare()
            run.warehouse.begin(run_record(report_of(run, "running", 0)))
            run.live = live_marts(run)
            require_ids(run)
            require_one_day(run)
            _require_pack(run)
            _look_back(run)
            last = run.warehouse.audit_end()
            run.audit = last.hash if last else ""
            run.scan_settings = replace(
                run.scan_settings, erased=erased_people(run.warehouse.erasures(), run.pack.subject)
            )
            report = _healed(run)
            late = _after(run, report)
            report = _ended(run, report, late)
    except (MartsError, Stopped) as problem:
        return _failed(run, problem.as_error() if isinstance(problem, Stopped) else problem)
    except Exception as problem:  # a defect: record it and raise it again
        run.failed = _failed(run, Defect(f"{type(problem).__name__}: {problem}", "marts", "please report it"))
        raise
    return report


def _require_pack(run: Run) -> None:
    """Raise UsageError if the pack of a folder does not fit together, or a suite belongs to nothing."""
    require_suites(run.pack, run.settings.expectations)
    for _ in check_pack(run.pack, run.policy) if run.pack.folder else ():
        pass


def _look_back(run: Run) -> None:
    """Read the earlier runs and their notices; some may be stored in the state only."""
    _remember(run)  # first: an unreadable state may already be announced
    if adopt_waiting(run.state, run.warehouse):
        _remember(run)


def _remember(run: Run) -> None:
    run.before = before(run.warehouse.runs(RUNS_BEFORE), run.run_id)
    run.notices = run.warehouse.notices()


def _healed(run: Run) -> RunReport:
    """Build. Remove and rebuild damaged files of the state: all of the state can be rebuilt."""
    for _ in range(_DAMAGED):
        try:
            return _build(run)
        except StateDamaged as error:
            _log.warning("%s; rebuilding it", error)
            run.state.delete(error.where)
    return _build(run)


def _failed(run: Run, error: MartsError) -> RunReport:
    """Record a failed run, unless it had published when it was stopped or lost the database."""
    error = scrubbed(error)
    outcome: Outcome = "unknown" if isinstance(error, OutcomeUnknown) else "failed"
    report = report_of(run, outcome, error.exit_code, Problem.of(error))
    news = news_of(run, report)
    end = run.warehouse.disown if isinstance(error, NotShown) else run.warehouse.fail
    try:
        if end(run_record(report), news) in ("published", "unchanged") and run.published:
            return run.published.model_copy(
                update={"warnings": (*run.published.warnings, f"after it was published: {error}")}
            )
    except MartsError:  # the database may be what failed
        run.unkept, run.unrecorded = news.new, True
        return report
    with suppress(MartsError):
        _write_site(run)
    return report


def _after(run: Run, report: RunReport) -> list[str]:
    """Do what is left after the marts are live. A failure becomes a warning and does not fail the run."""
    late = []
    try:
        with run.step("clean up"):
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
    """Record the end of the run, so that pages from the ledger show the same duration as those from the report."""
    done = {"warnings": (*report.warnings, *late), "seconds": dict(run.seconds), "ended_at": run.clock()}
    report = report.model_copy(update=done)
    try:
        run.warehouse.write_end(run_record(report))
    except MartsError as error:
        unwritten = f"the ledger has the time of publication as the end of this run: {error}"
        return report.model_copy(update={"warnings": (*report.warnings, unwritten)})
    return report


def _write_site(run: Run) -> None:
    """Write the index pages of the data docs."""
    if run.settings.quality.judge:
        docs = open_store(run.settings.docs_uri, run.settings.s3)
        write_site(docs, recent_reports(run.warehouse), run.warehouse.quality(EARLIER), reports_of(run.settings))


def _build(run: Run) -> RunReport:
    """Run the stages, each from the results of earlier ones; `run.stages` keeps them for the report."""
    stages = run.stages = Stages()
    known = stages.known = known_state(run)
    scanned = stages.scanned = scan(run, known)
    stages.resolved = resolve(scanned.plan, withdrawals(run, known))
    require_lines(stages.resolved)
    require_key(stages.resolved, {name: item.more for name, item in run.identities.items()})
    rolled_up = stages.rolled_up = settle_and_roll_up(run, stages.resolved, known)
    resolved = rolled_up.resolved
    if run.pack.facts and not resolved.counts.counted:
        raise DataError(f"no line is dated up to as_of {run.as_of}", run.source.uri, "the live marts are untouched")
    live = run.live
    try:
        dimensions = fold_versions(run, resolved.dimensions, known.paths)
        rolled_up = stages.rolled_up = derive(run, rolled_up, dimensions, known.paths)
        marts = materialize(run, rolled_up, dimensions, known.paths, live.generations)
    except DataError as error:  # for example a duplicate key: the pages show it too
        _keep(stages, judge_drops(run, resolved, scanned, ()))
        if isinstance(error, DuplicateKeys):
            raise with_lines(error, run.scan_settings, run.source, resolved.dimensions) from error
        raise
    stages.marts = marts
    stages.ambiguous_ids = ambiguous_ids(run, resolved)
    judged = judge_drops(run, resolved, scanned, marts)
    _keep(stages, judged)
    check_marts(marts, resolved, run.policy)
    require_no_stops(run.state, marts, run.pack)
    falls = total_changes(run, live, rolled_up)
    accepted = accepted_falls(known.decisions, run.pack) if falls else {}
    for fall in falls:  # the report describes the one that stops the run, or else the largest
        stages.fall = fall
        check_fall(fall, run.policy, accepted)
    changed = with_rows(run, known.catalog, resolved, resolved.changed(known.ledger, run.run_id))
    withdrawn = [withdrawn_record(record, resolved, run.run_id) for record in scanned.plan.withdrawn]
    loaded = stages.loaded = load(run, marts, resolved, live)
    of_marts = judge_marts(run, loaded, live.generations, known.paths)
    _keep(stages, of_marts)
    require_quality(run, of_marts)
    stages.alerts = alerts_of(run, loaded, live)
    stages.changes = why_changed(run)
    return _publish(run, loaded, [*withdrawn, *changed], judged, exit_code_of(resolved, known.ledger))


def _keep(stages: Stages, judged: Judged | None) -> None:
    if judged:
        stages.judged = (*stages.judged, judged)


def _publish(run: Run, loaded: Loaded, drops: Sequence[DropRecord], judged: Judged | None, exit_code: int) -> RunReport:
    """Make the loaded marts live in one transaction with the ledger, and read them back."""
    outcome: Outcome = "published" if loaded.staged else "unchanged"
    report = run.published = report_of(run, outcome, exit_code)
    with run.step("publish"):
        changes, measured = news_of(run, report), judged.records if judged else ()
        run.warehouse.publish(loaded.staged, drops, run_record(report), measured, changes)
        read_back(run.warehouse, loaded.staged, loaded.marts, run.run_id)
    return report
