"""Detect a fall of past totals since the last publication: nothing is published until it is accepted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from jobs.ports.records import Decision, Generation
from jobs.report.run_report import FactTotal, FallReport, RunReport
from marts.errors import TotalFell
from marts.pack import Pack
from marts.policy import Policy
from marts.values import amount_of

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
    """Totals of a fact in the live marts."""

    run_id: str
    as_of: date
    lines: int
    cents: int


@dataclass(frozen=True)
class Fall:
    """Total of a fact up to as_of of the last publication, before and now, in cents."""

    fact: str
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
            fact=self.fact,
        )


def totals_before(
    live: Mapping[str, Generation], reports: Iterable[RunReport], facts: Sequence[str]
) -> dict[str, PreviousTotal]:
    """Return the totals of the live marts by fact; none if no mart is live or an earlier version built them."""
    known = [report for report in reports if report.totals.counted_total]
    if not live or not known:
        return {}
    last = max(known, key=lambda report: report.started_at)
    by_fact = last.totals.facts
    if not by_fact and len(facts) == 1:
        by_fact = {facts[0]: FactTotal(counted=last.totals.counted, counted_total=last.totals.counted_total)}
    day = date.fromisoformat(last.as_of)
    return {
        fact: PreviousTotal(last.run_id, day, total.counted, int(total.counted_total * 100))
        for fact, total in by_fact.items()
        if fact in facts
    }


def check_fall(fall: Fall, policy: Policy, accepted: Mapping[tuple[str, str], Decimal]) -> None:
    """Raise TotalFell for a fall beyond the policy, unless a fall as deep was accepted since that publication."""
    if fall.before.lines < policy.max_fall_from or fall.share <= Decimal(str(policy.max_fall)):
        return
    floor = accepted.get((fall.before.run_id, fall.fact))
    if floor is not None and amount_of(fall.now) >= floor:
        return
    report = fall.report
    taken = f", of which {report.taken_back:,} were withdrawn" if fall.taken_back else ""
    raise TotalFell(
        f"the total of {fall.fact} up to {report.as_of} falls from {report.before:,} to {report.now:,} "
        f"({fall.share:.1%}){taken}, more than max_fall {policy.max_fall:.1%}",
        f"{fall.fact}/",
        "check the replaced and held drops (`marts report`), then run `marts accept-fall RUN --why …` with the id of "
        "this run, or correct the drops; the live marts are untouched",
    )


def accepted_falls(decisions: Iterable[Decision], pack: Pack) -> dict[tuple[str, str], Decimal]:
    """Return the accepted totals by the run whose marts are live and by fact; the lowest one applies.

    Decisions of an earlier version name no fact: they are about the first one.
    """
    floors: dict[tuple[str, str], Decimal] = {}
    for decision in decisions:
        if decision.action == ACCEPT:
            report = FallReport.model_validate_json(decision.detail)
            key = report.since, report.fact or pack.facts[0].name
            floors[key] = min(floors.get(key, report.now), report.now)
    return floors
