"""The ledger's tables and statements, shared by the targets that speak SQL."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import date
from functools import partial
from typing import Any, ClassVar, TypeVar

from jobs.ports.audit import AuditEntry, Deed, bound
from jobs.ports.notices import Change, Notice, closed, told, unless_known
from jobs.ports.records import (
    NO_NEWS,
    Decision,
    DropEvent,
    DropRecord,
    Erasure,
    Generation,
    NoticeChanges,
    NoticeRecord,
    Publication,
    QualityRecord,
    Rollback,
    RunRecord,
    Seal,
    Staged,
)
from marts.errors import Fenced, UsageError
from marts.schema import MARTS, Mart

_STATEMENT_ROWS, _STATEMENT_LETTERS = 500, 200_000
"""What one statement writes at most: servers bound its bytes, and a letter has up to four."""
Record = TypeVar("Record")
Result = TypeVar("Result")


class SqlLedger:
    """The ledger's tables and statements, shared by the targets that speak SQL."""

    mark = "?"
    """How the driver writes a parameter."""
    upsert = "INSERT OR REPLACE INTO"
    for_update = ""
    """How a SELECT locks the rows that it reads, until the end of the transaction."""
    text_types: ClassVar = {"name": "VARCHAR", "text": "VARCHAR", "day": "DATE", "number": "BIGINT"}
    """The types of a short text that can be a key, of a long one, of a date and of a number."""
    table_options = ""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; give its rows."""
        raise NotImplementedError

    def atomically(
        self, work: Callable[[], Result], happened: Callable[[], bool] | None = None, once: bool = False
    ) -> Result:
        """Do some work in one transaction, again if it fails for a while; ``happened`` settles a lost COMMIT.

        With ``once`` it is tried once.
        """
        raise NotImplementedError

    def columns_of(self, table: str) -> set[str]:
        """Name the columns of a table of the ledger; none if it is not there. An older version may have made it."""
        raise NotImplementedError

    def kind_of(self, table: str) -> str:
        """Return what has a name in the target: "table", "view", or "" for nothing."""
        raise NotImplementedError

    def move_away(self, kind: str, table: str) -> str:
        """Return the statement that gives a table or view another name."""
        raise NotImplementedError

    def foreign(self, kind: str, table: str, belongs: str) -> UsageError:
        """Return the error about a table or view of somebody else that has a name of ours. It is not touched."""
        hint = f"it is not touched; move it away: {self.move_away(kind, table)}; then run again"
        return UsageError(f"the {kind} {table} is not ours, and stands where {belongs}", "target", hint)

    def show(self, mart: Mart, generation: int) -> None:
        """Let readers see a generation, inside the transaction of the caller; the pointer is set already."""

    def drops(self) -> list[DropRecord]:
        return self._select(DropRecord, "marts_drops", "ORDER BY kind, object_key, modified, delivery_id")

    def history(self, key: str, limit: int) -> list[DropEvent]:
        rest = f"ORDER BY recorded_at DESC, run_id DESC, object_key, modified DESC, delivery_id LIMIT {limit:d}"
        where = f"WHERE RIGHT(object_key, {len(key):d}) = {self.mark} {rest}"
        return self._select(DropEvent, "marts_history", where, [key])

    def withdrawn(self, since: str, reasons: Collection[str]) -> list[DropEvent]:
        given = f"recorded_at >= {self.mark} AND reason IN ({', '.join([self.mark] * len(reasons))})"
        # An older version wrote no content.
        name = "CASE content WHEN '' THEN delivery_id ELSE content END"
        of_these = f"{name} IN (SELECT {name} FROM marts_history WHERE {given})"
        where = f"WHERE recorded_at >= {self.mark} AND {of_these} ORDER BY recorded_at, delivery_id"
        return self._select(DropEvent, "marts_history", where, [since, since, *reasons])

    def runs(self, limit: int) -> list[RunRecord]:
        return self._select(RunRecord, "marts_runs", f"ORDER BY started_at DESC, run_id DESC LIMIT {limit:d}")

    def runs_named(self, names: Collection[str]) -> list[RunRecord]:
        marks = ", ".join([self.mark] * len(names))
        return self._select(RunRecord, "marts_runs", f"WHERE run_id IN ({marks})", sorted(names)) if names else []

    def live(self) -> dict[str, Generation]:
        where = "WHERE generation IN (SELECT generation FROM marts_live) ORDER BY mart"
        return {live.mart: live for live in self._select(Generation, "marts_generations", where)}

    def notices(self) -> list[Notice]:
        found = self._select(NoticeRecord, "marts_notices", "WHERE done = 0 ORDER BY raised_at, notice_id")
        return [notice for record in found if (notice := record.read())]

    def last_notices(self, limit: int) -> list[Notice]:
        rest = f"ORDER BY raised_at DESC, notice_id DESC LIMIT {limit:d}"
        found = self._select(NoticeRecord, "marts_notices", rest)
        return [notice for record in found if (notice := record.read())]

    def change_notice(self, notice_id: str, change: Change) -> Notice | None:
        if not self.columns_of("marts_notices"):  # an older version made this ledger, or nobody did
            self.create_ledger()
        return self.atomically(lambda: self._change_notice(notice_id, change))

    def _change_notice(self, notice_id: str, change: Change) -> Notice | None:
        where = f"WHERE notice_id = {self.mark} {self.for_update}"
        found = self._select(NoticeRecord, "marts_notices", where, [notice_id])
        after = change(found[0].read() if found else None)
        if after:
            self._upsert("marts_notices", [NoticeRecord.of(after)])
        return after

    def _write_news(self, news: NoticeChanges) -> None:
        """Add notices and close others, inside the transaction of the caller."""
        known = told(self.notices())  # by now: whoever raises them may not have been able to look
        for notice in news.new:
            if set(notice.about) <= known:
                continue
            self._change_notice(notice.notice_id, partial(unless_known, new=notice))
        for number in news.over:
            self._change_notice(number, partial(closed, now=news.at))

    def generations(self) -> dict[int, Generation]:
        return {one.generation: one for one in self._select(Generation, "marts_generations", "ORDER BY generation")}

    def publications(self, limit: int) -> list[list[Publication]]:
        newest = f"(SELECT COALESCE(MAX(number), 0) - {limit:d} FROM marts_publications)"
        found = self._select(Publication, "marts_publications", f"WHERE number > {newest} ORDER BY number DESC, mart")
        numbers = dict.fromkeys(one.number for one in found)
        return [[one for one in found if one.number == number] for number in numbers]

    def built(self) -> list[Publication]:
        newest = "(SELECT MAX(number) FROM marts_publications WHERE action = 'build')"
        return self._select(Publication, "marts_publications", f"WHERE number = {newest} ORDER BY mart")

    def quality(self, limit: int) -> list[QualityRecord]:
        rest = f"ORDER BY modified DESC, object_key, delivery_id, rule_id LIMIT {limit:d}"
        return self._select(QualityRecord, "marts_quality", rest)

    def decisions(self) -> list[Decision]:
        return self._select(Decision, "marts_decisions", "ORDER BY decided_at, decision_id")

    def decide(self, decision: Decision) -> None:
        self.create_ledger()

        def work() -> None:
            self._upsert("marts_decisions", [decision])
            self._note(_deed(decision))

        self.atomically(work)

    def seals(self) -> list[Seal]:
        return self._select(Seal, "marts_seals", "ORDER BY file_id")

    def remember_seal(self, seal: Seal, deed: Deed | None = None) -> None:
        self.create_ledger()

        def work() -> None:
            if deed:  # whoever trusts one file trusts no other any more
                self.execute("DELETE FROM marts_seals")
                self._note(deed)
            self._upsert("marts_seals", [seal])

        self.atomically(work)

    def audit(self) -> list[AuditEntry]:
        return self._select(AuditEntry, "marts_audit", "ORDER BY number")

    def audit_end(self, lock: str = "") -> AuditEntry | None:
        last = self._select(AuditEntry, "marts_audit", f"ORDER BY number DESC LIMIT 1 {lock}")
        return last[0] if last else None

    def _note(self, deed: Deed) -> None:
        """Write a deed behind the last one, inside the transaction of the caller; once, although it is repeated."""
        there = self.execute(f"SELECT COUNT(*) FROM marts_audit WHERE entry_id = {self.mark}", [deed.entry_id])
        if there == [(0,)]:
            self._upsert("marts_audit", [bound(deed, self.audit_end(self.for_update))])

    def erasures(self) -> list[Erasure]:
        return self._select(Erasure, "marts_erased", "ORDER BY number")

    def erase(self, erasures: Sequence[Erasure], customer: int, deed: Deed) -> int:
        def work() -> int:
            self._upsert("marts_erased", erasures)
            self._note(deed)
            return self.remove_customer(customer)

        return self.atomically(work)

    def remove_customer(self, customer: int) -> int:
        """Remove the rows of a customer in every generation, inside the transaction of the caller."""
        raise NotImplementedError

    def rewrite(self, table: str, column: str, change: Callable[[str], str]) -> int:
        keys = TABLES[table][1].split(", ")

        def work() -> int:
            changed = 0
            for text, *key in self.execute(f"SELECT {column}, {', '.join(keys)} FROM {table}"):
                new = change(str(text))
                if new != text:
                    where = " AND ".join(f"{name} = {self.mark}" for name in keys)
                    self.execute(f"UPDATE {table} SET {column} = {self.mark} WHERE {where}", [new, *key])
                    changed += 1
            return changed

        return self.atomically(work) if self.columns_of(table) else 0

    def _select(self, record: type[Record], table: str, rest: str, values: Sequence[Any] = ()) -> list[Record]:
        """Read records; what an older version did not write yet has its default."""
        there = self.columns_of(table)
        wanted = fields(record)  # type: ignore[arg-type]
        if not there:
            return []
        names = [field.name for field in wanted if field.name in there]
        if any(field.default is MISSING and field.name not in there for field in wanted):
            raise UsageError(f"{table} is of another version", "target", "run marts build once, or update Martwright")
        rows = self.execute(f"SELECT {', '.join(names)} FROM {table} {rest}", values)
        return [record(**dict(zip(names, map(_plain, row), strict=True))) for row in rows]

    def create_ledger(self) -> None:
        """Create the ledger's tables, and the columns that an older version did not have."""
        existing = {table: self.columns_of(table) for table in TABLES}
        for table, (columns, key) in TABLES.items():
            types = {name: self.text_types[kind] for name, kind in columns.items()}
            there = existing[table]
            if there and not set(key.split(", ")) <= there:
                raise self.foreign(self.kind_of(table), table, "a table of the ledger belongs")
            if not there:
                made = ", ".join(f"{name} {kind} NOT NULL" for name, kind in types.items())
                self.execute(f"CREATE TABLE IF NOT EXISTS {table} ({made}, PRIMARY KEY ({key})) {self.table_options}")
            for name in types if there else ():
                if name not in there:
                    default = "0" if columns[name] == "number" else "('')"
                    self.execute(f"ALTER TABLE {table} ADD COLUMN {name} {types[name]} DEFAULT {default}")

    def begin(self, run: RunRecord) -> None:
        self.atomically(lambda: self._begin(run))

    def _begin(self, run: RunRecord) -> None:
        self._take_epoch(run.run_id)
        ended = f"UPDATE marts_runs SET outcome = 'killed', ended_at = {self.mark}, error = 'it ended without a word'"
        self.execute(f"{ended} WHERE outcome = 'running'", [run.started_at])
        self._upsert("marts_runs", [run])

    def _take_epoch(self, run_id: str) -> None:
        """Take the right to publish. The holder is named, not numbered: a restored dump turns numbers back."""
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
            hint = "what is live is theirs; run again"
            raise Fenced(f"{holder} has taken over since this run began", "the right to publish", hint)

    def fail(self, run: RunRecord, news: NoticeChanges = NO_NEWS) -> str:
        def end() -> str:
            if not self.columns_of("marts_runs"):
                return run.outcome
            found = self.execute(f"SELECT outcome FROM marts_runs WHERE run_id = {self.mark} {self.for_update}", [key])
            if found and found[0][0] in ("published", "unchanged"):
                return str(found[0][0])
            self._upsert("marts_runs", [run])
            self._write_news(news)
            return run.outcome

        key = run.run_id
        # Tried once: the database may be what failed, and has been waited for already.
        return self.atomically(end, once=True)

    def write_end(self, run: RunRecord) -> None:
        end = f"UPDATE marts_runs SET ended_at = {self.mark}, report = {self.mark}"
        where = f"WHERE run_id = {self.mark} AND outcome = {self.mark}"
        self.execute(f"{end} {where}", [run.ended_at, run.report, run.run_id, run.outcome])

    def disown(self, run: RunRecord, news: NoticeChanges = NO_NEWS) -> str:
        def end() -> str:
            # What nothing was made from is made again.
            forget = f"UPDATE marts_generations SET fingerprint = '' WHERE run_id = {self.mark}"
            self.execute(forget, [run.run_id])
            self._upsert("marts_runs", [run])
            self._write_news(news)
            return run.outcome

        return self.atomically(end, once=True)

    def publish(
        self,
        staged: Sequence[Staged],
        drops: Iterable[DropRecord],
        run: RunRecord,
        quality: Sequence[QualityRecord] = (),
        news: NoticeChanges = NO_NEWS,
    ) -> None:
        """Publish in one transaction, if the run still has the right to."""
        records = list(drops)

        def work() -> None:
            self.hold_epoch(run.run_id)
            made = [
                Generation(
                    s.mart.name, s.generation, run.run_id, run.as_of_date, s.fingerprint, s.rows, run.ended_at, s.inputs
                )
                for s in staged
            ]
            self._upsert("marts_generations", made)
            if staged:
                before = dict(self.execute("SELECT mart, generation FROM marts_live"))
                now = before | {one.mart: one.generation for one in made}
                self._point(made)
                self._add_publication(now, Rollback(run.run_id, run.ended_at, "", ""), "build")
            self._write_ledger(records, run, quality)
            self._write_news(news)

        def happened() -> bool:
            self._epoch()  # waits until the transaction, if there is one, has ended
            query = f"SELECT COUNT(*) FROM marts_runs WHERE run_id = {self.mark} AND outcome = {self.mark}"
            ((rows,),) = self.execute(query, [run.run_id, run.outcome])
            return bool(rows)

        self.atomically(work, happened)

    def rollback(self, by: Rollback) -> list[Generation]:
        """Make the publication before the live one live again. Raises UsageError if there is none."""

        def work() -> list[Generation]:
            self._take_epoch(by.run_id)
            last = self.publications(2)
            if len(last) < 2:
                raise UsageError("there is no earlier publication", "rollback", "`marts status` shows what is live")
            generations = self.generations()
            target = {one.mart: one.generation for one in last[1]}
            live = [generations[number] for number in target.values()]
            self._point(live)
            gone = {one.mart for one in last[0]} - set(target)
            for name in gone:
                self.execute(f"DELETE FROM marts_live WHERE mart = {self.mark}", [name])
            self._add_publication(target, by, "rollback")
            back = f"generations {', '.join(str(number) for number in sorted(target.values()))}"
            self._note(Deed(by.run_id, by.at, by.who, "rollback", back, by.why))
            return live

        def happened() -> bool:
            self._epoch()
            query = f"SELECT COUNT(*) FROM marts_publications WHERE run_id = {self.mark}"
            ((rows,),) = self.execute(query, [by.run_id])
            return bool(rows)

        return self.atomically(work, happened)

    def take_over(self, run_id: str) -> None:
        """Take the right to publish from all runs that have begun."""
        self.atomically(lambda: self._take_epoch(run_id))

    def hold_epoch(self, run_id: str) -> None:
        """Keep others from publishing until the end of the transaction. Raises Fenced if they have begun to."""
        _, holder = self._epoch()
        self._fence(run_id, holder)

    def _point(self, generations: Iterable[Generation]) -> None:
        """Point readers at generations."""
        for one in generations:
            pointer = (one.mart, one.generation, one.run_id, one.as_of_date)
            marks = ", ".join([self.mark] * 4)
            self.execute(f"{self.upsert} marts_live (mart, generation, run_id, as_of_date) VALUES ({marks})", pointer)
            self.show(MARTS[one.mart], one.generation)

    def _add_publication(self, generations: Mapping[str, int], by: Rollback, action: str) -> None:
        ((last,),) = self.execute("SELECT COALESCE(MAX(number), 0) FROM marts_publications")
        made = [
            Publication(int(last) + 1, mart, number, by.run_id, action, by.who, by.why, by.at)
            for mart, number in sorted(generations.items())
        ]
        self._upsert("marts_publications", made)

    def kept_generations(self) -> set[int]:
        """Name the generations of the last two publications, and what is live."""
        live = {number for (number,) in self.execute("SELECT generation FROM marts_live")}
        return live | {one.generation for publication in self.publications(2) for one in publication}

    def _write_ledger(self, drops: Sequence[DropRecord], run: RunRecord, quality: Sequence[QualityRecord]) -> None:
        self._upsert("marts_drops", drops)
        self._upsert("marts_history", [DropEvent(**vars(drop), recorded_at=run.ended_at) for drop in drops])
        judged = sorted({record.delivery_id for record in quality})
        for start in range(0, len(judged), 500):
            part = judged[start : start + 500]
            self.execute(f"DELETE FROM marts_quality WHERE delivery_id IN ({', '.join([self.mark] * len(part))})", part)
        self._upsert("marts_quality", quality)
        self._upsert("marts_runs", [run])

    def _upsert(self, table: str, records: Sequence[Any]) -> None:
        for part in _parts(records):
            names = list(vars(part[0]))
            row = f"({', '.join([self.mark] * len(names))})"
            values = [value for record in part for value in vars(record).values()]
            rows = ", ".join([row] * len(part))
            self.execute(f"{self.upsert} {table} ({', '.join(names)}) VALUES {rows}", values)


def _parts(records: Sequence[Any]) -> Iterator[list[Any]]:
    """Cut records into what one statement holds; a single one may be larger."""
    part: list[Any] = []
    letters = 0
    for record in records:
        more = sum(len(str(value)) for value in vars(record).values())
        if part and (len(part) == _STATEMENT_ROWS or letters + more > _STATEMENT_LETTERS):
            yield part
            part, letters = [], 0
        part.append(record)
        letters += more
    if part:
        yield part


_COLUMNS = {"str": "name", "int": "number"}
_LONG = {
    "object_key",
    "first_key",
    "etag",
    "reason",
    "delivered_rows",
    "error",
    "report",
    "rule",
    "who",
    "why",
    "detail",
    "subject",
    "notice",
}


def _of(record: type[Any], key: str) -> tuple[dict[str, str], str]:
    """Give the columns of a table that holds records, and its key."""
    types = {field.name: str(getattr(field.type, "__name__", field.type)) for field in fields(record)}
    return {name: "text" if name in _LONG else _COLUMNS[kind] for name, kind in types.items()}, key


TABLES: dict[str, tuple[dict[str, str], str]] = {
    "marts_drops": _of(DropRecord, "delivery_id"),
    "marts_history": _of(DropEvent, "delivery_id, run_id"),
    "marts_runs": _of(RunRecord, "run_id"),
    "marts_quality": _of(QualityRecord, "delivery_id, rule_id"),
    "marts_decisions": _of(Decision, "decision_id"),
    "marts_generations": _of(Generation, "generation"),
    "marts_publications": _of(Publication, "number, mart"),
    "marts_live": ({"mart": "name", "generation": "number", "run_id": "name", "as_of_date": "day"}, "mart"),
    "marts_seals": _of(Seal, "file_id"),
    "marts_audit": _of(AuditEntry, "number"),
    "marts_notices": _of(NoticeRecord, "notice_id"),
    "marts_erased": _of(Erasure, "number"),
    "marts_epoch": ({"name": "name", "number": "number", "run_id": "name"}, "name"),
}
"""The ledger: the columns of each table, each with the kind of its type, and its key."""


def _deed(decision: Decision) -> Deed:
    subject = f"{decision.kind} {decision.object_key} ({decision.delivery_id})"
    return Deed(decision.decision_id, decision.decided_at, decision.who, decision.action, subject, decision.why)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
