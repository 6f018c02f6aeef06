"""Step 2, scan: every drop is read once, by splits; what was found is remembered in the catalog."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from jobs.adapters.cluster import Runner
from jobs.plan import PlannedDrop
from jobs.read import LEAF, content_hash
from jobs.scan_task import ScanSettings, Split, SplitResult, is_compressed, scan_name, scan_pack
from jobs.state import Catalog, Delivery, Manifest, MonthLines, Reason

_SMALL = 256
"""Drops that one task reads at most."""
_REMEMBER_EVERY = 500
"""Drops after which the catalog is written: a run that is killed loses at most these."""


Splits = dict[str, list[Split]]
"""The splits of each delivery, by its id."""


def plan_splits(drops: Sequence[PlannedDrop], split_bytes: int) -> Splits:
    """Cut drops into what one task reads."""
    return {drop.delivery.id: splits_of(drop.delivery, split_bytes) for drop in drops}


def scan_drops(
    runner: Runner, settings: ScanSettings, splits: Splits, catalog: Catalog, progress: Callable[[], None]
) -> None:
    """Scan drops and record what they hold. A drop that changed meanwhile is left out: plan again."""
    whole = _scan(runner, settings, splits, catalog, progress)
    if whole:
        _scan(runner, settings, {d.id: [Split(d, 0)] for d in whole}, catalog, progress)


def _scan(
    runner: Runner, settings: ScanSettings, splits: Splits, catalog: Catalog, progress: Callable[[], None]
) -> list[Delivery]:
    """Scan splits; give the drops whose records span lines, which must be read as a whole."""
    packs = pack([split for parts in splits.values() for split in parts], settings.split_bytes)
    results: dict[str, list[SplitResult]] = defaultdict(list)
    complete: list[Manifest] = []
    unsplittable: list[Delivery] = []
    for _, found in runner("ScanDrops", scan_pack, [(settings, splits) for splits in packs]):
        for result in found:
            progress()
            delivery = result.split.delivery
            parts = results[delivery.id]
            parts.append(result)
            if len(parts) < len(splits[delivery.id]):
                continue
            del results[delivery.id]
            if any(part.unsplittable for part in parts):
                unsplittable.append(delivery)
            elif any(part.unreadable for part in parts):
                catalog.remember_now(merge(settings, parts))
            elif not any(part.changed for part in parts):
                complete.append(merge(settings, parts))
        if len(complete) >= _REMEMBER_EVERY:
            catalog.add(complete)
            complete = []
    catalog.add(complete)
    return unsplittable


def splits_of(delivery: Delivery, split_bytes: int) -> list[Split]:
    """Cut a large uncompressed drop into byte ranges; leave others whole."""
    step = max(split_bytes // LEAF, 1) * LEAF if split_bytes >= LEAF else split_bytes
    if is_compressed(delivery.key) or delivery.size <= step * 3 // 2:
        return [Split(delivery, 0)]
    starts = range(0, delivery.size, step)
    return [Split(delivery, n, start, min(start + step, delivery.size)) for n, start in enumerate(starts)]


def pack(splits: Sequence[Split], split_bytes: int) -> list[tuple[Split, ...]]:
    """Put small splits together, so that each task has about the same to do."""
    packs: list[list[Split]] = []
    room = 0
    for split in splits:
        size = (split.stop if split.stop is not None else split.delivery.size) - split.start
        if not packs or size > room or len(packs[-1]) >= _SMALL:
            packs.append([])
            room = split_bytes
        packs[-1].append(split)
        room -= size
    return [tuple(pack) for pack in packs]


def merge(settings: ScanSettings, results: Sequence[SplitResult]) -> Manifest:
    """Put the results of all splits of one delivery together."""
    results = sorted(results, key=lambda result: result.split.number)
    delivery = results[0].split.delivery
    scan = scan_name(settings, delivery)
    rejected = next((result.rejected for result in results if result.rejected), "")
    if rejected:
        limit = settings.max_inflated_bytes
        return Manifest(delivery=delivery, scan=scan, rules=settings.rules, rejected=rejected, limit=limit)
    before = np.cumsum([0, *(result.lines for result in results)])
    reasons = [
        reason.model_copy(update={"line": reason.line + int(lines)})
        for result, lines in zip(results, before, strict=False)
        for reason in result.reasons
    ]
    return Manifest(
        delivery=delivery,
        scan=scan,
        rules=settings.rules,
        content=content_hash(leaf for result in results for leaf in result.leaves) if _aligned(results) else "",
        rows_read=sum(result.rows_read for result in results),
        quarantined=sum(result.quarantined for result in results),
        months=_merge_months(results),
        files=tuple(file for result in results for file in result.files),
        quarantine=tuple(key for result in results for key in result.quarantine),
        split_lines=tuple(result.lines for result in results),
        reasons=_merge_reasons(reasons),
        extra_columns=results[0].extra_columns,
        currencies=tuple(sorted({currency for result in results for currency in result.currencies})),
    )


def _aligned(results: Sequence[SplitResult]) -> bool:
    """Tell whether the leaves that were hashed are those of the object."""
    return all(result.split.start % LEAF == 0 for result in results)


def _merge_months(results: Sequence[SplitResult]) -> dict[str, MonthLines]:
    months = sorted({month for result in results for month in result.months})
    return {
        month: MonthLines(
            rows=sum(part.rows for part in parts),
            last_day=max(part.last_day for part in parts),
            files=tuple(file for part in parts for file in part.files),
        )
        for month in months
        for parts in [[result.months[month] for result in results if month in result.months]]
    }


def _merge_reasons(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Add up equal rules, most frequent first; the first example is kept."""
    merged: dict[str, Reason] = {}
    for reason in reasons:
        known = merged.get(reason.rule)
        merged[reason.rule] = known.model_copy(update={"rows": known.rows + reason.rows}) if known else reason
    return tuple(sorted(merged.values(), key=lambda reason: (-reason.rows, reason.rule)))
