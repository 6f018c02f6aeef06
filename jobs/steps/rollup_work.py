"""What a roll-up task reads of earlier runs: the facts of days, and those of the first days merged."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from jobs.adapters.store.open import StoreAddress
from jobs.steps.rollup import Day, RollUp

_MERGE = 1 / 4
"""Share of the time of a whole month that it takes to merge its days."""


@dataclass(frozen=True)
class RollUpWork:
    """A task, and the state that it reads and writes."""

    task: RollUp
    state: StoreAddress
    days: tuple[Day, ...] = ()
    """The days whose facts are kept, to merge them with those of its other days."""
    first: int = 0
    """Number of the first days whose facts are kept merged; 0 if there are none."""

    @classmethod
    def of(cls, task: RollUp, state: StoreAddress, existing: AbstractSet[str]) -> "RollUpWork":
        """Return the work that is left of a task; ``existing`` are the files of earlier runs."""
        kept = tuple(day for day in task.days if task.paths_of(day) <= existing)
        known = next((n for n, day in enumerate(task.days) if day not in kept), len(task.days))
        merged = (n for n in range(known, 0, -1) if task.merged_paths(n) <= existing)
        return cls(task, state, kept, next(merged, 0))

    @property
    def lines(self) -> float:
        """Return the approximate number of lines whose whole computation takes as long."""
        if not self.days:
            return self.task.rows
        missing = 1 - len(self.days) / len(self.task.days)
        return self.task.rows * max(missing, _MERGE)
