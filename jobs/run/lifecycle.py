"""Lifecycle of a run: heartbeat, build, report page, notices, metrics, one closing log line."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any

from jobs.adapters.store.open import open_store
from jobs.config.settings import Settings, masked
from jobs.ports.notices import Notice, Outbox, announced_topics
from jobs.ports.records import erased_people
from jobs.ports.warehouse import Warehouse
from jobs.report.delivery import NoOutbox, StateOutbox, addresses_of, beat, deliver, files_of, keep
from jobs.report.highlights import without
from jobs.report.metrics import samples
from jobs.report.notices import RunHistory, before, is_news, raised
from jobs.report.places import docs_of
from jobs.report.publish_metrics import publish_metrics
from jobs.report.run_pages import page_of, report_page, write_reports
from jobs.report.run_records import RUNS_BEFORE, recent_reports
from jobs.report.run_report import Problem, RunReport
from jobs.run.context import Request, Run
from jobs.run.pipeline import build
from jobs.runtime.logs import within
from jobs.runtime.scrub import scrub, scrubbed
from marts import __version__
from marts.errors import MartsError, Stopped, UsageError

_log = logging.getLogger("marts.run")


def run(
    request: Request, opened: Callable[[], AbstractContextManager[Warehouse]], make: Callable[[Warehouse], Run]
) -> RunReport:
    """Do a whole run and report it. A failure is a report too.

    Raise UsageError if the target is invalid or rejects the credentials.
    """
    with within(run_id=request.run_id):
        started, report = request.clock(), None
        beat(request.settings.notify, "start")
        try:
            with opened() as warehouse:
                current = make(warehouse)
                report = _built(request, current, warehouse)
                _tell_all(request, report, warehouse, current)
        except MartsError as error:
            if report is None:  # the target does not open: the ledger cannot record it
                report = _unopened(request, scrubbed(error), started)
                _tell_all(request, report, None, None)
                if isinstance(error, UsageError):  # shown like the usage error of any other command
                    _close(report)
                    error.announced = True
                    raise
            else:
                _log.warning("after the run: %s", scrubbed(error))
        _close(report)
        return report


def refused(
    request: Request, error: MartsError, opened: Callable[[], AbstractContextManager[Warehouse]] | None = None
) -> None:
    """Report a run that failed before it began, as it may be unattended. The next run adds it to the ledger.

    ``opened`` opens the target if the caller has not tried yet: it stores the notices that were already sent.
    """
    with within(run_id=request.run_id):
        report = _unopened(request, scrubbed(error), request.clock())
        try:
            with opened() if opened else nullcontext() as warehouse:
                _tell_all(request, report, warehouse, None)
        except MartsError as closed:
            _log.debug("cannot open the target: %s", scrubbed(closed))
            _tell_all(request, report, None, None)
        _close(report)
        error.announced = True


def _close(report: RunReport) -> None:
    """Write the closing log line."""
    level = logging.ERROR if report.error else logging.INFO
    _log.log(level, "run %s: %s", report.run_id, report.words, extra={"fields": closing(report)})


def _built(request: Request, current: Run, warehouse: Warehouse) -> RunReport:
    """Build. Report a defect like any failure, then raise it again."""
    try:
        return build(current)
    except Exception:
        if current.failed:
            _tell_all(request, current.failed, warehouse, current)
            _close(current.failed)
        raise


def _tell_all(request: Request, report: RunReport, warehouse: Warehouse | None, current: Run | None) -> None:
    """Write the page, send notices, publish metrics, ping. None of it changes the outcome of the run."""
    try:
        kept = True
        if current is None or current.unrecorded:
            kept = _keep(request.settings, report)
        elif warehouse:
            with _spared("writing the report page"):
                _write_pages(request.settings, warehouse, report)
        waiting: list[Outbox] = [_waiting(request.settings)] if kept else []
        places = [warehouse, *waiting] if warehouse else waiting
        new = current.unkept if current else _raised(request, report, warehouse)
        notices: dict[str, int] = {}
        with _spared("sending notices"):
            notices = _tell(request, places, new)
        with _spared("publishing metrics"):
            _measure(request, report, _last_success(current.before) if current else None, notices)
        if is_news(report):
            with _spared("the heartbeat ping"):
                beat(request.settings.notify, "fail" if report.error else "success")
    except Stopped as stop:
        _log.warning("%s; the run had ended; the next run sends pending notices", stop.as_error().what)


def _raised(request: Request, report: RunReport, warehouse: Warehouse | None) -> list[Notice]:
    """Return the notices of a run that is not in the ledger."""
    was, known = RunHistory(), list[Notice]()
    if warehouse:
        was, known = before(warehouse.runs(RUNS_BEFORE), report.run_id), warehouse.notices()
    return raised(report, was, known, addresses_of(request.settings))


def closing(report: RunReport) -> dict[str, Any]:
    """Return the fields of the closing line: everything that is needed to chart runs."""
    totals = report.totals
    states = [drop.state for drop in report.drops]
    return {
        "event": "run",
        "outcome": report.outcome,
        "exit_code": report.exit_code,
        "as_of": report.as_of,
        **({"submission": report.submission} if report.submission else {}),
        "version": report.version,
        "policy": report.policy,
        "source": report.source,
        "target": report.target,
        "seconds": round((report.ended_at - report.started_at).total_seconds(), 3),
        "steps": report.seconds,
        "lines": totals.model_dump(),
        "drops": {state: states.count(state) for state in sorted(set(states))},
        "marts": {m.name: {"rows": m.rows, "total": m.total, "changed": m.changed} for m in report.marts},
        "quality": {item.name: item.outcome for item in report.quality},
        "unknown": report.unknown,
        "warnings": len(report.warnings),
        **({"error": report.error.model_dump()} if report.error else {}),
    }


@contextmanager
def _spared(what: str) -> Iterator[None]:
    """Log an exception instead of raising it: it must not change the outcome of the run."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the run has ended, its outcome must not change
        _log.warning("%s failed: %s: %s", what, type(error).__name__, scrub(str(error)))


def _write_pages(settings: Settings, warehouse: Warehouse, report: RunReport) -> None:
    """Write the report page and the index of reports. A failure is logged and does not fail the run."""
    try:
        store = open_store(settings.reports_uri, settings.s3)
        write_reports(store, _without_erased(report, warehouse, settings), recent_reports(warehouse), docs_of(settings))
    except MartsError as error:
        _log.warning("cannot write the report page: %s; `marts report` shows the report", scrubbed(error))


def _without_erased(report: RunReport, warehouse: Warehouse, settings: Settings) -> RunReport:
    """Leave out people who were erased since the run read the marts."""
    erased = erased_people(warehouse.erasures(), settings.domain.subject)
    columns = settings.domain.subject.columns if settings.domain.subject else ()
    left = without(report.highlights, columns, lambda value: bool(erased.number_of(str(value))))
    return report.model_copy(update={"highlights": left})


def _keep(settings: Settings, report: RunReport) -> bool:
    """Store a report outside the ledger: in the state for the next run, and as a page. Return whether it is stored."""
    try:
        _waiting(settings).keep_run(report)
    except MartsError as error:
        _log.debug("cannot store the report in the state: %s", scrubbed(error))
        return False
    with _spared("writing the report page"):
        page = report_page(report, docs_of(settings)).encode()
        open_store(settings.reports_uri, settings.s3).put(page_of(report), page)
    return True


def _waiting(settings: Settings) -> StateOutbox:
    return StateOutbox(lambda: open_store(settings.state_uri, settings.s3))


def _measure(request: Request, report: RunReport, last_success: datetime | None, notices: Mapping[str, int]) -> None:
    """Publish the gauges of the run to Prometheus, if configured."""
    for text in publish_metrics(request.settings, samples(report, last_success, notices), request.cluster):
        _log.warning("%s", text)


def _last_success(before: RunHistory) -> datetime | None:
    return datetime.fromisoformat(before.last_good.ended_at) if before.last_good else None


def _tell(request: Request, places: Sequence[Outbox], unkept: Sequence[Notice]) -> dict[str, int]:
    """Store new notices in the first place that accepts them, and send all that are not sent.

    The first place is the database, then the state; without both, each run announces its failure again. Return the
    numbers of sent and pending deliveries.
    """
    if not request.settings.notify.to:
        return {"sent": 0, "pending": 0}
    for place in places:
        try:
            return _tell_from(request, place, unkept)
        except MartsError as error:
            _log.debug("cannot store notices: %s", scrubbed(error))
    _log.warning("neither the database nor the state can store notices: the next failed run sends them again")
    return _tell_from(request, NoOutbox(), unkept)


def _tell_from(request: Request, outbox: Outbox, unkept: Sequence[Notice]) -> dict[str, int]:
    known = announced_topics(outbox.notices())
    keep(outbox, [notice for notice in unkept if not set(notice.about) <= known])
    sent, failed = deliver(outbox, request.settings.notify, request.clock, files_of(request.settings))
    for text in failed:
        _log.warning("%s; the next run tries again", text)
    return {"sent": sent, "pending": sum(len(notice.unsent) for notice in outbox.notices())}


def _unopened(request: Request, error: MartsError, started: datetime) -> RunReport:
    """Return the report of a run whose target could not be opened: it is not in the ledger."""
    settings = request.settings
    return RunReport(
        run_id=request.run_id,
        outcome="failed",
        exit_code=error.exit_code,
        as_of=request.as_of.isoformat(),
        policy=request.policy.digest(),
        version=__version__,
        submission=request.submission,
        source=masked(settings.source),
        target=masked(settings.target),
        state=_uri(lambda: settings.state_uri),
        started_at=started,
        ended_at=request.clock(),
        error=Problem.of(error),
    )


def _uri(give: Callable[[], str]) -> str:
    """Return an address, or an empty string if it is not configured."""
    try:
        return give()
    except MartsError:
        return ""
