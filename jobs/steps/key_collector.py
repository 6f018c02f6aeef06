"""Collect the keys of a split: in memory, or in files for other tasks to compare."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs.ports.store import Store
from jobs.steps.uniqueness import KeyFile, shown_columns, write_keys
from marts.pack import Kind
from marts.quality.findings import Keys
from marts.quality.key_measures import settle
from marts.quality.values import Measure

_KEYS_IN_MEMORY = 4_000_000
"""Rows of a drop whose keys one task keeps; later keys are written and compared by other tasks."""


class KeyCollector:
    """Collect the keys of a split; other tasks compare those of a partial drop or of too many rows."""

    def __init__(self, state: Store, kind: Kind, folder: str, whole: bool) -> None:
        self._state, self._kind, self._folder, self._whole = state, kind, folder, whole
        self._kept: dict[str, list[Keys]] = defaultdict(list)
        self.files: list[KeyFile] = []

    def take(self, block: Sequence[Keys], before: int, name: str) -> None:
        """Keep the keys of a block with ``before`` rows before it, or write them as ``name``."""
        for keys in (replace(keys, rows=keys.rows + before) for keys in block if len(keys.hashes)):
            if self._whole and before < _KEYS_IN_MEMORY:
                self._kept[keys.rule.id].append(keys)
            else:
                self._write(keys, name)

    def settle(self, name: str) -> Mapping[str, Measure]:
        """Return the measures of keys by rule if this task has all keys; else write the kept ones and return none."""
        if self.files:
            for parts in self._kept.values():
                for keys in parts:
                    self._write(keys, name)
            return {}
        return {rule: settle(parts, shown_columns(self._kind)) for rule, parts in self._kept.items()}

    def _write(self, keys: Keys, name: str) -> None:
        path = f"{self._folder}/{keys.rule.id}-{len(self.files):05d}-{name}"
        self.files.append(write_keys(self._state, path, keys))
