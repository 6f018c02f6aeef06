"""Reports of runs as the ledger keeps them."""

from collections.abc import Sequence
from datetime import datetime

from jobs.ports.records import RunRecord
from jobs.ports.store import Store
from jobs.ports.warehouse import Warehouse
from jobs.report.delivery import StateOutbox
from jobs.report.quality_pages import RUNS
from jobs.report.run_report import Problem, RunReport

_READ = ("marts_runs", "marts_drops", "marts_quality")
RUNS_BEFORE = 200
"""Number of earlier runs that a run is compared with."""


def run_record(report: RunReport) -> RunRecord:
    """Return the row of the ledger that keeps a report."""
    return RunRecord(
        run_id=report.run_id,
        started_at=report.started_at.isoformat(timespec="microseconds"),
        ended_at=report.ended_at.isoformat(timespec="microseconds"),
        as_of_date=report.as_of,
        outcome=report.outcome,
        exit_code=report.exit_code,
        error=str(report.error.what) if report.error else "",
        report=report.model_dump_json(),
        policy=report.policy,
        version=report.version,
    )


def require_readable(warehouse: Warehouse, tables: Sequence[str] = ()) -> None:
    """Raise ServiceError for runs, drops, rules and further tables that the user of a database may not read.

    The database shows none of these, so that the ledger would be taken for one without runs and drops.
    """
    for table in (*_READ, *tables):
        warehouse.execute(f"SELECT 1 FROM {table} LIMIT 1")


def recent_reports(warehouse: Warehouse) -> list[RunReport]:
    """Return the reports of the last runs, newest first."""
    return [_report_of(record) for record in warehouse.runs(RUNS)]


def report_named(warehouse: Warehouse, run_id: str) -> RunReport | None:
    """Return the report of a run; None if the ledger does not have it."""
    return next((_report_of(record) for record in warehouse.runs_named([run_id])), None)


def adopt_waiting(state: Store, warehouse: Warehouse) -> int:
    """Move reports and notices of runs that could not reach the ledger from the state into it. Return how many."""
    waiting = StateOutbox(lambda: state)
    return waiting.hand_over(warehouse) + waiting.hand_over_runs(lambda report: warehouse.fail(run_record(report)))


def _report_of(record: RunRecord) -> RunReport:
    """Return the report of a run. That of a killed run is completed, because the run did not record its end."""
    report = RunReport.model_validate_json(record.report)
    if record.outcome != "killed":
        return report
    problem = Problem(what=record.error, where=record.run_id, hint="was it killed or out of memory?")
    ended = datetime.fromisoformat(record.ended_at)
    return report.model_copy(update={"outcome": "failed", "error": problem, "ended_at": ended})
