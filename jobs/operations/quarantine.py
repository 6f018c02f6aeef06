"""Rows in quarantine: list, show, export and replay them, and release a held drop."""

import csv
import difflib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.operations.survey import Survey
from jobs.ports.records import Decision
from jobs.ports.warehouse import Warehouse
from jobs.runtime.escaping import for_spreadsheet, from_spreadsheet
from jobs.state.manifest import LinesFile, Manifest
from jobs.steps.planned import PlannedDrop
from jobs.steps.repair import BadLine, format_of, judge_lines, rows_in_quarantine
from marts.errors import DataError, UsageError
from marts.privacy.masking import mask_line

LINE, REASONS, RAW = "quarantine_line", "quarantine_reasons", "quarantine_raw"
"""Columns of an export before those of the drop; a repaired file needs the first."""
_BIGGEST_FIELD = 1 << 22


@dataclass(frozen=True)
class Replay:
    """Result of judging rows again."""

    clean: tuple[int, ...]
    """Lines that the next build counts."""
    wrong: dict[int, list[str]]
    """Lines that stay in quarantine, with their reasons."""


def with_rows(now: Survey) -> list[PlannedDrop]:
    """Return the drops that have rows in quarantine or are held, those with most rows first.

    These are drops of the last publication and drops that a build has read since without publishing.
    """
    drops = _published(now).values()
    selected = [d for d in drops if d.manifest and not d.duplicate_of and (d.manifest.quarantined or d.held)]
    return sorted(selected, key=lambda drop: (-_manifest(drop).quarantined, drop.delivery.key))


def remarks(now: Survey) -> list[str]:
    """Return remarks on the list of ``with_rows``: drops that have changed since, and scans missing in the state."""
    lost = sum(bool(not drop.manifest and not drop.duplicate_of and not drop.rejected) for drop in now.known)
    messages = []
    if not now.known:
        messages.append("nothing is published yet; marts plan lists new drops")
    elif now.changed:
        drops = "1 drop has" if now.changed == 1 else f"{now.changed:,} drops have"
        messages.append(f"{drops} changed since the last publication, which is listed here; see marts plan")
    if lost:
        messages.append(
            f"the state no longer contains the scans of {lost:,} of the live drops: marts build reads them again"
        )
    return messages


def _published(now: Survey) -> dict[tuple[str, str], PlannedDrop]:
    """Return the drops of the last publication by kind and key, and those that were read since."""
    read = [drop for drop in _there_last(now) if drop.manifest and not drop.taken_over]
    return {(drop.delivery.kind, drop.delivery.key): drop for drop in (*now.known, *read)}


def _there_last(now: Survey) -> list[PlannedDrop]:
    """Return the planned drops, existing objects after missing ones: both may have the same key, and the last wins."""
    return sorted(now.plan.drops, key=lambda drop: not drop.gone)


def find_published(now: Survey, name: str) -> PlannedDrop:
    """Return a drop as of the last publication by its key or the end of it. Raise UsageError as ``find`` does."""
    known = {drop.delivery.key: drop for drop in _published(now).values()}
    return _named({**{drop.delivery.key: drop for drop in _there_last(now)}, **known}, name)


def find(now: Survey, name: str) -> PlannedDrop:
    """Return a drop as it is now by its key or the end of it. Raise UsageError with the closest matches."""
    return _named({drop.delivery.key: drop for drop in _there_last(now)}, name)


def _named(drops: Mapping[str, PlannedDrop], name: str) -> PlannedDrop:
    result = [drops[name]] if name in drops else [drop for key, drop in drops.items() if key.endswith(f"/{name}")]
    if len(result) == 1:
        return result[0]
    near = difflib.get_close_matches(name, drops, 3, 0.4) if not result else [drop.delivery.key for drop in result][:5]
    what = "matches several drops" if result else "no drop has this key"
    raise UsageError(what, name, f"did you mean {', '.join(near)}?" if near else "`marts quarantine list` shows drops")


def rows_of(now: Survey, drop: PlannedDrop) -> list[BadLine]:
    """Return the rows of a drop that are in quarantine."""
    return rows_in_quarantine(now.state, _readable(drop))


def masked_row(now: Survey, drop: PlannedDrop, row: BadLine) -> str:
    """Return the raw text of a row with personal data masked."""
    manifest = _readable(drop)
    return mask_line(now.settings.pack.kinds[manifest.delivery.kind], manifest.form, row.raw)


def export(now: Survey, drop: PlannedDrop) -> str:
    """Return the rows of a drop as CSV to repair: line, reasons, raw text, then the drop's own columns.

    Values that a spreadsheet would run as a formula begin with a quote; `replay` removes it again.
    """
    manifest = _readable(drop)
    delimiter = manifest.delimiter
    names = manifest.fields
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([LINE, REASONS, RAW, *map(for_spreadsheet, names)])
    for row in rows_of(now, drop):
        # The columns of a row of the wrong width stay empty: only a person can tell which field is which.
        fields = manifest.form.values(row.raw) or [""] * len(names)
        writer.writerow([row.line, *map(for_spreadsheet, ("; ".join(row.reasons), row.raw, *fields))])
    return text.getvalue()


def replay(now: Survey, drop: PlannedDrop, repaired: bytes | None) -> tuple[Replay, dict[int, str]]:
    """Judge rows of a drop again: those of a repaired export, or the unchanged rows by the current rules.

    Return the result, and the new text of the clean rows by line. A row may be repaired more than once.
    """
    manifest = _readable(drop)
    unrepaired = manifest.model_copy(update={"files": _scanned(manifest)})
    if repaired is None:
        rows = rows_of(now, drop)
        texts = {row.line: row.raw for row in rows if not _is_shown_only(row)}
        kept_out = {row.line: list(row.reasons) for row in rows if _is_shown_only(row)}
    else:
        existing = {row.line for row in rows_in_quarantine(now.state, manifest, repaired_too=True)}
        texts, kept_out = _read_repaired(now, manifest, repaired, existing), {}
    removed = [line for line, text in texts.items() if now.settings.erased.is_in(text, manifest.form)]
    kept_out |= {line: ["belongs to a person who was erased"] for line in removed}
    texts = {line: text for line, text in texts.items() if line not in kept_out}
    clean, wrong = judge_lines(now.settings, unrepaired, texts, now.state)
    return Replay(tuple(clean), dict(sorted((wrong | kept_out).items()))), {line: texts[line] for line in clean}


def _scanned(manifest: Manifest) -> tuple[LinesFile, ...]:
    """Return the files of a dimension without those of repairs."""
    return tuple(file for file in manifest.files if "/repair-" not in file.path)


def _is_shown_only(row: BadLine) -> bool:
    """Return whether the raw text differs from the file: its bytes could not be shown or were too many."""
    return any(reason.startswith(("is not UTF-8 text", "longer than")) for reason in row.reasons)


def decide(
    warehouse: Warehouse,
    drop: PlannedDrop,
    action: str,
    who: str,
    why: str,
    at: str,
    detail: Mapping[str, str] | None = None,
) -> Decision:
    """Record a decision about a drop; the next build applies it."""
    delivery = drop.delivery
    decision = Decision(
        decision_id=f"{at}-{delivery.id[:8]}",
        decided_at=at,
        who=who,
        action=action,
        kind=delivery.kind,
        object_key=delivery.key,
        delivery_id=delivery.id,
        why=why,
        detail=json.dumps(dict(detail or {}), ensure_ascii=False),
    )
    warehouse.decide(decision)
    return decision


def require_held(drop: PlannedDrop) -> None:
    """Raise UsageError for a drop that cannot be released."""
    key = drop.delivery.key
    if drop.rejected:
        raise UsageError(f"cannot be read: {drop.rejected}", key, "none of its rows can be used; deliver it again")
    if not drop.held:
        _readable(drop)
        raise UsageError("is not held", key, "`marts quarantine list` shows the held drops")


def _read_repaired(now: Survey, manifest: Manifest, data: bytes, quarantined: set[int]) -> dict[int, str]:
    """Parse a repaired export. Return the new text of each row by its line."""
    delimiter = manifest.delimiter
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8"
        raise DataError(f"is not UTF-8 text at byte {error.start:,}", "repaired file", hint) from error
    before = csv.field_size_limit(_BIGGEST_FIELD)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"is not valid CSV: {error}", "repaired file") from error
    finally:
        csv.field_size_limit(before)
    names = [from_spreadsheet(name).strip().lower() for name in rows[0]] if rows else []
    header = format_of(now.settings, manifest).header
    missing = [name for name in (LINE, *header.names) if name not in names]
    if missing:
        hint = "start from `marts quarantine export` and keep its columns"
        raise DataError(f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}", "repaired file", hint)
    results: dict[int, str] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(row):
            continue
        where = f"repaired file, row {number}"
        if len(row) != len(names):
            raise DataError(f"has {len(row)} fields, not {len(names)}", where)
        values = dict(zip(names, row, strict=True))
        line = _line(values[LINE], where)
        if line not in quarantined:
            raise DataError(
                f"line {line} of the drop is not in quarantine", where, "`marts quarantine show` lists them"
            )
        if line in results:
            raise DataError(f"line {line} occurs twice", where)
        try:
            results[line] = manifest.form.dialect.line([from_spreadsheet(values[name]) for name in header.names])
        except csv.Error as error:
            raise DataError("a value has a delimiter, and the drop has no quote", where, "remove it") from error
    return results


def _line(text: str, where: str) -> int:
    if not text.strip().isdecimal():
        raise DataError(f"{LINE} is {text!r}, not a line number", where)
    return int(text)


def _readable(drop: PlannedDrop) -> Manifest:
    if drop.manifest is None:
        raise UsageError("was not read yet or has changed since", drop.delivery.key, "run marts build first")
    if drop.rejected:
        raise UsageError(f"cannot be read: {drop.rejected}", drop.delivery.key, "deliver it again")
    return drop.manifest


def _manifest(drop: PlannedDrop) -> Any:
    return drop.manifest
