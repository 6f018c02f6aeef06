"""Write the rows of a split: check and count them, clean rows by month and bucket, bad rows to quarantine."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from jobs.ports.store import Store
from jobs.steps.blocks import Block
from jobs.steps.key_collector import KeyCollector
from jobs.steps.quarantine_files import BadRows, Tally
from jobs.steps.row_checker import CheckedBlock, RowChecker, from_id
from jobs.steps.row_files import RowFiles
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.split import Split, SplitResult, ends_of, scan_name
from marts.quality.findings import Measured
from marts.quality.key_measures import with_keys
from marts.quality.measures import merge
from marts.rows.records import find_records
from marts.rows.text_rows import RowBlock, RowFormat


class RowWriter:
    """Check, count and write the rows of one split, block by block.

    ``name`` is used for the split in file names, ``scan`` for the scan in folder names.
    """

    def __init__(
        self,
        settings: ScanSettings,
        split: Split,
        form: RowFormat,
        state: Store,
        bad: BadRows,
        name: str = "",
        scan: str = "",
    ) -> None:
        self._settings, self._split, self._format, self._part = settings, split, form, name
        self._kind = settings.pack.kinds[split.delivery.kind]
        folder = scan or scan_name(settings, split.delivery)
        self._checker = RowChecker(settings, self._kind.name, form)
        self._files = RowFiles(state, self._kind, folder)
        self._tally = Tally(settings, split, form, bad)
        self._keys = KeyCollector(state, self._kind, f"keys/{self._kind.name}/drop={folder}", split.stop is None)
        self._measured: list[Measured] = []
        self._well_formed = self._malformed = 0
        self._blocks = self._lines = self._rows = self._foreign = 0
        self._wide = False
        self._bad_days: tuple[date, ...] = ()

    def skip_lines(self, count: int) -> None:
        self._lines += count

    def take(self, block: Block) -> None:
        """Check and write the rows of one block."""
        if block.oversized:
            checked = self._checker.oversized(block)
        else:
            records = find_records(block.text, self._format.dialect)
            self._foreign += records.foreign
            self._wide |= records.is_wide
            checked = self._checker.check(self._format.read(records))
        self._write(checked)

    def take_rows(self, rows: RowBlock) -> None:
        """Check and write the rows of one part of a table."""
        self._write(self._checker.check(rows))

    def _write(self, block: CheckedBlock) -> None:
        self._measured += block.measured
        self._keys.take(block.keys, self._well_formed, self._name())
        if block.bad:
            self._tally.take(block.bad, self._lines)
            self._bad_days = ends_of([*self._bad_days, *block.bad_days])
        if block.clean is not None and block.clean.num_rows:
            write = self._files.write_lines if self._kind.is_fact else self._files.write_dimension
            write(block.clean, self._name())
        self._well_formed += block.well_formed
        self._malformed += block.malformed
        self._rows += block.rows
        self._lines += block.lines
        self._blocks += 1

    def _name(self) -> str:
        """Return a file name by content: the byte range, or the block size of a whole drop, and the block number."""
        split = self._split
        share = f"all-{self._settings.split_bytes:x}" if split.stop is None else f"{split.start:012x}-{split.stop:012x}"
        return f"{self._part or share}-{self._blocks:05d}.parquet"

    def result(self, leaves: Iterable[str]) -> SplitResult:
        """Return the result of the split."""
        keys = self._keys.settle(self._name())
        measured = merge([Measured(columns=self._format.header.all), *self._measured])
        return SplitResult(
            split=self._split,
            leaves=tuple(leaves),
            rows_read=self._rows,
            lines=self._lines,
            months=self._files.months,
            files=tuple(self._files.files),
            quarantine=self._tally.files,
            quarantined=self._tally.rows,
            reasons=self._tally.reasons,
            measured=with_keys(replace(measured, malformed=self._malformed), keys),
            keys=tuple(self._keys.files),
            extra_columns=self._format.header.extra if self._kind.is_fact else (),
            currencies=self._files.currencies,
            sums=self._files.sums,
            form=self._format.lines,
            from_id=from_id(self._format.header),
            foreign=self._foreign,
            wide=self._wide,
            bad_days=self._bad_days,
        )
