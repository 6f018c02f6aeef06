"""Bad rows in files of the state, and their reasons for the report."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import pyarrow as pa

from jobs.ports.store import Store
from jobs.state.manifest import Reason
from jobs.state.parquet import write_parquet
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.split import Split
from marts.privacy.masking import mask_line
from marts.rows.records import BadRow
from marts.rows.text_rows import RowFormat

_BAD_IN_MEMORY = 8 << 20
"""Bytes of bad rows that a task buffers before it writes them."""
_LINE, _SHOWN = 10_000, 200
"""Characters of an example line that are masked, and shown."""


class BadRows:
    """Write the bad rows of all drops that one task reads to shared files: most drops have few."""

    def __init__(self, state: Store, name: str) -> None:
        self._state, self._name = state, name
        self._tables: dict[str, list[pa.Table]] = defaultdict(list)
        self._bytes: Counter[str] = Counter()
        self._written: Counter[str] = Counter()

    def take(self, kind: str, rows: pa.Table) -> str:
        """Add rows. Return the file that will contain them."""
        path = self._path(kind)
        self._tables[kind].append(rows)
        self._bytes[kind] += rows.nbytes
        if self._bytes[kind] > _BAD_IN_MEMORY:
            self._write(kind)
        return path

    def write(self) -> None:
        """Write the buffered rows."""
        for kind in list(self._tables):
            self._write(kind)

    def _write(self, kind: str) -> None:
        write_parquet(self._state, self._path(kind), pa.concat_tables(self._tables.pop(kind)))
        self._written[kind] += 1
        self._bytes[kind] = 0

    def _path(self, kind: str) -> str:
        return f"quarantine/{kind}/pack={self._name}/{self._written[kind]:05d}.parquet"


KEY = "key"
"""Column of the keys of bad rows of a dimension with versions; empty if a row has no readable one."""


def _words(rule: str, value: str) -> str:
    return f"{rule}: {value}" if value else rule


class Tally:
    """Count the bad rows of one split by reason, with an example of each, and pass them on to be written."""

    def __init__(self, settings: ScanSettings, split: Split, form: RowFormat, bad: BadRows) -> None:
        self._settings, self._split, self._format, self._bad = settings, split, form, bad
        self._kind = settings.pack.kinds[split.delivery.kind]
        self._files: dict[str, None] = {}
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, tuple[str, int, str]] = {}
        self.rows = 0

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self._files)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return tuple(
            Reason(rule=rule, rows=rows, example=example, line=line, raw=raw)
            for rule, rows in self._reasons.items()
            for example, line, raw in [self._examples[rule]]
        )

    def take(self, rows: Sequence[BadRow], lines: int) -> None:
        """Add the bad rows of a block with ``lines`` lines before it."""
        table = pa.table(
            {
                "drop": pa.array([self._split.delivery.key] * len(rows), pa.string()),
                "run": pa.array([self._settings.run_id] * len(rows), pa.string()),
                "split": pa.array([self._split.number] * len(rows), pa.int32()),
                "line": pa.array([lines + row.line + 1 for row in rows], pa.int64()),
                "raw": pa.array([row.raw for row in rows], pa.string()),
                "reasons": pa.array(
                    [[_words(*reason) for reason in row.reasons] for row in rows], pa.list_(pa.string())
                ),
            }
        )
        kind = self._kind
        if kind.versions:
            table = table.append_column(KEY, pa.array([row.key for row in rows], pa.string()))
        self._files[self._bad.take(kind.name, table)] = None
        self.rows += len(rows)
        for row in rows:
            for rule, value in row.reasons:
                self._reasons[rule] += 1
                if rule not in self._examples:
                    raw = mask_line(kind, self._format.lines, row.raw[:_LINE])
                    self._examples[rule] = (value, lines + row.line + 1, raw[:_SHOWN])
