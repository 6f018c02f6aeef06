"""Drops change from day to day, no fault strikes, and the marts are compared after each build."""

from datetime import datetime
from pathlib import Path

import pytest
from support.kit import Place, marts

from faults.deliveries import AS_OF, Deliveries
from faults.effort import LONG
from marts.policy import Policy

ROUNDS, SEEDS = (60, 20) if LONG else (25, 1)


class Folder(Deliveries):
    """A source in a folder, whose builds run in this process."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(seed)
        self.place = Place(folder, policy=Policy(max_bad_ratio=0.5, max_fall=1), as_of=AS_OF)
        self.place.settings = {"limits": {"split_bytes": 8192, "finish_rows": 120, "rollup_lines": 300}}
        self.put_dimensions()

    def upload(self, key: str, data: bytes) -> None:
        self.place.put(key, data)

    def delete(self, key: str) -> None:
        (self.place.source / key).unlink()

    def listed(self) -> dict[str, datetime]:
        paths = (self.place.source / "sales").rglob("*.csv")
        moments = {str(path.relative_to(self.place.source)): path.stat().st_mtime for path in paths}
        return {key: datetime.fromtimestamp(moment, self.place.stamp.tzinfo) for key, moment in moments.items()}

    def command(self, *words: str) -> str:
        return marts(*words, *self.place.flags).output

    def miscounted(self) -> list[str]:
        """Return the names of the drops of the ledger whose rows do not add up."""
        warehouse = self.place.warehouse(read_only=True)
        try:
            live = [drop for drop in warehouse.drops() if drop.state == "live"]
            return [d.object_key for d in live if d.rows_read != d.clean + d.quarantined + d.duplicates]
        finally:
            warehouse.close()


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_the_marts_are_what_a_row_by_row_calculation_says_after_each_change(tmp_path: Path, seed: int) -> None:
    world = Folder(tmp_path, seed)
    world.begin()
    changes = ["begin"]
    for _ in range(ROUNDS):
        report = world.place.build()
        assert report.exit_code in world.ends, (changes, report.warnings)
        for name, rows in world.rows.items():
            assert sorted(world.place.mart(name)) == sorted(rows), changes
        assert not world.miscounted(), changes
        changes.append(world.change())
