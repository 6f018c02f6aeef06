"""Rows of a split on their way into files: checked, erased, counted, clean ones by month and bucket, bad ones aside."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.ports.store import Store
from jobs.state.manifest import BUCKETS, SUMMED, Delivery, LinesFile, MonthLines, Reason, name_of
from jobs.state.parquet import write_parquet
from jobs.steps.blocks import Block
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.uniqueness import KeyFile, shown_columns, write_keys
from marts.privacy.erasure import ERASED
from marts.privacy.masking import mask_line
from marts.quality.check import Checked, check_rows
from marts.quality.key_measures import settle, with_keys
from marts.quality.measures import merge
from marts.quality.values import Keys, Measured, without_samples
from marts.rows.cast import GUEST
from marts.rows.hashing import hash_rows
from marts.rows.records import MAX_RECORD, BadRow, Header, Records, find_records, read_columns
from marts.schema import KINDS, SALES

_GROUP_ROWS = 1 << 16
_KEYS_IN_MEMORY = 4_000_000
"""Rows of a drop whose keys one task keeps; beyond, they are written and compared by others."""
_BAD_IN_MEMORY = 8 << 20
"""Bytes of bad rows that a task keeps before it writes them."""
_LINE, _SHOWN = 10_000, 200
"""Characters of an example's line that are looked at, and shown."""
_HASH_SALT = np.uint64(0x9E3779B97F4A7C15)
_NOTHING = Measured()


@dataclass(frozen=True)
class Split:
    """A share of one delivery: bytes from start to stop, or all of it if stop is None."""

    delivery: Delivery
    number: int
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class SplitResult:
    """What one split held."""

    split: Split
    rejected: str = ""
    unreadable: bool = False
    """It is rejected because it cannot be read now: worth another try by the next run."""
    changed: str = ""
    """The object is no longer the planned version."""
    unsplittable: bool = False
    """A record spans lines: the drop must be read as a whole."""
    leaves: tuple[str, ...] = ()
    rows_read: int = 0
    lines: int = 0
    months: dict[str, MonthLines] = field(default_factory=dict)
    files: tuple[LinesFile, ...] = ()
    quarantine: tuple[str, ...] = ()
    quarantined: int = 0
    reasons: tuple[Reason, ...] = ()
    measured: Measured = _NOTHING
    keys: tuple[KeyFile, ...] = ()
    """Keys that must be compared with those of the other splits."""
    extra_columns: tuple[str, ...] = ()
    currencies: tuple[str, ...] = ()
    sums: tuple[int, ...] = ()
    """As in the manifest."""


class BadRows:
    """Takes the bad rows of all drops that one task reads, and writes them together: most drops have few."""

    def __init__(self, state: Store, name: str) -> None:
        self._state, self._name = state, name
        self._tables: dict[str, list[pa.Table]] = defaultdict(list)
        self._bytes: Counter[str] = Counter()
        self._written: Counter[str] = Counter()

    def take(self, kind: str, rows: pa.Table) -> str:
        """Take rows. Gives the file that they will be in."""
        path = self._path(kind)
        self._tables[kind].append(rows)
        self._bytes[kind] += rows.nbytes
        if self._bytes[kind] > _BAD_IN_MEMORY:
            self._write(kind)
        return path

    def write(self) -> None:
        """Write what is left."""
        for kind in list(self._tables):
            self._write(kind)

    def _write(self, kind: str) -> None:
        write_parquet(self._state, self._path(kind), pa.concat_tables(self._tables.pop(kind)))
        self._written[kind] += 1
        self._bytes[kind] = 0

    def _path(self, kind: str) -> str:
        return f"quarantine/{kind}/pack={self._name}/{self._written[kind]:05d}.parquet"


class RowWriter:
    """Takes the blocks of one split, writes their rows, and counts.

    ``name`` stands for the split in the names of files, ``scan`` for the scan in those of folders.
    """

    def __init__(
        self,
        settings: ScanSettings,
        split: Split,
        header: Header,
        state: Store,
        bad: BadRows,
        name: str = "",
        scan: str = "",
    ) -> None:
        self._settings, self._split, self._header, self._state = settings, split, header, state
        self._bad, self._part = bad, name
        self._kind = KINDS[split.delivery.kind]
        self._suite = settings.suites[self._kind.name]
        self._measured: list[Measured] = []
        self._keys: dict[str, list[Keys]] = defaultdict(list)
        self._key_files: list[KeyFile] = []
        self._table_rows = self._malformed = 0
        self._scan = scan or scan_name(settings, split.delivery)
        self._blocks = self._lines = self._rows = 0
        self._months: dict[str, list[tuple[LinesFile, date]]] = {}
        self._files: list[LinesFile] = []
        self._quarantine: dict[str, None] = {}
        self._quarantined = 0
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, tuple[str, int, str]] = {}
        self._currencies: set[str] = set()
        self._sums: tuple[int, ...] = ()

    def skip_lines(self, count: int) -> None:
        self._lines += count

    def take(self, block: Block) -> None:
        """Check the rows of one block and write them."""
        if block.oversized:
            rule = (f"longer than {MAX_RECORD:,} bytes", "")
            shown = block.text[:1000].decode("utf-8", "backslashreplace")
            self._write_bad([self._unnamed(BadRow(0, f"{shown}… ({block.oversized:,} bytes)", (rule,)))])
            self._rows += 1
            self._lines += 1
            self._malformed += 1
        else:
            self._take_records(find_records(block.text, self._settings.delimiter))
        self._blocks += 1

    def _take_records(self, records: Records) -> None:
        text, rows, wrong = read_columns(records, self._header, self._settings.delimiter)
        bad = [self._unnamed(row) for row in (*records.bad, *wrong)]
        self._malformed += len(bad)
        there, nobodys = self._erase(records, text, rows)
        checked = self._check(text.filter(pa.array(there)) if nobodys else text)
        self._measured.append(checked.findings.measured)
        places = np.flatnonzero(there) if nobodys else None
        self._take_keys([k if places is None else replace(k, rows=places[k.rows]) for k in checked.findings.keys])
        self._table_rows += text.num_rows
        bad += bad_rows(records, rows if places is None else rows[places], checked)
        clean = checked.clean
        if nobodys:
            clean, bad = pa.concat_tables([clean, nobodys[0]]), [*bad, *nobodys[1]]
        if bad:
            self._write_bad(sorted(bad, key=lambda row: row.line))
        if clean.num_rows:
            if self._kind is SALES:
                self._write_lines(clean)
            else:
                self._write_dimension(clean)
        self._rows += clean.num_rows + len(bad)
        self._lines += records.line_count

    def _check(self, text: pa.Table) -> Checked:
        return check_rows(self._kind, self._header, text, self._settings.policy, self._suite)

    def _erase(
        self, records: Records, text: pa.Table, rows: np.ndarray
    ) -> tuple[np.ndarray, tuple[pa.Table, list[BadRow]] | None]:
        """Tell which rows are of people who were not erased; give the others as clean and bad rows of nobody."""
        there = np.ones(text.num_rows, bool)
        erased = self._settings.erased
        numbers = erased.numbers_of(text["customer_id"]) if "customer_id" in self._header.known else None
        if numbers is None:
            return there, None
        there = numbers == 0
        checked = self._check(text.filter(pa.array(~there)))
        self._measured.append(without_samples(checked.findings.measured))
        clean = erased.without(self._kind, checked.clean, numbers[~there][checked.kept].tolist())
        found = bad_rows(records, rows[~there], checked)
        return there, (clean, [_blank(row) for row in found])

    def _unnamed(self, row: BadRow) -> BadRow:
        """Give a row that is no proper CSV, without its text if it names somebody who was erased."""
        erased = self._settings.erased.is_in(row.raw, self._header.names, self._settings.delimiter)
        return _blank(row) if erased else row

    def _take_keys(self, found: Sequence[Keys]) -> None:
        """Keep the keys of a block, or write them if others must see them."""
        for keys in (replace(keys, rows=keys.rows + self._table_rows) for keys in found if len(keys.hashes)):
            if self._split.stop is None and self._table_rows < _KEYS_IN_MEMORY:
                self._keys[keys.rule.id].append(keys)
            else:
                self._write_keys(keys)

    def _write_keys(self, keys: Keys) -> None:
        name = f"{keys.rule.id}-{len(self._key_files):05d}-{self._name()}"
        path = f"keys/{self._kind.name}/drop={self._scan}/{name}"
        self._key_files.append(write_keys(self._state, path, keys))

    def _settled(self) -> Measured:
        """Put the blocks together; keys are settled here if this task has seen all of them."""
        if self._key_files:
            for parts in self._keys.values():
                for keys in parts:
                    self._write_keys(keys)
            self._keys.clear()
        header = Measured(columns=self._header.names)
        measured = replace(merge([header, *self._measured]), malformed=self._malformed)
        found = {rule: settle(parts, shown_columns(self._kind)) for rule, parts in self._keys.items()}
        return with_keys(measured, found)

    def _name(self) -> str:
        """Name a file by what it holds: bytes of a range, or a block of the whole read by such steps."""
        split = self._split
        share = f"all-{self._settings.split_bytes:x}" if split.stop is None else f"{split.start:012x}-{split.stop:012x}"
        return f"{self._part or share}-{self._blocks:05d}.parquet"

    def _write_bad(self, bad: list[BadRow]) -> None:
        table = pa.table(
            {
                "drop": pa.array([self._split.delivery.key] * len(bad), pa.string()),
                "run": pa.array([self._settings.run_id] * len(bad), pa.string()),
                "split": pa.array([self._split.number] * len(bad), pa.int32()),
                "line": pa.array([self._lines + row.line + 1 for row in bad], pa.int64()),
                "raw": pa.array([row.raw for row in bad], pa.string()),
                "reasons": pa.array(
                    [[_words(*reason) for reason in row.reasons] for row in bad], pa.list_(pa.string())
                ),
            }
        )
        self._quarantine[self._bad.take(self._kind.name, table)] = None
        self._quarantined += len(bad)
        for row in bad:
            for rule, value in row.reasons:
                self._reasons[rule] += 1
                if rule not in self._examples:
                    raw = mask_line(self._kind, self._header.names, row.raw[:_LINE], self._settings.delimiter)
                    self._examples[rule] = (value, self._lines + row.line + 1, raw[:_SHOWN])

    def _write_dimension(self, rows: pa.Table) -> None:
        key = f"dimensions/{self._kind.name}/drop={self._scan}/{self._name()}"
        write_parquet(self._state, key, rows)
        self._files.append(LinesFile(path=key, rows=rows.num_rows))

    def _write_lines(self, lines: pa.Table) -> None:
        """Write clean lines by month, and within a month by bucket."""
        if lines["currency"].null_count < lines.num_rows:
            self._currencies.update(value for value in pc.unique(lines["currency"]).to_pylist() if value)
        self._sums = added((self._sums, _sums_of(lines)))
        days = lines["sales_date"].to_numpy()
        months = days.astype("datetime64[M]").astype(np.int64)
        buckets = buckets_of(lines)
        distinct = np.unique(months)
        table = lines.append_column("bucket", pa.array(buckets, pa.uint8()))
        if len(distinct) == 1 and lines.num_rows <= _GROUP_ROWS:
            # They become one row group: in which order does not matter, and that of the drop costs nothing.
            name = str(np.datetime64(int(distinct[0]), "M"))
            self._write_month(table, name, days.max().item(), np.array([0, lines.num_rows]))
            return
        places = np.searchsorted(distinct, months) * BUCKETS + buckets
        order = np.argsort(places.astype(np.uint16) if len(distinct) < 4096 else places, kind="stable")
        table = table.take(pa.array(order))
        borders = np.searchsorted(places[order], np.arange(len(distinct) * BUCKETS + 1))
        for place, month in enumerate(distinct):
            name, last_day = str(np.datetime64(int(month), "M")), days[months == month].max().item()
            self._write_month(table, name, last_day, borders[place * BUCKETS :][: BUCKETS + 1])

    def _write_month(self, table: pa.Table, month: str, last_day: date, borders: np.ndarray) -> None:
        """Write the lines of one month; the borders of its buckets become those of the row groups."""
        start, stop = int(borders[0]), int(borders[-1])
        rows = stop - start
        groups = [(int(a) - start, int(b) - start) for a, b in pairwise(borders) if b > a]
        key = f"lines/month={month}/drop={self._scan}/{self._name()}"
        write_parquet(self._state, key, table.slice(start, rows), groups if rows > _GROUP_ROWS else None)
        self._months.setdefault(month, []).append((LinesFile(path=key, rows=rows), last_day))

    def result(self, leaves: Iterable[str]) -> SplitResult:
        """Sum up what the split held."""
        months = {
            month: MonthLines(
                rows=sum(file.rows for file, _ in files),
                last_day=max(last for _, last in files).isoformat(),
                files=tuple(file for file, _ in files),
            )
            for month, files in sorted(self._months.items())
        }
        return SplitResult(
            split=self._split,
            leaves=tuple(leaves),
            rows_read=self._rows,
            lines=self._lines,
            months=months,
            files=tuple(self._files),
            quarantine=tuple(self._quarantine),
            quarantined=self._quarantined,
            reasons=tuple(
                Reason(rule=rule, rows=rows, example=example, line=line, raw=raw)
                for rule, rows in self._reasons.items()
                for example, line, raw in [self._examples[rule]]
            ),
            measured=self._settled(),
            keys=tuple(self._key_files),
            extra_columns=self._header.extra if self._kind is SALES else (),
            currencies=tuple(sorted(self._currencies)),
            sums=self._sums,
        )


def write_lines(state: Store, key: str, lines: pa.Table) -> None:
    """Write clean lines of one month, whose customers may have changed: by bucket if they are many."""
    buckets = buckets_of(lines)
    table = lines.set_column(lines.schema.get_field_index("bucket"), "bucket", pa.array(buckets, pa.uint8()))
    if lines.num_rows <= _GROUP_ROWS:
        write_parquet(state, key, table)
        return
    order = np.argsort(buckets, kind="stable")
    borders = np.searchsorted(buckets[order], np.arange(BUCKETS + 1))
    groups = [(int(a), int(b)) for a, b in pairwise(borders) if b > a]
    write_parquet(state, key, table.take(pa.array(order)), groups)


def buckets_of(lines: pa.Table) -> np.ndarray:
    """Return the bucket of each line: lines of one transaction share it. Guests, all one customer, go by their ids."""
    keys = lines["customer_id"].to_numpy().astype(np.uint64)
    guests = keys == GUEST
    if guests.any():
        theirs = lines.select(["transaction_id"]).filter(pa.array(guests))
        stores = lines["store_id"].to_numpy()[guests].astype(np.uint64)
        without = theirs["transaction_id"].is_null().to_numpy()
        keys[guests] = np.where(without, stores, hash_rows(theirs))
    return np.asarray(((keys * _HASH_SALT) >> np.uint64(60)).astype(np.int64))


def _sums_of(lines: pa.Table) -> tuple[int, ...]:
    """Return the rows of a block, and the sum of each column of numbers, modulo 2**64."""
    numbers = [lines[name].to_numpy().astype(np.int64, copy=False) for name in SUMMED]
    days = lines["sales_date"].cast(pa.int32()).to_numpy()
    return (lines.num_rows, *(int(values.sum()) for values in (*numbers, days)))


def added(sums: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """Add up sums of parts of a drop; parts without lines have none."""
    return tuple(sum(column) % 2**64 for column in zip(*(part for part in sums if part), strict=True))


def bad_rows(records: Records, rows: np.ndarray, checked: Checked) -> list[BadRow]:
    """Give the rows of a block that break a rule."""
    return [
        BadRow(int(records.lines[rows[row]]), records.raw(int(rows[row])), tuple(reasons))
        for row, reasons in checked.reasons.items()
    ]


def _blank(row: BadRow) -> BadRow:
    """Keep where a row is and which rules it breaks, and no value."""
    return BadRow(row.line, ERASED, tuple((rule, "") for rule, _ in row.reasons))


def _words(rule: str, value: str) -> str:
    return f"{rule}: {value}" if value else rule


def scan_name(settings: ScanSettings, delivery: Delivery) -> str:
    """Name the scan of a delivery by the rules it is judged by."""
    return _name_by_rules(settings, delivery.kind, delivery.id)


def origin_of(settings: ScanSettings, delivery: Delivery, content: str) -> str:
    """Name what clean rows come from: a content and the rules, whatever the object is called."""
    return _name_by_rules(settings, delivery.kind, content or delivery.id)


def _name_by_rules(settings: ScanSettings, kind: str, what: str) -> str:
    without = [settings.erased.name] if settings.erased.numbers else []
    return name_of(what, settings.rules(kind), *without)
