"""Publications: which generation of a mart readers see, since when, and the ones before."""

from collections.abc import Iterable, Mapping, Sequence

from jobs.adapters.warehouse.sql_runs import SqlRuns
from jobs.ports.audit import AuditEvent
from jobs.ports.records import (
    NO_NEWS,
    DropRecord,
    Generation,
    NoticeChanges,
    Publication,
    QualityRecord,
    Rollback,
    RunRecord,
    Staged,
)
from marts.errors import UsageError
from marts.pack import Mart, Pack


class SqlLedger(SqlRuns):
    """Publications: which generation of a mart readers see, since when, and the ones before."""

    pack: Pack

    def show(self, mart: Mart, generation: int) -> None:
        """Make a generation visible to readers, inside the transaction of the caller, after the pointer is set."""

    def live(self) -> dict[str, Generation]:
        where = "WHERE generation IN (SELECT generation FROM marts_live) ORDER BY mart"
        return {live.mart: live for live in self.select(Generation, "marts_generations", where)}

    def generations(self) -> dict[int, Generation]:
        return {item.generation: item for item in self.select(Generation, "marts_generations", "ORDER BY generation")}

    def publications(self, limit: int) -> list[list[Publication]]:
        newest = f"(SELECT COALESCE(MAX(number), 0) - {limit:d} FROM marts_publications)"
        result = self.select(Publication, "marts_publications", f"WHERE number > {newest} ORDER BY number DESC, mart")
        numbers = dict.fromkeys(item.number for item in result)
        return [[item for item in result if item.number == number] for number in numbers]

    def built(self) -> list[Publication]:
        newest = "(SELECT MAX(number) FROM marts_publications WHERE action = 'build')"
        return self.select(Publication, "marts_publications", f"WHERE number = {newest} ORDER BY mart")

    def kept_generations(self) -> set[int]:
        """Return the numbers of the live generations and those of the last two publications."""
        live = {number for (number,) in self.execute("SELECT generation FROM marts_live")}
        return live | {item.generation for publication in self.publications(2) for item in publication}

    def publish(
        self,
        staged: Sequence[Staged],
        drops: Iterable[DropRecord],
        run: RunRecord,
        quality: Sequence[QualityRecord] = (),
        news: NoticeChanges = NO_NEWS,
    ) -> None:
        """Publish in one transaction, if the run still has the right to publish."""
        records = list(drops)

        def work() -> None:
            self.hold_epoch(run.run_id)
            built = [
                Generation(
                    s.mart.name, s.generation, run.run_id, run.as_of_date, s.fingerprint, s.rows, run.ended_at, s.inputs
                )
                for s in staged
            ]
            self.write("marts_generations", built)
            if staged:
                before = dict(self.execute("SELECT mart, generation FROM marts_live"))
                now = before | {item.mart: item.generation for item in built}
                self._point(built)
                self._add_publication(now, Rollback(run.run_id, run.ended_at, "", ""), "build")
            self._write_ledger(records, run, quality)
            self.write_notices(news)

        def happened() -> bool:
            self._epoch()  # waits until the transaction has ended, if it is still open
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
                raise UsageError("no earlier publication", "rollback", "`marts status` shows what is live")
            generations = self.generations()
            target = {item.mart: item.generation for item in last[1]}
            live = [generations[number] for number in target.values()]
            was = {item.mart: item.generation for item in last[0]}
            changed = [item for item in live if was.get(item.mart) != item.generation]
            if others := [item.mart for item in changed if item.mart not in self.pack.marts]:
                what = f"the publication before has {others[0]}, which the pack {self.pack.name!r} does not have"
                raise UsageError(what, "pack", "name the pack that built it: --pack, pack in marts.toml, or MARTS_PACK")
            self._point(changed)
            removed = {item.mart for item in last[0]} - set(target)
            for name in removed:
                self.execute(f"DELETE FROM marts_live WHERE mart = {self.mark}", [name])
            self._add_publication(target, by, "rollback")
            back = f"generations {', '.join(str(number) for number in sorted(target.values()))}"
            self.append_audit(AuditEvent(by.run_id, by.at, by.who, "rollback", back, by.why))
            return live

        def happened() -> bool:
            self._epoch()
            query = f"SELECT COUNT(*) FROM marts_publications WHERE run_id = {self.mark}"
            ((rows,),) = self.execute(query, [by.run_id])
            return bool(rows)

        return self.atomically(work, happened)

    def _point(self, generations: Iterable[Generation]) -> None:
        """Point readers at generations."""
        for item in generations:
            pointer = (item.mart, item.generation, item.run_id, item.as_of_date)
            marks = ", ".join([self.mark] * 4)
            self.execute(f"{self.upsert} marts_live (mart, generation, run_id, as_of_date) VALUES ({marks})", pointer)
            self.show(self.pack.marts[item.mart], item.generation)

    def _add_publication(self, generations: Mapping[str, int], by: Rollback, action: str) -> None:
        ((last,),) = self.execute("SELECT COALESCE(MAX(number), 0) FROM marts_publications")
        built = [
            Publication(int(last) + 1, mart, number, by.run_id, action, by.who, by.why, by.at)
            for mart, number in sorted(generations.items())
        ]
        self.write("marts_publications", built)
