"""Step 2, scan: read every drop once, by splits, and record the results in the catalog."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_

import numpy as np

from jobs.ports.runner import Runner
from jobs.state.catalog import Catalog
from jobs.state.manifest import Delivery, Manifest, MonthLines, Reason
from jobs.steps.blocks import LEAF, content_hash, is_compressed
from jobs.steps.planned import PlannedDrop
from jobs.steps.row_files import added
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.scan_task import scan_pack
from jobs.steps.split import Split, SplitResult, ends_of, origin_of, scan_name
from jobs.steps.uniqueness import KeyCheck, KeyFile, plan_checks, run_check
from marts.quality.key_measures import add_up, with_keys
from marts.quality.measures import merge as merge_measured
from marts.quality.values import Measure

_SMALL = 256
"""Maximum number of drops per task."""
_LAST = 4
"""A task gets at most 1/_LAST of the remaining bytes, but its limit is never below 1/_LAST of a full task."""
_INFLATES = 6
"""Approximate factor by which a gzip inflates."""
_REMEMBER_EVERY = 500
"""Drops after which the catalog is written: a killed run loses at most these."""


Keyed = tuple[Manifest, list[tuple[KeyFile, int]]]
"""A drop whose keys must still be compared, and its key files, each with the number of rows before it."""
Splits = dict[str, list[Split]]
"""The splits of each delivery, by its id."""


def plan_splits(drops: Sequence[PlannedDrop], settings: ScanSettings) -> Splits:
    """Cut drops into splits, by delivery. Workbooks and JSON lines are read as a whole."""
    return {
        drop.delivery.id: splits_of(drop.delivery, settings.split_bytes)
        if settings.block(drop.delivery.key).format in ("csv", "parquet")
        else [Split(drop.delivery, 0)]
        for drop in drops
    }


def scan_drops(
    runner: Runner, settings: ScanSettings, splits: Splits, catalog: Catalog, progress: Callable[[int, int], None]
) -> None:
    """Scan drops and record the results. A drop that changed meanwhile is skipped: plan again."""
    whole, keyed = _scan(runner, settings, splits, catalog, progress)
    if whole:
        keyed += _scan(runner, settings, {d.id: [Split(d, 0)] for d in whole}, catalog, progress)[1]
    if keyed:
        catalog.add(_check_keys(runner, settings, keyed))


def _scan(
    runner: Runner, settings: ScanSettings, splits: Splits, catalog: Catalog, progress: Callable[[int, int], None]
) -> tuple[list[Delivery], list[Keyed]]:
    """Scan splits; return drops to read whole, as their records span lines, and drops with keys to compare."""
    packs = pack([split for parts in splits.values() for split in parts], settings.split_bytes)
    results: dict[str, list[SplitResult]] = defaultdict(list)
    complete: list[Manifest] = []
    unsplittable: list[Delivery] = []
    keyed: list[Keyed] = []
    for _, match in runner("ScanDrops", scan_pack, [(settings, splits) for splits in packs]):
        for result in match:
            delivery = result.split.delivery
            parts = results[delivery.id]
            parts.append(result)
            complete_now = len(parts) == len(splits[delivery.id])
            progress(result.rows_read, int(complete_now))
            if not complete_now:
                continue
            del results[delivery.id]
            if any(part.unsplittable for part in parts):
                unsplittable.append(delivery)
            elif any(part.unreadable for part in parts):
                catalog.remember_now(merge(settings, parts))
            elif any(part.changed for part in parts):
                continue
            elif any(part.keys for part in parts):
                keyed.append((merge(settings, parts), _key_files(parts)))
            else:
                complete.append(merge(settings, parts))
        if len(complete) >= _REMEMBER_EVERY:
            catalog.add(complete)
            complete = []
    catalog.add(complete)
    return unsplittable, keyed


def _key_files(parts: Sequence[SplitResult]) -> list[tuple[KeyFile, int]]:
    """Return the key files of a drop, each with the number of rows before its split."""
    parts = sorted(parts, key=lambda part: part.split.number)
    before = np.cumsum([0, *(part.measured.rows for part in parts)]).tolist()
    return [(file, rows) for part, rows in zip(parts, before, strict=False) for file in part.keys]


def _check_keys(runner: Runner, settings: ScanSettings, keyed: Sequence[Keyed]) -> list[Manifest]:
    """Find the duplicate keys of drops that several tasks have read."""
    tasks: list[tuple[int, KeyCheck]] = []
    for number, (manifest, files) in enumerate(keyed):
        kind = settings.pack.kinds[manifest.delivery.kind]
        for rule in settings.suites[kind.name].rules:
            own = [(file, before) for file, before in files if file.rule == rule.id]
            checks = plan_checks(rule, kind, own, settings.state) if own else []
            tasks += [(number, check) for check in checks]
    matches: dict[tuple[int, str], list[Measure]] = defaultdict(list)
    for place, measure in runner("CheckKeys", run_check, [check for _, check in tasks]):
        number, check = tasks[place]
        matches[number, check.rule.id].append(measure)
    state = settings.state.open()
    built = []
    for number, (manifest, files) in enumerate(keyed):
        settled = {rule: add_up(parts) for (place, rule), parts in matches.items() if place == number}
        built.append(manifest.model_copy(update={"measured": with_keys(manifest.measured, settled)}))
        for file, _ in files:
            state.delete(file.path)
    return built


def splits_of(delivery: Delivery, split_bytes: int) -> list[Split]:
    """Cut a large uncompressed drop into byte ranges; leave others whole."""
    step = max(split_bytes // LEAF, 1) * LEAF if split_bytes >= LEAF else split_bytes
    if is_compressed(delivery.key) or delivery.size <= step * 3 // 2:
        return [Split(delivery, 0)]
    starts = range(0, delivery.size, step)
    return [Split(delivery, n, start, min(start + step, delivery.size)) for n, start in enumerate(starts)]


def pack(splits: Sequence[Split], split_bytes: int) -> list[tuple[Split, ...]]:
    """Group small splits into tasks of about equal work; the last ones get less, so that all end together."""
    packs: list[list[Split]] = []
    left, room = sum(map(_size, splits)), 0
    for split in sorted(splits, key=_size, reverse=True):
        size = _size(split)
        if not packs or size > room or len(packs[-1]) >= _SMALL:
            packs.append([])
            room = min(split_bytes, max(left // _LAST, split_bytes // _LAST))
        packs[-1].append(split)
        room -= size
        left -= size
    return [tuple(pack) for pack in packs]


def full_tasks(splits: Sequence[Split], split_bytes: int) -> float:
    """Return the work of splits, in units of full tasks."""
    inflated = (_size(split) * (_INFLATES if is_compressed(split.delivery.key) else 1) for split in splits)
    return sum(inflated) / split_bytes


def _size(split: Split) -> int:
    return (split.stop if split.stop is not None else split.delivery.size) - split.start


def merge(settings: ScanSettings, results: Sequence[SplitResult]) -> Manifest:
    """Merge the results of all splits of one delivery into a manifest."""
    results = sorted(results, key=lambda result: result.split.number)
    delivery = results[0].split.delivery
    scan = scan_name(settings, delivery)
    rejected = next((part.rejected for part in results if part.rejected), "")
    if rejected:
        limit = settings.max_inflated_bytes
        return Manifest(
            delivery=delivery,
            scan=scan,
            rules=settings.rules(delivery.kind, delivery.key),
            rejected=rejected,
            limit=limit,
        )
    hashed = content_hash(leaf for result in results for leaf in result.leaves) if _aligned(results) else ""
    content = settings.content(delivery.key, hashed)
    before = np.cumsum([0, *(result.lines for result in results)])
    reasons = [
        reason.model_copy(update={"line": reason.line + int(lines)})
        for result, lines in zip(results, before, strict=False)
        for reason in result.reasons
    ]
    return Manifest(
        delivery=delivery,
        scan=scan,
        rules=settings.rules(delivery.kind, delivery.key),
        content=content,
        origin=origin_of(settings, delivery, content),
        sums=added(result.sums for result in results),
        rows_read=sum(result.rows_read for result in results),
        quarantined=sum(result.quarantined for result in results),
        months=merge_months([result.months for result in results]),
        files=tuple(file for result in results for file in result.files),
        foreign=0 if any(result.wide for result in results) else sum(result.foreign for result in results),
        quarantine=tuple(key for result in results for key in result.quarantine),
        split_lines=tuple(result.lines for result in results),
        reasons=_merge_reasons(reasons),
        measured=merge_measured([result.measured for result in results]),
        extra_columns=results[0].extra_columns,
        bad_days=ends_of([day for result in results for day in result.bad_days]),
        currencies=tuple(sorted({currency for result in results for currency in result.currencies})),
        delimiter=results[0].form.dialect.delimiter,
        quote=results[0].form.dialect.quote,
        columns=results[0].form.names,
        id_prefix=results[0].form.id_prefix,
        owner=results[0].form.owner,
        from_id=results[0].from_id,
    )


def _aligned(results: Sequence[SplitResult]) -> bool:
    """Return whether the hashed leaves are those of the object."""
    return all(result.split.start % LEAF == 0 for result in results)


def merge_months(results: Sequence[Mapping[str, MonthLines]]) -> dict[str, MonthLines]:
    """Merge the months of several parts of a drop."""
    months = sorted({month for result in results for month in result})
    return {
        month: MonthLines(
            rows=sum(part.rows for part in parts),
            last_day=max(part.last_day for part in parts),
            days=_either([part.days for part in parts]),
            files=tuple(file for part in parts for file in part.files),
        )
        for month in months
        for parts in [[result[month] for result in results if month in result]]
    }


def _either(days: Sequence[int]) -> int:
    """Return the days that any part of a drop has; 0 if those of one are not known."""
    return reduce(or_, days) if all(days) else 0


def _merge_reasons(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Add up equal rules, most frequent first; keep the first example."""
    merged: dict[str, Reason] = {}
    for reason in reasons:
        known = merged.get(reason.rule)
        merged[reason.rule] = known.model_copy(update={"rows": known.rows + reason.rows}) if known else reason
    return tuple(sorted(merged.values(), key=lambda reason: (-reason.rows, reason.rule)))
