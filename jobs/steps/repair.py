"""Rows of a drop in quarantine, and repaired rows, which become clean rows of their drop again."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import ValidationError

from jobs.ports.records import Decision
from jobs.ports.store import Store
from jobs.state.catalog import Catalog
from jobs.state.manifest import Manifest, Reason, name_of
from jobs.state.parquet import read_parquet, read_quarantine
from jobs.steps.blocks import Block
from jobs.steps.contents import ALIKE
from jobs.steps.quarantine_files import BadRows
from jobs.steps.row_checker import bad_rows
from jobs.steps.row_files import added
from jobs.steps.row_writer import RowWriter
from jobs.steps.scan import merge_months
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.split import Split, SplitResult
from marts.errors import UsageError
from marts.privacy.masking import mask_line
from marts.quality.changes import check_block
from marts.quality.rules import Rule, Suite
from marts.rows.header import read_header
from marts.rows.records import find_records
from marts.rows.text_rows import RowFormat

HELD = "held"
"""Key, in the detail of a decision that accepts a drop, of the reason for which it was held."""
_SHOWN = 200


@dataclass(frozen=True)
class BadLine:
    """A row in quarantine."""

    line: int
    """Line number in the file, from 1, header included."""
    raw: str
    reasons: tuple[str, ...]
    """Each broken rule in words, with the masked value that broke it."""
    run: str


def rows_in_quarantine(store: Store, manifest: Manifest, repaired_too: bool = False) -> list[BadLine]:
    """Return the rows of a drop that are in quarantine now, in file order."""
    before = np.cumsum([0, *manifest.split_lines]).tolist()
    results = []
    for path in manifest.quarantine:
        for row in read_quarantine(store, manifest, path).to_pylist():
            results.append(
                BadLine(row["line"] + before[row["split"]], row["raw"], tuple(row["reasons"]), row.get("run", ""))
            )
    removed = set() if repaired_too else set(manifest.repaired)
    return sorted((row for row in results if row.line not in removed), key=lambda row: row.line)


def format_of(settings: ScanSettings, manifest: Manifest) -> RowFormat:
    """Return how the raw rows of a drop are read. Raise UsageError if an earlier version scanned it."""
    if not manifest.fields:
        hint = "run `marts build --rescan` to scan it again"
        raise UsageError("an earlier version of Martwright scanned it", manifest.delivery.key, hint)
    key = manifest.delivery.key
    block = settings.block(key)
    named = block.model_copy(update={"header": manifest.fields, "columns": {}})
    header = read_header(b"", settings.pack.kinds[manifest.delivery.kind], manifest.form.dialect, named, key)
    return RowFormat(header, manifest.form.dialect, block)


def judge_lines(
    settings: ScanSettings, manifest: Manifest, texts: Mapping[int, str], store: Store
) -> tuple[list[int], dict[int, list[str]]]:
    """Judge new text of lines by the current rules; return the clean lines, and the reasons of the others.

    ``manifest`` is that of the scan, without repairs. A key that the dimension already contains is wrong.
    """
    kind, form = settings.pack.kinds[manifest.delivery.kind], format_of(settings, manifest)
    suite = settings.suites[kind.name]
    wrong: dict[int, list[str]] = {}
    existing: list[int] = []
    for line, text in texts.items():
        records = find_records(text.encode("utf-8", "surrogatepass") + b"\n", form.dialect)
        if records.bad or len(records.starts) != 1:
            wrong[line] = [reason for row in records.bad for reason, _ in row.reasons] or ["is not one row"]
        else:
            existing.append(line)
    if not existing:
        return [], wrong
    records = find_records(_joined(texts[line] for line in existing), form.dialect)
    read = form.read(records)
    checked = check_block(kind, form.header, read.table, settings.policy, suite, form.block)
    at = {int(start): line for start, line in zip(records.lines, existing, strict=True)}
    rows = {at[int(line)] for line in read.lines}
    wrong |= {line: ["is no row: it has no value, or is a header or a footer"] for line in existing if line not in rows}
    for bad in (*read.bad, *bad_rows(read, checked)):
        wrong[at[bad.line]] = [f"{rule}: {value}" if value else rule for rule, value in bad.reasons]
    if kind.key and checked.clean.num_rows:
        lines = [at[int(read.lines[place])] for place in checked.kept]
        keys = checked.clean[kind.key].to_pylist()
        counted = Counter(keys)
        for path in (file.path for file in manifest.files):
            counted.update(set(keys) & set(read_parquet(store, path, [kind.key])[kind.key].to_pylist()))
        wrong |= {
            line: [f"duplicate {kind.key}: {key}"] for line, key in zip(lines, keys, strict=True) if counted[key] > 1
        }
    return [line for line in existing if line not in wrong], wrong


def accepted_by(decisions: Iterable[Decision], contents: Mapping[str, str], alike: bool = False) -> set[str]:
    """Return the deliveries, and their contents, that were released although they would be held.

    ``alike`` selects those held because they look like the same days again, else those held for their rows: accepting
    one reason does not accept the other. ``contents`` maps deliveries to contents: the same bytes may be put again.
    """
    ids = {
        decision.delivery_id
        for decision in decisions
        if decision.action == "accept" and json.loads(decision.detail or "{}").get(HELD, "").startswith(ALIKE) == alike
    }
    return ids | {contents[name] for name in ids if contents.get(name)}


def accepted_reasons(decisions: Iterable[Decision]) -> set[tuple[str, str]]:
    """Return the released deliveries, each with the reason for which it was held."""
    accepts = (decision for decision in decisions if decision.action == "accept")
    return {(entry.delivery_id, json.loads(entry.detail or "{}").get(HELD, "")) for entry in accepts}


def repairs_of(decisions: Iterable[Decision], contents: Mapping[str, str]) -> dict[str, dict[int, str]]:
    """Return the new text of lines by content, or by delivery if it is unknown; a later repair of a line wins."""
    results: dict[str, dict[int, str]] = {}
    for decision in decisions:
        if decision.action == "repair":
            lines = {int(line): text for line, text in json.loads(decision.detail).items()}
            results.setdefault(contents.get(decision.delivery_id) or decision.delivery_id, {}).update(lines)
    return results


def repairs_in(manifest: Manifest, repairs: Mapping[str, Mapping[int, str]]) -> Mapping[int, str]:
    """Return the new text of lines of a drop; empty if it was not repaired."""
    return repairs.get(manifest.content) or repairs.get(manifest.delivery.id) or {}


def repaired_drops(
    catalog: Catalog, repairs: Mapping[str, Mapping[int, str]], settings: ScanSettings, store: Store
) -> dict[str, Manifest]:
    """Return the manifests of repaired drops, by the scan that they are derived from."""
    saved = {version.key for version in store.versions("repairs")} if repairs else set()
    built = {}
    for manifest in catalog.everything() if repairs else ():
        texts = repairs_in(manifest, repairs)
        if texts and not manifest.rejected:
            # Repairs of a drop that were all clean once stay clean: changed rules apply to new drops.
            key = repair_key(manifest, texts)
            before = _saved(store, key) if key in saved else None
            if before is None or not _are_there(store, set(before.paths) - set(manifest.paths)):
                before, whole = _repaired(manifest, texts, settings, store)
                if whole:
                    store.put(key, before.model_dump_json(exclude_defaults=True).encode())
            built[manifest.scan] = before
    return built


def _saved(store: Store, key: str) -> Manifest | None:
    """Read the repaired manifest of a scan; return None if the file is damaged."""
    try:
        return Manifest.model_validate_json(store.get(key))
    except ValidationError:
        return None


def repair_key(manifest: Manifest, texts: Mapping[int, str]) -> str:
    """Return the name of the file that stores the repaired manifest of a scan."""
    return f"repairs/{name_of(manifest.scan, sorted(texts.items()))}.json"


def _are_there(store: Store, paths: set[str]) -> bool:
    folders = {path.rpartition("/")[0] for path in paths}
    return paths <= {version.key for folder in folders for version in store.versions(folder)}


def _repaired(
    manifest: Manifest, texts: Mapping[int, str], settings: ScanSettings, store: Store
) -> tuple[Manifest, bool]:
    """Write repaired rows as clean rows of their drop. Return the manifest, and whether all of them were clean.

    Writing again produces the same files.
    """
    quarantined = rows_in_quarantine(store, manifest)
    own = {row.line: texts[row.line] for row in quarantined if row.line in texts}
    clean, wrong = judge_lines(settings, manifest, own, store)
    built = manifest.model_copy(update={"overruled": tuple(sorted(set(texts) - set(own)))})
    if not clean:
        return built, not wrong
    delivery = manifest.delivery
    name = f"repair-{name_of(sorted(texts.items()), settings.rules(delivery.kind, delivery.key))}"
    # Write to the folder of the scan, even if the current rules have another name than those of the scan.
    form = format_of(settings, manifest)
    sink = RowWriter(settings, Split(delivery, 0), form, store, BadRows(store, name), name, manifest.scan)
    sink.take(Block(_joined(own[line] for line in clean)))
    return _merged(built, sink.result(()), clean, quarantined, settings), not wrong


def _merged(
    manifest: Manifest,
    result: SplitResult,
    clean: Sequence[int],
    quarantined: Sequence[BadLine],
    settings: ScanSettings,
) -> Manifest:
    """Replace quarantined rows by repaired rows in a manifest."""
    removed = set(clean)
    left = [row for row in quarantined if row.line not in removed]
    kind = manifest.delivery.kind
    suite = settings.suites[kind]
    broken = [_broken_by(row, suite) for row in quarantined if row.line in removed]
    fewer = Counter(rule.id for rules in broken for rule in rules)
    malformed = sum(not rules for rules in broken)
    measured = manifest.measured
    rules = {name: replace(m, unexpected=max(0, m.unexpected - fewer[name])) for name, m in measured.rules.items()}
    measured = replace(
        measured, rows=measured.rows + malformed, malformed=max(0, measured.malformed - malformed), rules=rules
    )
    return manifest.model_copy(
        update={
            "months": merge_months([manifest.months, result.months]),
            "files": (*manifest.files, *result.files),
            "quarantined": len(left),
            "repaired": tuple(sorted({*manifest.repaired, *removed})),
            "reasons": _reasons(left, manifest, settings),
            "measured": measured,
            "sums": added((manifest.sums, result.sums)),
            "rows_hash": "",
        }
    )


def _broken_by(row: BadLine, suite: Suite) -> list[Rule]:
    """Return the rules that a row breaks; none for a malformed row."""
    return [
        rule for rule in suite.rules if rule.quarantines and any(_says(reason, rule.broken) for reason in row.reasons)
    ]


def _says(reason: str, words: str) -> bool:
    """Return whether a reason names a rule, with or without the value that broke it."""
    return reason == words or reason.startswith(f"{words}: ")


def _reasons(rows: Sequence[BadLine], manifest: Manifest, settings: ScanSettings) -> tuple[Reason, ...]:
    """Count the broken rules of rows again, most frequent first."""
    kind = settings.pack.kinds[manifest.delivery.kind]
    messages = [rule.broken for rule in settings.suites[kind.name].rules if rule.quarantines]
    counted: Counter[str] = Counter()
    first: dict[str, tuple[str, BadLine]] = {}
    for row in rows:
        for reason in row.reasons:
            rule = next((words for words in messages if _says(reason, words)), "")
            rule = rule or reason.partition(": ")[0]
            counted[rule] += 1
            first.setdefault(rule, (reason.removeprefix(rule).removeprefix(": "), row))
    return tuple(
        Reason(
            rule=rule,
            rows=count,
            example=first[rule][0],
            line=first[rule][1].line,
            raw=mask_line(kind, manifest.form, first[rule][1].raw)[:_SHOWN],
        )
        for rule, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    )


def _joined(texts: Iterable[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode("utf-8", "surrogatepass")
