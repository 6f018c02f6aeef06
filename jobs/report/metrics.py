"""Prometheus metrics of a run. A build is a batch, so all are gauges that describe the last run.

A sum over the values of a label is always meaningful: what would be counted twice has its own gauge. A failed run
leaves out what it does not know, so that no unknown value reads as zero.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time
from typing import get_args

from jobs.ports.metrics import PREFIX, Sample
from jobs.report.run_report import DropReport, DropState, Outcome, RunReport, Totals

SUCCESS: tuple[Outcome, ...] = ("published", "unchanged")
"""Outcomes after which the marts are up to date."""
LAST_RUN = f"{PREFIX}last_run_timestamp_seconds"
LAST_SUCCESS = f"{PREFIX}last_success_timestamp_seconds"


def samples(report: RunReport, last_success: datetime | None, notices: Mapping[str, int]) -> list[Sample]:
    """Return the gauges of a run.

    ``last_success`` is when a run last published or found the marts up to date, if the database could be read;
    ``notices`` counts sent and pending notices.
    """
    results = [*_run(report, last_success), *_notices(notices)]
    if _knows_drops(report):
        results += _drops(report)
    if report.totals != Totals():
        results += _lines(report)
    return [*results, *_marts(report)]


def _run(report: RunReport, last_success: datetime | None) -> Iterator[Sample]:
    """Yield what every run knows: how and when it ended, and its duration."""
    well = report.outcome in SUCCESS
    known = [moment for moment in (last_success, report.ended_at if well else None) if moment]
    seconds = (report.ended_at - report.started_at).total_seconds()
    yield _sample("run_success", "Whether the last run published or found the marts up to date.", well)
    yield _sample(
        "run_exit_code", "Exit code of the last run; 65: bad data, such as a held or rejected drop.", report.exit_code
    )
    yield _sample("run_duration_seconds", "Duration of the last run.", seconds)
    yield _sample("last_run_timestamp_seconds", "When the last run ended.", report.ended_at.timestamp())
    if known:
        yield _sample("last_success_timestamp_seconds", "When a run last succeeded.", max(known).timestamp())
    for step, took in report.seconds.items():
        yield _sample("step_duration_seconds", "Duration of a step of the last run.", took, step=step)


def _notices(notices: Mapping[str, int]) -> Iterator[Sample]:
    for state, count in notices.items():
        yield _sample("notices", "Notices, by state.", count, state=state)


def _knows_drops(report: RunReport) -> bool:
    """Return whether the run got far enough to know the state of each drop."""
    return report.outcome in SUCCESS or bool(report.drops)


def _drops(report: RunReport) -> Iterator[Sample]:
    """Count the drops that the report names. Every state is present, so that no old value lingers."""
    states = Counter(drop.state for drop in report.drops)
    about = "Drops that are held, rejected or deferred, and others that the last run found new, changed or missing."
    for state in get_args(DropState):
        yield _sample("run_drops", about, states[state], state=state)
    new = [drop for drop in report.drops if _is_new(drop)]
    read, bad = sum(drop.rows_read for drop in new), sum(drop.quarantined for drop in new)
    about = "Share of lines in quarantine, of live drops of facts that the last run found new or replaced."
    yield _sample("new_quarantine_ratio", about, bad / read if read else 0)


def _is_new(drop: DropReport) -> bool:
    return drop.is_fact and drop.state == "live" and drop.change in ("new", "replaced")


def _lines(report: RunReport) -> Iterator[Sample]:
    """Count the lines of all existing drops of facts; those read are clean, in quarantine, repeated or replaced."""
    totals = report.totals
    outcomes = {"clean": totals.clean, "quarantined": totals.quarantined}
    outcomes |= {"repeated": totals.repeated, "replaced": totals.replaced}
    for outcome, count in {**outcomes, "held": totals.held_rows}.items():
        yield _sample("lines", "Lines of drops of facts, by outcome.", count, outcome=outcome)
    ratio = totals.quarantined / totals.rows_read if totals.rows_read else 0
    yield _sample("read_lines", "Lines of live drops of facts: clean, quarantined and duplicate.", totals.rows_read)
    yield _sample("quarantine_ratio", "Share of the lines of live drops of facts that are in quarantine.", ratio)
    yield _sample("fact_drops", "Existing drops of facts, live or not.", totals.drops)
    yield _sample("scanned_drops", "Drops of facts that the last run read.", totals.scanned)


def _marts(report: RunReport) -> Iterator[Sample]:
    """Yield the gauges of the marts; a failed run knows none."""
    for mart in report.marts:
        yield _sample("mart_rows", "Rows of a live mart.", mart.rows, mart=mart.name)
    for mart in report.marts:
        yield _sample(
            "mart_changed", "Whether the last run computed rows other than the live ones.", mart.changed, mart=mart.name
        )
    for kind, count in report.unknown.items():
        yield _sample("unknown_lines", "Lines without a row in a dimension.", count, kind=kind)
    for fact, newest in report.newest.items():
        moment = datetime.combine(newest, time(), UTC).timestamp()
        about = "Newest day of the rows that count, at 0:00 UTC."
        yield _sample("newest_row_timestamp_seconds", about, moment, drop=fact)


def _sample(name: str, about: str, value: float, **labels: str) -> Sample:
    return Sample(PREFIX + name, about, float(value), labels)
