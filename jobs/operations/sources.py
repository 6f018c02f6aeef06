"""Try a file: read its first rows as a build would, and say what does not fit."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from jobs.adapters.store.open import open_store
from jobs.config.settings import Settings
from jobs.ports.store import ObjectVersion, Store
from jobs.state.manifest import Delivery
from jobs.steps.row_checker import bad_rows
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.scan_task import ReadRows, first_rows_of
from marts.errors import DropRejected, UsageError
from marts.pack import DIGITS, Kind, Pack
from marts.policy import Policy, nearest
from marts.quality.changes import check_block
from marts.rows.diagnosis import advice, block_hint
from marts.rows.layout import Layout
from marts.rows.records import BadRow
from marts.rows.source_block import number_of
from marts.rows.text_rows import RowFormat

_PIECE = 4 << 20
"""Bytes of the file that are read to try it."""


@dataclass(frozen=True)
class Misfit:
    """A row that does not fit, with its reasons and the settings with which it may be read."""

    line: int
    """In the file, from 1."""
    raw: str
    reasons: tuple[str, ...]
    settings: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """The start of a file, as it is read."""

    key: str
    kind: str
    block: int
    """Number of the block that holds, from 1; 0 if none matches."""
    match: str = ""
    format: str = "csv"
    layout: Layout = field(default_factory=Layout)
    columns: tuple[tuple[str, str, str], ...] = ()
    """Name in the file, column, and type of the column."""
    rows: tuple[dict[str, Any], ...] = ()
    """Typed rows, by column."""
    read: int = 0
    """Rows that were read."""
    misfits: tuple[Misfit, ...] = ()
    bad: int = 0
    """Rows that do not fit; ``misfits`` are the first of them."""
    rejected: str = ""
    """Why the file cannot be read at all."""
    hint: str = ""


def try_file(settings: Settings, policy: Policy, where: str, kind: str | None, limit: int) -> Trial:
    """Read the first rows of a file or object; change nothing. Raise UsageError if it does not exist."""
    store, version = _find(settings, where)
    scan = ScanSettings.of(settings.model_copy(update={"state": settings.state or "."}), policy)  # nothing is written
    block = scan.block(version.key)
    number = number_of(version.key, scan.blocks)
    kind = kind or block.kind or _kind_of(version.key, scan.pack)
    if kind not in scan.pack.kinds:
        what = f"unknown kind {kind!r}{nearest(kind, scan.pack.kinds)}" if kind else "the kind of drop is not known"
        raise UsageError(what, version.key, f"name it with --kind: {', '.join(scan.pack.kinds)}")
    trial = Trial(version.key, kind, number, block.match if number else "")
    if block.ignore:
        return replace(trial, rejected="its block has ignore = true: builds leave it out")
    try:
        part = first_rows_of(replace(scan, split_bytes=_PIECE), Delivery.of(kind, version), store)
        return _tried(replace(trial, layout=part.layout), scan, part, limit)
    except DropRejected as error:
        return replace(trial, rejected=error.what, hint=error.hint)


def _tried(trial: Trial, scan: ScanSettings, part: ReadRows, limit: int) -> Trial:
    kind, form, read = scan.pack.kinds[trial.kind], part.form, part.rows
    checked = check_block(kind, form.header, read.table, scan.policy, scan.suites[kind.name], form.block)
    bad = [*read.bad, *bad_rows(read, checked)]
    bad.sort(key=lambda row: row.line)
    written = form.header.written or form.header.names
    types = {column.name: column.type for column in kind.columns}
    columns = [
        (old, new or "(none)", types.get(new, "kept as text"))
        for old, new in zip(written, form.header.names, strict=True)
    ]
    columns += [("(given)", name, types.get(name, "kept as text")) for name in form.header.given]
    return replace(
        trial,
        format=form.block.format,
        columns=tuple(columns),
        rows=tuple(_as_read(row, kind) for row in checked.clean.slice(0, limit).to_pylist()),
        read=read.table.num_rows + len(read.bad),
        misfits=tuple(_misfit(row, part.before, trial.key, form) for row in bad[:limit]),
        bad=len(bad),
    )


def _as_read(row: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """Return a clean row with numbers as decimals, not in units of their last digit."""
    results = dict(row)
    for column in kind.columns:
        if digits := DIGITS.get(column.type):
            value = results.pop(column.clean_name)
            results[column.name] = None if value is None else f"{Decimal(value).scaleb(-digits).normalize():f}"
    return {column.name: results.pop(column.name) for column in kind.columns} | results


def _misfit(row: BadRow, before: int, key: str, form: RowFormat) -> Misfit:
    settings = dict.fromkeys(advice(rule, value) for rule, value in row.reasons)
    hints = tuple(block_hint(key, form.block, setting) for setting in settings if setting)
    reasons = tuple(f"{rule}: {value}" if value else rule for rule, value in row.reasons)
    return Misfit(before + row.line + 1, row.raw, reasons, hints)


def _find(settings: Settings, where: str) -> tuple[Store, ObjectVersion]:
    """Return an object and its store: below the source if it is there, so that its key is that of a build."""
    source = settings.source.rstrip("/") if settings.source else None
    if "://" not in where:
        root, name = _local_root(Path(where).absolute(), settings.source, settings.domain)
    elif source and where.startswith(f"{source}/"):
        root, name = source, where.removeprefix(f"{source}/")
    else:
        root, _, name = where.rpartition("/")
    store = open_store(root, settings.s3)
    versions = {version.key: version for version in store.versions(name.rpartition("/")[0])}
    if name not in versions:
        raise UsageError(
            "no such file", where, f"did you mean one of {', '.join(list(versions)[:3])}?" if versions else ""
        )
    return store, versions[name]


def _local_root(path: Path, source: str | None, pack: Pack) -> tuple[str, str]:
    """Return the source and the key of a file below it; else the folder above that of a kind, or its own folder."""
    if source and "://" not in source and path.is_relative_to(Path(source).absolute()):
        root = Path(source).absolute()
    else:
        above = [folder for folder in path.parents if folder.name.lower() in pack.kinds]
        root = above[-1].parent if above else path.parent
    return str(root), path.relative_to(root).as_posix()


def _kind_of(key: str, pack: Pack) -> str:
    """Return the kind whose folder a key is in, as builds list it; empty if it is in none."""
    folder = key.partition("/")[0].lower()
    return folder if folder in pack.kinds else ""
