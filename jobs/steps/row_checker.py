"""Check the rows of a block: clean rows, bad rows and measurements. No value of an erased person is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.steps.blocks import Block
from jobs.steps.scan_settings import ScanSettings
from marts.expressions import parsed
from marts.names import plain_name
from marts.privacy.erasure import ERASED
from marts.quality.changes import check_block
from marts.quality.check import Checked
from marts.quality.findings import Keys, Measured, without_samples
from marts.rows.cast import prefixed, read_column
from marts.rows.header import Header
from marts.rows.numbers import plain_numbers, without_prefix
from marts.rows.records import MAX_RECORD, BadRow
from marts.rows.text_rows import RowBlock, RowFormat


def bad_rows(
    block: RowBlock, checked: Checked, places: np.ndarray | None = None, keys: pa.Array | None = None
) -> list[BadRow]:
    """Return the rows of a block that break a rule; ``places`` are those that were checked, by default all.

    ``keys`` are those of all rows of the block, null where they cannot be read.
    """
    results = []
    for row, reasons in checked.reasons.items():
        place = row if places is None else int(places[row])
        key = keys[place].as_py() if keys is not None else None
        results.append(
            BadRow(int(block.lines[place]), block.raw(place), tuple(reasons), "" if key is None else str(key))
        )
    return results


def from_id(header: Header) -> tuple[str, ...]:
    """Return the columns that are computed from the id of a person."""
    person = plain_name(header.person)
    return tuple(n for n, text in header.computed.items() if person in map(plain_name, parsed(text).columns))


def _blank(row: BadRow, key: str = "") -> BadRow:
    """Return a bad row without values: its line, the rules it breaks, and the key that replaces its own."""
    return BadRow(row.line, ERASED, tuple((rule, "") for rule, _ in row.reasons), key)


@dataclass(frozen=True)
class CheckedBlock:
    """Result of checking one block."""

    clean: pa.Table | None
    bad: tuple[BadRow, ...]
    """Bad rows in line order."""
    measured: tuple[Measured, ...] = ()
    keys: tuple[Keys, ...] = ()
    """Keys; row numbers count from the first well-formed row of the block."""
    well_formed: int = 0
    malformed: int = 0
    lines: int = 0
    bad_days: tuple[date, ...] = ()
    """First and last day of bad rows, of those whose day can be read."""

    @property
    def rows(self) -> int:
        return (self.clean.num_rows if self.clean is not None else 0) + len(self.bad)


class RowChecker:
    """Check the rows of the blocks of one drop."""

    def __init__(self, settings: ScanSettings, kind: str, form: RowFormat) -> None:
        self._settings, self._kind, self._format = settings, settings.pack.kinds[kind], form
        self._suite = settings.suites[kind]

    def oversized(self, block: Block) -> CheckedBlock:
        """Return an oversized record as a bad row."""
        displayed = block.text[:1000].decode("utf-8", "backslashreplace")
        row = BadRow(0, f"{displayed}… ({block.oversized:,} bytes)", ((f"longer than {MAX_RECORD:,} bytes", ""),))
        return CheckedBlock(None, (self._without_erased(row),), malformed=1, lines=1)

    def check(self, block: RowBlock) -> CheckedBlock:
        """Check the rows of a block; rows of erased people become anonymous clean and bad rows."""
        text = block.table
        malformed = [self._without_erased(row) for row in block.bad]
        numbers = self._erased_numbers(text)
        if numbers is None:
            checked = self._checked(text)
            bad = [*malformed, *bad_rows(block, checked, keys=self._keys(text))]
            broken = list(checked.reasons)
            measured: tuple[Measured, ...] = (checked.findings.measured,)
            keys, clean = checked.findings.keys, checked.clean
        else:
            known = numbers == 0
            erased, checked = self._checked(text.filter(pa.array(~known))), self._checked(text.filter(pa.array(known)))
            nobody = self._without(erased.clean, numbers[~known][erased.kept])
            clean, places = pa.concat_tables([checked.clean, nobody]), np.flatnonzero(known)
            bad = [*malformed, *bad_rows(block, checked, places, self._keys(text))]
            bad += map(self._anonymous, bad_rows(block, erased, np.flatnonzero(~known), self._keys(text)))
            broken = [int(places[row]) for row in checked.reasons]
            keys = tuple(replace(keys, rows=places[keys.rows]) for keys in checked.findings.keys)
            measured = (without_samples(erased.findings.measured), checked.findings.measured)
        by_line = tuple(sorted(bad, key=lambda row: row.line))
        days = self._days(text, broken)
        return CheckedBlock(clean, by_line, measured, keys, text.num_rows, len(malformed), block.line_count, days)

    def _days(self, text: pa.Table, rows: Sequence[int]) -> tuple[date, ...]:
        """Return the first and the last day of some rows of a fact; empty if none can be read."""
        if not rows or not self._kind.is_fact:
            return ()
        form, dated = self._format, self._kind.dated_by
        read = read_column(dated, form.header, text.take(pa.array(rows)), self._settings.policy, form.block).values
        ends = pc.min_max(read.cast(pa.date32(), safe=False)).as_py()
        return (ends["min"], ends["max"]) if ends["min"] else ()

    def _keys(self, text: pa.Table) -> pa.Array | None:
        """Return the keys of the rows of a dimension with versions: a bad row says that its entity is still there."""
        if not self._kind.versions:
            return None
        form = self._format
        key = self._kind.column(self._kind.key or "")
        return read_column(key, form.header, text, self._settings.policy, form.block).values

    def _anonymous(self, row: BadRow) -> BadRow:
        """Return a bad row of an erased person without values, with the id that replaces theirs."""
        erased = self._settings.erased
        return _blank(row, str(erased.stand_in(erased.number_of(row.key))) if row.key else "")

    def _without(self, rows: pa.Table, numbers: np.ndarray) -> pa.Table:
        """Remove the personal data of erased people from clean rows."""
        return self._settings.erased.without(self._kind, rows, numbers.tolist(), from_id(self._format.header))

    def _checked(self, text: pa.Table) -> Checked:
        form = self._format
        return check_block(self._kind, form.header, text, self._settings.policy, self._suite, form.block)

    def _erased_numbers(self, text: pa.Table) -> np.ndarray | None:
        """Return the number of the erased person of each row, 0 for others; None if no row has an erased person."""
        erased = self._settings.erased
        person = self._kind.person
        if not erased.numbers or person not in self._format.header.known:
            return None
        block = self._format.block
        ids, prefix = text[person].combine_chunks(), block.prefix(person)
        if erased.has_text_ids:
            return erased.numbers_of(prefixed(ids, prefix))
        return erased.numbers_of(plain_numbers(without_prefix(ids, prefix), block))

    def _without_erased(self, row: BadRow) -> BadRow:
        """Return a malformed row, without its text if it names an erased person."""
        return _blank(row) if self._settings.erased.is_in(row.raw, self._format.lines) else row
