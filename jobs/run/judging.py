"""Let Great Expectations judge the drops of a run, and the marts before they are published."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from threading import Thread

from jobs.adapters.store.open import open_store
from jobs.ports.records import Generation
from jobs.report.places import reports_of
from jobs.report.run_pages import prepare
from jobs.run.context import Run
from jobs.run.stages import Judged, Loaded, Scanned
from jobs.runtime.retries import retried
from jobs.steps import quality
from jobs.steps.materialize import MartRows, saved_rows
from jobs.steps.measure_marts import MeasureTask, PartMeasured, measure_mart, run_measure
from jobs.steps.reconcile import looked_up
from jobs.steps.resolve import Resolved
from marts.errors import QualityBroken
from marts.pack import Mart
from marts.quality.findings import Measured
from marts.quality.rules import Rule

EARLIER = 20_000
"""Maximum number of records of earlier drops to compare new ones with."""


def _pages(run: Run) -> quality.Pages:
    docs = open_store(run.settings.docs_uri, run.settings.s3)
    return quality.Pages(docs, run.run_id, run.started_at, reports_of(run.settings))


def judge_drops(run: Run, resolved: Resolved, scanned: Scanned, marts: Sequence[MartRows]) -> Judged | None:
    """Let Great Expectations judge the drops of this run; return None if there is nothing to judge."""
    drops = quality.brought(resolved, scanned.deliveries) if run.settings.quality.judge else {}
    if not drops:
        return None
    Thread(target=prepare, name="prepare pages").start()  # while this one waits for the process that judges
    known = {kind: counts for kind, counts in looked_up(marts, resolved).items() if kind not in resolved.absent}
    with run.step("judge", len(drops)):
        reports = quality.judge_drops(drops, run.scan_settings, known, _pages(run))
        records = quality.records(drops, run.scan_settings, run.run_id)
        earlier = run.warehouse.quality(EARLIER)
    return Judged(tuple(reports), tuple(quality.unusual(records, earlier)), tuple(records))


def judge_marts(run: Run, loaded: Loaded, live: Mapping[str, Generation], paths: AbstractSet[str]) -> Judged:
    """Let Great Expectations judge the loaded marts; ``paths`` are the files of the state before this run."""
    reports = []
    for item, rows in zip(loaded.staged, loaded.marts, strict=True) if run.settings.quality.judge else ():
        before = live[rows.mart].row_count if rows.mart in live else 0
        suite = quality.suite_of(run.pack, item.mart, rows, before, run.settings.expectations, run.policy)
        with run.step("judge"):
            measured = _measured(run, item.mart, rows, live.get(rows.mart), suite.rules, paths)
            what = (run.warehouse, item, suite, measured, _pages(run))
            reports.append(retried(partial(quality.judge_mart, *what), run.settings.mysql.deadline))
    return Judged(tuple(reports))


def _measured(
    run: Run, mart: Mart, rows: MartRows, live: Generation | None, rules: Sequence[Rule], paths: AbstractSet[str]
) -> Measured:
    """Measure the rows of a mart; those that the live generation has, too, are not measured again."""
    before = saved_rows(run.state, mart.name, live.fingerprint, paths) if live else None

    def measure(tasks: Sequence[MeasureTask]) -> Iterable[tuple[int, PartMeasured]]:
        run.ready(tasks)
        return run.runner("MeasureMarts", run_measure, tasks)

    return measure_mart(run.scan_settings.state, mart, rows, before, rules, paths, measure)


def require_quality(run: Run, judged: Judged) -> None:
    """Raise QualityBroken if a mart breaks a critical expectation."""
    failed = next((report for report in judged.reports if report.outcome == "failed"), None)
    if failed:
        broken = next(rule for rule in failed.broken if rule.severity == "critical")
        hint = f"see {run.settings.docs_uri}/{failed.page}; the live marts are untouched"
        raise QualityBroken(f"a critical expectation is broken: {broken.rule}", failed.name, hint)
