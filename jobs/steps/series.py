"""Choose among drops that hold what others hold, too: whole tables, changes to them, months so far, everything."""

import re
from collections.abc import Container, Sequence
from dataclasses import replace

from jobs.steps.planned import PlannedDrop


def newest_usable(drops: Sequence[PlannedDrop]) -> list[PlannedDrop]:
    """Choose the drop that holds everything: the newest; an unusable one yields to the one before.

    Drops of changes that are newer count, too. A drop whose object was removed counts if its new version is unusable,
    if no other drop exists, or if it holds changes. Older drops are only recorded.
    """
    usable = {drop.delivery.key for drop in drops if drop.manifest and not (drop.gone or drop.rejected or drop.held)}
    waiting = {drop.delivery.key for drop in drops if drop.to_scan}
    whole_ones = (drop for drop in drops if drop.block.delivers != "changes" and not drop.gone)
    others = any(drop.delivery.key in usable | waiting for drop in whole_ones)
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


def without_unread(drops: Sequence[PlannedDrop], live: Container[str]) -> list[PlannedDrop]:
    """Mark drops of everything that need not be read: a newer one of their block holds them.

    Those that are live count if the newer one cannot.
    """
    newest: dict[tuple[str, ...], str] = {}
    for drop in drops:
        if drop.block.delivers == "everything" and not (drop.gone or drop.duplicate_of or drop.rejected or drop.held):
            newest[series_of(drop)] = drop.delivery.id

    def marked(drop: PlannedDrop) -> PlannedDrop:
        unread = drop.block.delivers == "everything" and drop.to_scan and drop.delivery.id not in live
        return replace(drop, superseded=True) if unread and newest[series_of(drop)] != drop.delivery.id else drop

    return list(map(marked, drops))


def series_of(drop: PlannedDrop) -> tuple[str, ...]:
    """Return the series of a drop; empty if it is of none, or its months are not known yet.

    Drops of the month so far are a series if the names under which they were first seen differ in digits only, and if
    most of their lines are of the same month.
    """
    rows = drop.manifest or drop.twin
    match drop.block.delivers:
        case "everything":
            return (drop.block.match,)
        case "month-to-date" if rows and rows.months:
            month = max(rows.months, key=lambda name: (rows.months[name].rows, name))
            return drop.block.match, re.sub("[0-9]+", "#", drop.place[1] or drop.delivery.key), month
        case _:
            return ()
