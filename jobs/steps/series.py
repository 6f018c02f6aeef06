"""Choose among drops that hold what others hold, too: whole tables, changes to them, months so far, everything."""

import re
from collections.abc import Sequence
from dataclasses import replace

from jobs.steps.planned import PlannedDrop


def newest_usable(drops: Sequence[PlannedDrop]) -> list[PlannedDrop]:
    """Choose the drop that holds everything: the newest; an unusable one yields to the one before.

    Drops of changes that are newer count, too. A drop whose object was removed counts if its new version is unusable,
    if no other drop exists, or if it holds changes. Older drops are only recorded.
    """
    usable = {drop.delivery.key for drop in drops if drop.manifest and not (drop.gone or drop.rejected or drop.held)}
    waiting = {drop.delivery.key for drop in drops if drop.to_scan}
    others = bool(usable | waiting)
    taken: list[PlannedDrop] = []
    older: list[PlannedDrop] = []
    whole = False
    for drop in reversed(drops):
        adds = drop.block.delivers == "changes"
        over = drop.gone == "replaced" and drop.delivery.key in usable | waiting
        if over or (drop.gone == "vanished" and others and not adds):
            continue
        if whole:
            older += [] if drop.gone else [replace(drop, manifest=None, rejected="", held="", superseded=True)]
        else:
            taken.append(drop)
            whole = not (adds or drop.rejected or drop.held)
    return [*taken[::-1], *older]


def in_series(drops: Sequence[PlannedDrop]) -> list[PlannedDrop]:
    """Mark the sales drops that a newer one of their series holds: of a month so far, or of everything."""
    newest: dict[tuple[str, ...], str] = {}
    for drop in drops:
        series = _series_of(drop)
        if series and not (drop.gone or drop.duplicate_of or drop.rejected or drop.held):
            newest[series] = drop.delivery.id

    def marked(drop: PlannedDrop) -> PlannedDrop:
        series = _series_of(drop)
        if not series or drop.duplicate_of or drop.rejected or drop.held:
            return drop
        newer = newest.get(series, drop.delivery.id)
        is_older = newer != drop.delivery.id
        return replace(drop, superseded=is_older, newer=newer if is_older else "")

    return list(map(marked, drops))


def _series_of(drop: PlannedDrop) -> tuple[str, ...]:
    """Return the series of a scanned drop; empty if it is of none, or its months are not known yet.

    Drops of the month so far are a series if their keys differ in digits only, and if most of their lines are of the
    same month.
    """
    rows = drop.manifest or drop.twin
    match drop.block.delivers:
        case "everything":
            return (drop.block.match,)
        case "month-to-date" if rows and rows.months:
            month = max(rows.months, key=lambda name: (rows.months[name].rows, name))
            return drop.block.match, re.sub("[0-9]+", "#", drop.delivery.key), month
        case _:
            return ()
