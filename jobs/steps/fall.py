"""Detect a fall of past totals since the last publication: nothing is published until it is accepted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from jobs.ports.records import Decision, Generation
from jobs.report.run_report import FallReport, RunReport
from marts.errors import TotalFell
from marts.pack import amount_of
from marts.policy import Policy

ACCEPT = "accept fall"
"""Action of a decision; the decision names the run that detected the fall."""


@dataclass(frozen=True)
class DayTotals:
    """Counted lines and their sum in cents, by day."""

    days: Mapping[date, tuple[int, int]]

    def up_to(self, last: date) -> tuple[int, int]:
        """Return lines and cents up to and including a day."""
        own = [total for day, total in self.days.items() if day <= last]
        return sum(lines for lines, _ in own), sum(cents for _, cents in own)

    def newest(self, last: date) -> date | None:
        """Return the newest day with counted lines, up to and including a day."""
        return max((day for day, (lines, _) in self.days.items() if lines and day <= last), default=None)


@dataclass(frozen=True)
class PreviousTotal:
    """Totals of the live marts."""

    run_id: str
    as_of: date
    lines: int
    cents: int


@dataclass(frozen=True)
class Fall:
    """Total up to as_of of the last publication, before and now, in cents."""

    before: PreviousTotal
    now: int
    taken_back: int
    """Cents of drops that this run withdraws: they do not count as a fall."""

    @property
    def share(self) -> Decimal:
        """Return the lost share; 0 or less if nothing is lost."""
        expected = self.before.cents - self.taken_back
        return Decimal(expected - self.now) / expected if expected > 0 else Decimal(0)

    @property
    def report(self) -> FallReport:
        return FallReport(
            since=self.before.run_id,
            as_of=self.before.as_of.isoformat(),
            before=amount_of(self.before.cents),
            now=amount_of(self.now),
            taken_back=amount_of(self.taken_back),
        )


def total_before(live: Mapping[str, Generation], reports: Iterable[RunReport]) -> PreviousTotal | None:
    """Return the totals of the live marts; None if no mart is live or an earlier version built them."""
    known = [report for report in reports if report.totals.counted_total]
    if not live or not known:
        return None
    last = max(known, key=lambda report: report.started_at)
    totals = last.totals
    return PreviousTotal(last.run_id, date.fromisoformat(last.as_of), totals.counted, int(totals.counted_total * 100))


def check_fall(fall: Fall, policy: Policy, accepted: Mapping[str, Decimal]) -> None:
    """Raise TotalFell for a fall beyond the policy, unless a fall as deep was accepted since that publication."""
    if fall.before.lines < policy.max_fall_from or fall.share <= Decimal(str(policy.max_fall)):
        return
    floor = accepted.get(fall.before.run_id)
    if floor is not None and amount_of(fall.now) >= floor:
        return
    report = fall.report
    taken = f", of which {report.taken_back:,} were withdrawn" if fall.taken_back else ""
    raise TotalFell(
        f"the total up to {report.as_of} falls from {report.before:,} to {report.now:,} ({fall.share:.1%}){taken}, "
        f"more than max_fall {policy.max_fall:.1%}",
        "total_cost",
        "check the replaced and held drops (`marts report`), then run `marts accept-fall RUN --why …` with the id of "
        "this run, or correct the drops; the live marts are untouched",
    )


def accepted_falls(decisions: Iterable[Decision]) -> dict[str, Decimal]:
    """Return the accepted totals by the run whose marts are live; the lowest one applies."""
    floors: dict[str, Decimal] = {}
    for decision in decisions:
        if decision.action == ACCEPT:
            report = FallReport.model_validate_json(decision.detail)
            floors[report.since] = min(floors.get(report.since, report.now), report.now)
    return floors
