"""The report of a run, from the results of its stages."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from datetime import date

from jobs.config.settings import masked
from jobs.ports.records import DropRecord, NoticeChanges
from jobs.report.delivery import addresses_of
from jobs.report.highlights import highlights_of
from jobs.report.notices import over, raised
from jobs.report.run_report import AlertReport, BrokenRule, DropReport, MartReport, Outcome, Problem, RunReport
from jobs.run.context import Run
from jobs.run.stages import Live, Loaded, Stages
from jobs.steps.fall import DayTotals
from jobs.steps.materialize import MartRows
from jobs.steps.new_rows import new_rows
from jobs.steps.reconcile import currencies_of, looked_up, notes_of, warnings_of
from jobs.steps.resolve import REPLACED, Resolved, ResolvedDrop
from jobs.steps.withdrawals import why_left
from marts import __version__
from marts.errors import EXIT_DATA, TryLater
from marts.pack import Mart
from marts.policy import numbers_of
from marts.privacy.masking import mask_value
from marts.values import amount_of, displayed


def news_of(run: Run, report: RunReport) -> NoticeChanges:
    """Return the notices that a run raises and those that it closes."""
    addresses = addresses_of(run.settings)
    at = report.ended_at.isoformat()
    new = raised(report, run.before, run.notices, addresses)
    return NoticeChanges(tuple(new), tuple(over(report, run.notices, addresses.scope)), at)


def alerts_of(run: Run, loaded: Loaded, live: Live) -> tuple[AlertReport, ...]:
    """Return the alerts of the pack that have new rows in the loaded marts."""
    results = []
    marts = {rows.mart: rows for rows in loaded.marts}
    people = run.pack.subject.columns if run.pack.subject else ()
    numbers = numbers_of(run.pack, run.policy)
    for alert in (alert for alert in run.pack.alerts if alert.table in marts):
        mart, generation = run.pack.marts[alert.table], live.generations.get(alert.table)
        fingerprint = generation.fingerprint if generation else ""
        rows = new_rows(run.state, mart, alert, marts[alert.table], fingerprint, run.warehouse.ask, people, numbers)
        if rows.num_rows:
            personal = {column.name for column in mart.columns if column.personal}
            listed = rows.slice(0, alert.limit).to_pylist()
            results.append(
                AlertReport(
                    name=alert.name,
                    title=alert.title.replace("{count}", f"{rows.num_rows:,}"),
                    hint=alert.hint,
                    count=rows.num_rows,
                    is_first=not fingerprint,
                    headings={column.name: column.heading for column in alert.columns},
                    rows=tuple(
                        {c.name: mask_value(row[c.name], c.name in personal) for c in alert.columns}
                        for row in (displayed(mart, values) for values in listed)
                    ),
                )
            )
    return tuple(results)


def why_changed(run: Run) -> tuple[str, ...]:
    """Explain why the marts change although no drop was read: without another cause, they would not."""
    scanned, rolled_up, loaded = run.stages.scanned, run.stages.rolled_up, run.stages.loaded
    if not (scanned and rolled_up and loaded) or not loaded.marts or scanned.deliveries:
        return ()
    before = [report for item in run.live.generations.values() if (report := run.live.reports.get(item.run_id))]
    if not before:
        return ()
    resolved, last = rolled_up.resolved, max(before, key=lambda report: report.started_at)
    removed = sum(v.state == "withdrawn" and v.reason != REPLACED for v in resolved.all)
    returned = sum(v.state == "live" and v.drop.change == "new" for v in resolved.all)
    erased = any(item.number and item.erased_at > last.started_at.isoformat() for item in run.warehouse.erasures())
    reasons = [
        f"as_of changed from {last.as_of} to {run.as_of}" if run.as_of.isoformat() != last.as_of else "",
        "the policy changed" if run.policy.digest() != last.policy else "",
        f"Martwright changed from {last.version} to {__version__}" if __version__ != last.version else "",
        f"{removed:,} drops were withdrawn" if removed else "",
        f"{returned:,} drops that were read before came back" if returned else "",
        "a person was erased" if erased else "",
        "drops were held or released" if _changed_fate(resolved, last) else "",
        "everything was rebuilt (--rebuild)" if run.request.rebuild else "",
    ]
    message = "; ".join(filter(None, reasons)) or "the order of deliveries, repairs or dimensions changed"
    return (f"no drop was read, but the marts change: {message}",)


def _changed_fate(resolved: Resolved, last: RunReport) -> bool:
    """Return whether a drop counts that the last report held, or the reverse."""
    out = {drop.delivery for drop in last.drops if drop.state == "held"}
    return bool(out & {v.drop.delivery.id for v in resolved.all if v.state == "live"}) or any(
        v.state == "held" and v.drop.delivery.id not in out for v in resolved.all
    )


def exit_code_of(resolved: Resolved, ledger: Sequence[DropRecord]) -> int:
    """Return 65 for a rejected, held or missing drop not reported before, 75 for a deferred drop, else 0."""
    if resolved.unheard(ledger):
        return EXIT_DATA
    return TryLater.exit_code if any(item.state == "deferred" for item in resolved.all) else 0


def withdrawn_record(record: DropRecord, resolved: Resolved, run_id: str) -> DropRecord:
    """Return the record of a drop whose object was removed or replaced."""
    keys = {(v.drop.delivery.kind, v.drop.delivery.key) for v in resolved.all if not v.drop.gone}
    reason = REPLACED if (record.kind, record.object_key) in keys else why_left(record)
    return replace(record, state="withdrawn", reason=reason, run_id=run_id)


def _drop_reports(run: Run) -> tuple[DropReport, ...]:
    """Return the drops that changed, and those that need attention."""
    stages = run.stages
    resolved = stages.rolled_up.resolved if stages.rolled_up else stages.resolved
    if not resolved or not stages.known:
        return ()
    changed = {record.delivery_id for record in resolved.changed(stages.known.ledger, run.run_id)}
    return tuple(v.report for v in resolved.all if _is_reported(v, changed))


def _is_reported(item: ResolvedDrop, changed: Container[str]) -> bool:
    """Return whether the report lists a drop: it changed, or it does not count as expected."""
    if item.reason == REPLACED or (item.state == "older" and not item.drop.is_fact):
        return False
    return item.drop.delivery.id in changed or item.state not in ("live", "older", "duplicate", "withdrawn")


def _warnings(run: Run) -> tuple[str, ...]:
    """Return the warnings about the drops, the marts and the judged rules."""
    stages, warnings = run.stages, list[str]()
    if stages.marts is not None and stages.scanned and stages.rolled_up:
        warnings += warnings_of(stages.scanned.plan, stages.rolled_up.resolved, stages.marts)
        warnings += stages.ambiguous_ids
        warnings += [
            f"{name} is live, but not in the pack: it stays as of {item.as_of_date}, and erasures do not reach it: "
            "drop it, or restore it in the pack"
            for name, item in run.live.generations.items()
            if name not in stages.scanned.plan.pack.marts
        ]
    for judged in stages.judged:
        warnings += [
            f"{report.name}: broken rule: {rule.rule} ({_share(rule)})"
            for report in judged.reports
            for rule in report.broken
            if rule.severity != "critical"
        ]
        warnings += judged.unusual
    return tuple(warnings)


def _share(rule: BrokenRule) -> str:
    return f"{rule.unexpected:,} of {rule.rows:,} {rule.basis}" if rule.rows else f"observed: {rule.observed}"


def _notes(stages: Stages) -> tuple[str, ...]:
    """Return notes that explain the numbers where nothing is wrong."""
    if stages.marts is None or not stages.scanned or not stages.rolled_up:
        return ()
    return (*notes_of(stages.scanned.plan, stages.rolled_up.resolved), *stages.changes)


def _mart_report(mart: Mart, rows: MartRows, changed: bool) -> MartReport:
    return MartReport(
        name=rows.mart,
        table=mart.table,
        rows=rows.rows,
        total=amount_of(rows.cents) if mart.control else None,
        changed=changed,
    )


def _newest(run: Run, days: Mapping[str, DayTotals]) -> dict[str, date]:
    return {fact: day for fact, own in days.items() if (day := own.newest(run.as_of))}


def report_of(run: Run, outcome: Outcome, exit_code: int, error: Problem | None = None) -> RunReport:
    """Return the report of a run from its completed stages; the contents of the marts only if it succeeded."""
    stages = run.stages
    loaded = stages.loaded if error is None else None
    marts, rolled_up = (stages.marts or (), stages.rolled_up) if loaded else ((), None)
    # After a rollback, the computed marts are not the live ones.
    visible = {rows.mart: rows.figures for rows in marts} if loaded and not stages.held_back else {}
    return RunReport(
        run_id=run.run_id,
        outcome=outcome,
        exit_code=exit_code,
        as_of=run.as_of.isoformat(),
        policy=run.policy.digest(),
        ids=run.settings.ids,
        version=__version__,
        source=run.source.uri,
        target=masked(run.settings.target),
        state=run.state.uri,
        started_at=run.started_at,
        ended_at=run.clock(),
        submission=run.request.submission,
        audit=run.audit,
        seconds=run.seconds,
        drops=_drop_reports(run),
        totals=stages.totals,
        marts=tuple(
            _mart_report(run.pack.marts[rows.mart], rows, loaded is not None and rows in loaded.marts)
            for rows in marts
            if rows.mart in run.pack.marts
        ),
        months_rolled_up=tuple(sorted({rollup.month for rollup in rolled_up.computed})) if rolled_up else (),
        months=len({rollup.month for rollup in rolled_up.months}) if rolled_up else 0,
        unknown={kind: lines for kind, (_, lines) in looked_up(marts, rolled_up.resolved).items()} if rolled_up else {},
        warnings=_warnings(run),
        notes=_notes(stages),
        quality=tuple(report for judged in stages.judged for report in judged.reports),
        docs=run.settings.docs_uri if run.settings.quality.judge and stages.judged else "",
        fall=stages.fall.report if stages.fall else None,
        events=tuple(sorted(day for (day,) in numbers_of(run.pack, run.policy).get("analytics_events", ()))),
        currencies=tuple(currencies_of(rolled_up.resolved)) if rolled_up else (),
        held_back=stages.held_back,
        alerts=stages.alerts if loaded else (),
        highlights=highlights_of(run.pack, visible, run.as_of),
        newest=_newest(run, rolled_up.days) if rolled_up and visible else {},
        error=error,
    )
