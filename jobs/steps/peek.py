"""Look at drops that were not scanned yet, for `marts plan`: their months, and whether they can be read."""

import io
import re
from dataclasses import replace

from jobs.ports.store import Store, at_once
from jobs.steps.blocks import is_gzip, is_zip, rejection
from jobs.steps.planned import Plan, PlannedDrop
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.text_stream import TextStream, read_format
from marts.errors import DropRejected, ObjectChanged
from marts.rows.layout import START

_PEEK = 64 << 10
_MONTH = re.compile(rb"\b((?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2]))-[0-3][0-9]\b")


def peek(source: Store, plan: Plan, settings: ScanSettings) -> Plan:
    """Read the start and end of drops that were not scanned yet: their months, and whether they are readable."""
    drops = at_once(lambda drop: _peek(source, drop, settings) if drop.to_scan else drop, plan.drops)
    return replace(plan, drops=tuple(drops))


def _peek(source: Store, drop: PlannedDrop, settings: ScanSettings) -> PlannedDrop:
    version = drop.delivery.version
    if not version.size:
        return _with(drop, rejected="the object is empty")
    try:
        start = source.read(version, 0, min(_PEEK, version.size))
        block = settings.block(version.key)
        if is_gzip(start) or is_zip(start) or block.format != "csv":
            return drop
        # Of a longer object, the piece may end within a character.
        ahead = len(start) if version.size > len(start) else START
        read_format(settings, drop.delivery, TextStream(io.BytesIO(start), block, ahead))
        end = source.read(version, max(version.size - _PEEK, 0), version.size)
    except DropRejected as error:
        return _with(drop, rejected=rejection(version.key, error))
    except ObjectChanged:
        return drop
    months = {result.decode() for result in _MONTH.findall(start + end)} if drop.is_fact else set()
    return _with(drop, months=tuple(sorted(months)))


def _with(drop: PlannedDrop, rejected: str = "", months: tuple[str, ...] = ()) -> PlannedDrop:
    return replace(drop, rejected=rejected, months=months)


def months_that_change(plan: Plan) -> list[str]:
    """Return the months that a build would roll up again, as far as known."""
    counted = {(drop.delivery.kind, drop.delivery.key) for drop in plan.gone("replaced")}
    months = {
        month
        for drop in plan.drops
        if drop.change != "known" and not drop.rejected
        if not (drop.change == "put again" and (drop.delivery.kind, drop.delivery.key) in counted)
        for month in drop.months
    }
    months.update(month for drop in plan.drops if drop.gone and not drop.duplicate_of for month in drop.months)
    return sorted(months)
