"""Find the lines of keys that several rows of a dimension have, for the error that stops the run."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from jobs.ports.store import Store
from jobs.state.manifest import Manifest
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.scan_task import read_rows_of
from marts.errors import SHOWN_KEYS, DuplicateKeys, MartsError
from marts.rows.cast import read_column

_LINES = 3
"""Lines of a key that are named."""


def with_lines(
    error: DuplicateKeys, settings: ScanSettings, source: Store, dimensions: Iterable[Manifest]
) -> DuplicateKeys:
    """Return the error with the lines of its keys; as it is if the drop cannot be read any more."""
    kind = settings.pack.kinds[error.where]
    places: dict[int, str] = {}
    for manifest in dimensions:
        if manifest.delivery.kind == kind.name:
            try:
                places |= _places(settings, source, manifest, error.ids[:SHOWN_KEYS])
            except MartsError:
                return error
    return DuplicateKeys.of(kind.name, kind.key or "", error.ids, places)


def _places(settings: ScanSettings, source: Store, manifest: Manifest, ids: Sequence[int]) -> dict[int, str]:
    """Return where the rows of each key are in a drop."""
    kind, lines = settings.pack.kinds[manifest.delivery.kind], dict[int, list[int]]()
    column = kind.column(kind.key or "")
    for part in read_rows_of(settings, manifest.delivery, source):
        keys = read_column(column, part.form.header, part.rows.table, settings.policy, part.form.block).values
        for row in pc.indices_nonzero(pc.is_in(keys, pa.array(ids, keys.type))).to_pylist():
            lines.setdefault(keys[row].as_py(), []).append(part.before + int(part.rows.lines[row]) + 1)
    return {key: f"{_listed(own)} of {manifest.delivery.key}" for key, own in lines.items() if len(own) > 1}


def _listed(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - _LINES} more" if len(lines) > _LINES else ""
    return "lines " + ", ".join(f"{line:,}" for line in lines[:_LINES]) + more
