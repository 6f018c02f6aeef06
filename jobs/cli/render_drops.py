"""Render drops: planned, vanished, in quarantine, and their history."""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.text import Text

from jobs.cli.render import MOST, SHOWN, examples, minute, table
from jobs.cli.tables import safe
from jobs.ports.records import Decision, DropEvent
from jobs.steps.planned import Plan, PlannedDrop
from jobs.steps.replaced import ReplacedLine
from jobs.steps.resolve import Resolved, ResolvedDrop, is_vanished
from marts.rows.source_block import SourceBlock, number_of


def plan(
    planned: Plan, resolved: Resolved, months: Sequence[str], blocks: Sequence[SourceBlock] = ()
) -> RenderableType:
    """Render the plan of a build; with ``blocks``, also which of them holds for each drop."""
    existing = [drop for drop in planned.drops if not (drop.gone or drop.superseded)]
    counts = Counter(_state(drop) for drop in existing)
    removed = [item for item in resolved.all if is_vanished(item)]
    counts["vanished"] += len(removed)
    summary = ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items()) if count)
    parts: list[RenderableType] = [Text(f"drops: {summary or 'none'}", style="bold")]
    look = [drop for drop in existing if _state(drop) != "known"]
    rows = [(_state(drop), drop.delivery.key, drop.delivery.size, _note(drop)) for drop in look[:SHOWN]]
    rows += [("vanished", v.drop.delivery.key, v.drop.delivery.size, _fate(v)) for v in removed[:SHOWN]]
    notes = "months or reason" if resolved.pack.facts else "reason"
    if rows and blocks:
        named = [(*row[:3], number_of(str(row[1]), blocks) or "", row[3]) for row in rows]
        parts += [Text(""), table("", ("state", "drop", "bytes", "block", notes), named, (2, 3))]
    elif rows:
        parts += [Text(""), table("", ("state", "drop", "bytes", notes), rows, (2,))]
    if len(look) > SHOWN:
        parts.append(Text(f"… and {len(look) - SHOWN:,} more"))
    nothing = "nothing new in the drops: a build computes what as_of, the policy or the pack change"
    leaving = any(item.state == "withdrawn" for item in resolved.all)
    work = leaving or bool(planned.to_scan) or any(drop.change != "known" for drop in existing)
    unknown = "known after the drops are read" if planned.to_scan else "known after a build" if work else "none"
    changes = ", ".join(months) or unknown
    if resolved.pack.facts:
        parts += [Text(""), Text(f"months that change: {changes}")]
    if planned.no_data:
        parts.append(Text(f"{planned.no_data:,} objects are ignored: their names are not names of data files"))
    if planned.older_rules:
        parts.append(
            Text(
                f"{planned.older_rules:,} drops were judged by older row rules: marts build --rescan judges them again"
            )
        )
    parts.append(Text("`marts build` with the same options applies this" if work else nothing, style="dim"))
    return Group(*parts)


def _fate(item: ResolvedDrop) -> str:
    """Return what happens to a drop whose object is missing."""
    return "its lines are removed from the marts" if item.state == "withdrawn" else item.reason


def _state(drop: PlannedDrop) -> str:
    if drop.rejected:
        return "rejected"
    return "held" if drop.held else "duplicate" if drop.duplicate_of else drop.change


def _note(drop: PlannedDrop) -> str:
    if drop.rejected:
        return drop.rejected
    if drop.held and drop.manifest:
        held = drop.manifest
        return f"{drop.held}: {examples(held.reasons[:3])}"
    return f"same content as {drop.duplicate_of}" if drop.duplicate_of else ", ".join(drop.months)


def gone_drops(removed: Sequence[ResolvedDrop]) -> RenderableType:
    """Render the drops whose objects are missing."""
    if not removed:
        return Text("no object of a live drop is missing")
    words = {"missing": "asks", "withdrawn": "withdraws", "live": "keeps"}
    rows = [
        (words.get(v.state, v.state), v.drop.delivery.key, r.clean, r.counted_total)
        for v in removed
        if (r := v.drop.record)
    ]
    parts: list[RenderableType] = [table("", ("next build", "drop", "clean lines", "total"), rows, (2, 3))]
    if any(v.state == "missing" for v in removed):
        hint = "marts withdraw accept DROP removes a drop's lines, refuse keeps them; without DROP: all with asks"
        parts.append(Text(hint))
    return Group(*parts)


def shared_ids(fact: str, count: int, rows: Sequence[Mapping[str, object]]) -> RenderableType:
    """Render ids of a fact that stand for several transactions."""
    if not count:
        return Text(f"each id of {fact} is live once, in one month")
    names = [name.replace("_", " ") for name in rows[0]]
    more = f", highest totals first; {count - len(rows):,} more" if count > len(rows) else ""
    title = f"{count:,} ids of {fact} are live in several transactions{more}"
    right, optional = range(1, len(names)), [names.index("last month"), names.index("first month")]
    return Group(Text(title), table("", names, [tuple(row.values()) for row in rows], right, optional))


def replaced(key: str, lines: Sequence[ReplacedLine], count: int) -> RenderableType:
    """Render replaced lines next to their replacements."""
    if not lines:
        return safe(f"no line of {key} was replaced or replaced another")
    columns = [name.replace("_", " ") for name in lines[0].values]
    rows = [(*("" if value is None else value for value in x.values.values()), x.fate, x.drop) for x in lines]
    more = [Text(f"… and {count - len(lines):,} more lines; --limit shows them")] if count > len(lines) else []
    right = [at for at, value in enumerate(lines[0].values.values()) if isinstance(value, Decimal)]
    return Group(table("", [*columns, "", "drop"], rows, right, (len(columns) + 1, 2, 1)), *more)


def quarantine(drops: Sequence[PlannedDrop]) -> RenderableType:
    """Render the drops with rows in quarantine."""
    if not drops:
        return Text("no row is in quarantine and no drop is held")
    rows = [
        (_standing(drop), drop.delivery.key, m.rows_read, m.quarantined, examples(m.reasons[:3]))
        for drop in drops
        if (m := drop.manifest)
    ]
    names = ("state", "drop", "rows read", "in quarantine", "most common reasons")
    displayed: list[RenderableType] = [table("quarantine", names, rows[:MOST], (2, 3), (2,))]
    if len(rows) > MOST:
        displayed.append(Text(f"… and {len(rows) - MOST:,} more drops; --json lists all"))
    total = sum(row[3] for row in rows)
    summary = f"{total:,} rows of {len(rows):,} drops; marts quarantine show DROP shows them"
    displayed += [Text(""), Text(summary, style="dim")]
    return Group(*displayed)


def _standing(drop: PlannedDrop) -> str:
    return "held" if drop.held else "live" if drop.change == "known" else "not live yet"


def bad_rows(drop: PlannedDrop, rows: Sequence[tuple[int, Sequence[str], str]], total: int) -> RenderableType:
    """Render the rows of a drop that are in quarantine."""
    title = f"{drop.delivery.key}: {total:,} rows in quarantine"
    parts: list[RenderableType] = [safe(title)]
    if drop.held:
        parts.append(safe(f"the drop is held: {drop.held}"))
    for line, reasons, raw in rows:
        parts += [Text(""), safe(f"line {line:,}"), safe(f"  {raw}"), *(safe(f"  - {reason}") for reason in reasons)]
    if total > len(rows):
        parts += [Text(""), Text(f"… and {total - len(rows):,} more; --limit shows them")]
    return Group(*parts)


def replayed(key: str, clean: Sequence[int], wrong: Mapping[int, Sequence[str]]) -> RenderableType:
    """Render the result of a replay."""
    parts: list[RenderableType] = [safe(f"{key}: {len(clean):,} rows are clean now, {len(wrong):,} stay in quarantine")]
    parts += [safe(f"  line {line:,}: {'; '.join(reasons)}") for line, reasons in list(wrong.items())[:MOST]]
    if len(wrong) > MOST:
        parts.append(Text(f"  … and {len(wrong) - MOST:,} more"))
    return Group(*parts, Text("the next marts build counts them" if clean else "nothing was changed", style="dim"))


def history(events: Sequence[DropEvent], decisions: Sequence[Decision]) -> RenderableType:
    """Render the events of drops, newest first, and the decisions about them."""
    if not events:
        return Text("no drop yet")
    rows = [
        (minute(e.recorded_at), e.run_id, e.object_key, minute(e.modified), e.state, *_counts(e), e.reason)
        for e in events
    ]
    names = ("when (UTC)", "run", "drop", "delivered (UTC)", "state", "rows read", "clean", "bad", "duplicates", "why")
    parts: list[RenderableType] = [table("drops", names, rows, (5, 6, 7, 8), (1, 3, 6, 8))]
    if any(event.replaced for event in events):
        legend = "duplicates: repeated + replaced; `marts history --replaced DROP` lists the replaced lines"
        parts.append(Text(legend, style="dim"))
    if decisions:
        messages = [(minute(d.decided_at), d.who, d.action, d.object_key, d.why) for d in decisions]
        parts += [Text(""), table("decisions", ("when (UTC)", "who", "decision", "drop", "why"), messages)]
    return Group(*parts)


def _counts(event: DropEvent) -> tuple[int, int, int, str]:
    repeated = event.duplicates - event.replaced
    double = f"{repeated:,} + {event.replaced:,}" if event.replaced else f"{repeated:,}"
    return event.rows_read, event.clean, event.quarantined, double
