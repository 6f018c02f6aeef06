"""Drops, runs and decisions, and the right to publish."""

from collections.abc import Collection, Sequence

from jobs.adapters.warehouse.sql_notices import SqlNotices
from jobs.adapters.warehouse.sql_trust import SqlTrust
from jobs.ports.audit import AuditEvent
from jobs.ports.records import (
    NO_NEWS,
    Decision,
    DropEvent,
    DropRecord,
    NoticeChanges,
    QualityRecord,
    RunRecord,
)
from marts.errors import Fenced


class SqlRuns(SqlNotices, SqlTrust):
    """Drops, runs and decisions, and the right to publish."""

    def drops(self) -> list[DropRecord]:
        return self.select(DropRecord, "marts_drops", "ORDER BY kind, object_key, modified, delivery_id")

    def history(self, key: str, limit: int) -> list[DropEvent]:
        rest = f"ORDER BY recorded_at DESC, run_id DESC, object_key, modified DESC, delivery_id LIMIT {limit:d}"
        where = f"WHERE RIGHT(object_key, {len(key):d}) = {self.mark} {rest}"
        return self.select(DropEvent, "marts_history", where, [key])

    def changes(self, since: str, until: str) -> list[DropEvent]:
        later = f"SELECT delivery_id FROM marts_history WHERE recorded_at > {self.mark} AND recorded_at <= {self.mark}"
        rest = f"WHERE recorded_at <= {self.mark} AND delivery_id IN ({later}) ORDER BY recorded_at, delivery_id"
        return self.select(DropEvent, "marts_history", rest, [until, since, until])

    def withdrawn(self, since: str, reasons: Collection[str]) -> list[DropEvent]:
        given = f"recorded_at >= {self.mark} AND reason IN ({', '.join([self.mark] * len(reasons))})"
        # Rows of an older version have no content.
        name = "CASE content WHEN '' THEN delivery_id ELSE content END"
        of_these = f"{name} IN (SELECT {name} FROM marts_history WHERE {given})"
        where = f"WHERE recorded_at >= {self.mark} AND {of_these} ORDER BY recorded_at, delivery_id"
        return self.select(DropEvent, "marts_history", where, [since, since, *reasons])

    def runs(self, limit: int) -> list[RunRecord]:
        return self.select(RunRecord, "marts_runs", f"ORDER BY started_at DESC, run_id DESC LIMIT {limit:d}")

    def last_change(self) -> str:
        publication = "SELECT COALESCE(MAX(number), 0) FROM marts_publications"
        run = "SELECT CONCAT(run_id, ' ', outcome) FROM marts_runs ORDER BY started_at DESC, run_id DESC LIMIT 1"
        ((number, last),) = self.execute(f"SELECT ({publication}), ({run})")
        return f"{number} {last or ''}"

    def runs_named(self, names: Collection[str]) -> list[RunRecord]:
        marks = ", ".join([self.mark] * len(names))
        return self.select(RunRecord, "marts_runs", f"WHERE run_id IN ({marks})", sorted(names)) if names else []

    def quality(self, limit: int) -> list[QualityRecord]:
        rest = f"ORDER BY modified DESC, object_key, delivery_id, rule_id LIMIT {limit:d}"
        return self.select(QualityRecord, "marts_quality", rest)

    def decisions(self) -> list[Decision]:
        return self.select(Decision, "marts_decisions", "ORDER BY decided_at, decision_id")

    def decide(self, decision: Decision) -> None:
        self.create_ledger()

        def work() -> None:
            self.write("marts_decisions", [decision])
            self.append_audit(_audit_event(decision))

        self.atomically(work)

    def begin(self, run: RunRecord) -> None:
        self.atomically(lambda: self._begin(run))

    def _begin(self, run: RunRecord) -> None:
        self._take_epoch(run.run_id)
        ended = f"UPDATE marts_runs SET outcome = 'killed', ended_at = {self.mark}, error = 'it ended unexpectedly'"
        self.execute(f"{ended} WHERE outcome = 'running'", [run.started_at])
        self.write("marts_runs", [run])

    def take_over(self, run_id: str) -> None:
        """Acquire the right to publish, and revoke that of all runs that have begun."""
        self.atomically(lambda: self._take_epoch(run_id))

    def _take_epoch(self, run_id: str) -> None:
        """Acquire the right to publish. The run id identifies the holder: a restored dump would reset a number."""
        number, _ = self._epoch()
        self.execute(
            f"{self.upsert} marts_epoch (name, number, run_id) VALUES ({', '.join([self.mark] * 3)})",
            ["epoch", number + 1, run_id],
        )

    def _epoch(self) -> tuple[int, str]:
        rows = self.execute(f"SELECT number, run_id FROM marts_epoch WHERE name = 'epoch' {self.for_update}")
        return (int(rows[0][0]), str(rows[0][1])) if rows else (0, "")

    def check_fence(self, run_id: str) -> None:
        ((holder,),) = self.execute("SELECT run_id FROM marts_epoch WHERE name = 'epoch'")
        self._fence(run_id, str(holder))

    def _fence(self, run_id: str, holder: str) -> None:
        if holder != run_id:
            hint = "its marts are live; run again"
            raise Fenced(f"{holder} has taken over since this run began", "the right to publish", hint)

    def hold_epoch(self, run_id: str) -> None:
        """Block publication by other runs until the end of the transaction. Raises Fenced if one has taken over."""
        _, holder = self._epoch()
        self._fence(run_id, holder)

    def fail(self, run: RunRecord, news: NoticeChanges = NO_NEWS) -> str:
        def end() -> str:
            if not self.columns_of("marts_runs"):
                return run.outcome
            result = self.execute(f"SELECT outcome FROM marts_runs WHERE run_id = {self.mark} {self.for_update}", [key])
            if result and result[0][0] in ("published", "unchanged"):
                return str(result[0][0])
            self.write("marts_runs", [run])
            self.write_notices(news)
            return run.outcome

        key = run.run_id
        # No retries: the database may be the cause of the failure, and was already retried.
        return self.atomically(end, once=True)

    def write_end(self, run: RunRecord) -> None:
        end = f"UPDATE marts_runs SET ended_at = {self.mark}, report = {self.mark}"
        where = f"WHERE run_id = {self.mark} AND outcome = {self.mark}"
        self.execute(f"{end} {where}", [run.ended_at, run.report, run.run_id, run.outcome])

    def disown(self, run: RunRecord, news: NoticeChanges = NO_NEWS) -> str:
        def end() -> str:
            # Without a fingerprint the next build builds the marts again.
            forget = f"UPDATE marts_generations SET fingerprint = '' WHERE run_id = {self.mark}"
            self.execute(forget, [run.run_id])
            self.write("marts_runs", [run])
            self.write_notices(news)
            return run.outcome

        return self.atomically(end, once=True)

    def _write_ledger(self, drops: Sequence[DropRecord], run: RunRecord, quality: Sequence[QualityRecord]) -> None:
        self.write("marts_drops", drops)
        self.write("marts_history", [DropEvent(**vars(drop), recorded_at=run.ended_at) for drop in drops])
        judged = sorted({record.delivery_id for record in quality})
        for start in range(0, len(judged), 500):
            part = judged[start : start + 500]
            self.execute(f"DELETE FROM marts_quality WHERE delivery_id IN ({', '.join([self.mark] * len(part))})", part)
        self.write("marts_quality", quality)
        self.write("marts_runs", [run])


def _audit_event(decision: Decision) -> AuditEvent:
    subject = f"{decision.kind} {decision.object_key} ({decision.delivery_id})"
    return AuditEvent(decision.decision_id, decision.decided_at, decision.who, decision.action, subject, decision.why)
