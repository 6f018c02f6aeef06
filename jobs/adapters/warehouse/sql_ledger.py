"""Publications: which generation of a mart readers see, since when, and the ones before."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from jobs.adapters.warehouse.sql_differences import SqlDifferences
from jobs.adapters.warehouse.sql_runs import SqlRuns
from jobs.adapters.warehouse.sql_views import SqlViews
from jobs.ports.audit import AuditEvent
from jobs.ports.records import (
    NO_NEWS,
    DropRecord,
    Generation,
    NoticeChanges,
    Pointer,
    Publication,
    QualityRecord,
    Rollback,
    RunRecord,
    Staged,
)
from marts.errors import UsageError
from marts.pack import Mart, Pack

Result = TypeVar("Result")


class SqlLedger(SqlRuns, SqlDifferences, SqlViews):
    """Publications: which generation of a mart readers see, since when, and the ones before."""

    pack: Pack

    def snapshot(self, read: Callable[[], Result]) -> Result:
        return self.atomically(read)

    def show(self, mart: Mart, generation: int) -> None:
        """Make rows visible to readers, inside the transaction of the caller, after the pointer is set."""

    def live(self) -> dict[str, Generation]:
        numbers = {item.generation for publication in self.publications(1) for item in publication}
        if not numbers and self.columns_of("marts_live"):  # of a version that did not record publications
            numbers = {int(number) for (number,) in self.execute("SELECT generation FROM marts_live")}
        return {item.mart: item for item in self._numbered_generations(numbers)}

    def generations(self) -> dict[int, Generation]:
        return {item.generation: item for item in self.select(Generation, "marts_generations", "ORDER BY generation")}

    def _numbered_generations(self, numbers: Collection[int]) -> list[Generation]:
        where = f"WHERE generation IN ({', '.join(map(str, sorted(numbers)))}) ORDER BY mart, generation"
        return self.select(Generation, "marts_generations", where) if numbers else []

    def publications(self, limit: int) -> list[list[Publication]]:
        newest = f"(SELECT COALESCE(MAX(number), 0) - {limit:d} FROM marts_publications)"
        result = self.select(Publication, "marts_publications", f"WHERE number > {newest} ORDER BY number DESC, mart")
        numbers = dict.fromkeys(item.number for item in result)
        return [[item for item in result if item.number == number] for number in numbers]

    def built(self) -> list[Publication]:
        newest = "(SELECT MAX(number) FROM marts_publications WHERE action = 'build')"
        return self.select(Publication, "marts_publications", f"WHERE number = {newest} ORDER BY mart")

    def kept_generations(self) -> set[int]:
        """Return the numbers of the generations of the last two publications; of those that are live without any."""
        kept = {item.generation for publication in self.publications(2) for item in publication}
        return kept or {item.generation for item in self.live().values()}

    def kept(self) -> tuple[set[int], set[int]]:
        """Return the bases that hold rows of the last two publications, and the patches between them."""
        numbers = self.kept_generations()
        items = self._numbered_generations(numbers)
        return {item.rows_of for item in items}, {item.generation for item in items if item.earlier in numbers}

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
                    mart=item.mart.name,
                    generation=item.generation,
                    run_id=run.run_id,
                    as_of_date=run.as_of_date,
                    fingerprint=item.fingerprint,
                    row_count=item.rows,
                    published_at=run.ended_at,
                    inputs=item.inputs,
                    base=item.over.rows_of if item.over else item.generation,
                    earlier=item.over.generation if item.over else 0,
                )
                for item in staged
            ]
            if staged:
                before = self.live()
                now = {name: item.generation for name, item in before.items()}
                now |= {item.mart: item.generation for item in built}
                self.write("marts_generations", built)
                self._point(built, before)
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
            self._point(changed, {item.mart: generations[item.generation] for item in last[0]})
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

    def _point(self, generations: Iterable[Generation], before: Mapping[str, Generation]) -> None:
        """Point readers from the generations before at others, and exchange the rows in which they differ."""
        generations = list(generations)
        for item in generations:
            mart, was = self.pack.marts[item.mart], before.get(item.mart)
            if was and item.earlier == was.generation:
                self.exchange(mart, item.rows_of, item.generation)
            elif was and was.earlier == item.generation:
                self.exchange(mart, item.rows_of, was.generation, back=True)
        self.write("marts_live", [Pointer(g.mart, g.rows_of, g.run_id, g.as_of_date) for g in generations])
        for item in generations:
            self.show(self.pack.marts[item.mart], item.rows_of)

    def _add_publication(self, generations: Mapping[str, int], by: Rollback, action: str) -> None:
        ((last,),) = self.execute("SELECT COALESCE(MAX(number), 0) FROM marts_publications")
        built = [
            Publication(int(last) + 1, mart, number, by.run_id, action, by.who, by.why, by.at)
            for mart, number in sorted(generations.items())
        ]
        self.write("marts_publications", built)
