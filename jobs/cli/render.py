"""Reports and plans for a terminal: tables and sentences, readable without colour."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.operations.views import Rows
from jobs.ports.audit import AuditEntry
from jobs.ports.ledger import Decision, Event, Generation, Publication, RunRecord
from jobs.ports.notices import Notice
from jobs.report.run_report import LEFT_OUT, DropReport, QualityReport, RunReport
from jobs.runtime.escaping import visible
from jobs.state.files import Reason
from jobs.steps.plan import Plan, PlannedDrop
from jobs.steps.replaced import ReplacedLine
from jobs.steps.resolve import Verdict, Verdicts, is_vanished
from marts.quality.rules import Suite

_SHOWN = 20
_NAMED = 3
"""Drops that a line names."""
_MOST = 50


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> Table:
    """Make a neat table; columns whose number is in ``right`` are aligned to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number in right else "left", header_style="dim", overflow="fold")
    for row in rows:
        made.add_row(*(value if isinstance(value, Text) else safe(value) for value in row))
    return made


def safe(value: object) -> Text:
    """Show any value as plain text: control characters, and thus terminal escapes, are made visible."""
    shown = f"{value:,}" if isinstance(value, int | Decimal) and not isinstance(value, bool) else str(value)
    return Text(visible(shown))


def report(done: RunReport) -> RenderableType:
    """Render what a run did."""
    style = {"passed": "bold green", "warned": "bold yellow", "failed": "bold red"}[done.level]
    parts: list[RenderableType] = [Text(_headline(done), style=style)]
    if done.error:
        parts += [safe(f"error: {' '.join(done.error.what.split())}"), safe(f"where: {done.error.where}")]
        parts += [safe(f"hint: {done.error.hint}")] if done.error.hint else []
    else:
        parts += [Text(""), _totals(done), Text(""), _marts(done)]
    parts += _quality(done)
    if done.drops:
        parts += [Text(""), *_drops(done.drops)]
    if done.warnings:
        parts += [Text(""), *(safe(f"warning: {warning}") for warning in done.warnings)]
    if done.notes:
        parts += [Text(""), *(safe(f"note: {note}") for note in done.notes)]
    if done.seconds:
        steps = " · ".join(f"{step} {seconds:.1f}" for step, seconds in done.seconds.items())
        total = (done.ended_at - done.started_at).total_seconds()
        parts += [Text(""), Text(f"seconds: {steps} · in all {total:.1f}", style="dim")]
    return Group(*parts)


def _headline(done: RunReport) -> str:
    meaning = {
        "published": f"{done.words}: {'both marts are live' if len(done.marts) > 1 else 'the mart is live'}",
        "unchanged": f"{done.words}: {done.held_back or 'the live marts were already right'}",
        "failed": "failed: nothing was published, the live marts are untouched",
        "unknown": "ended without an answer of the database: marts status says whether it is live",
        "running": "runs",
    }[done.outcome]
    if done.error or not done.left_out:
        return f"run {done.run_id} {meaning}"
    again = "; run again, one changed while it was read" if "deferred" in done.left_out else ""
    without = ", without what is left out" if set(done.left_out) - {"missing"} else "; see the warnings"
    return f"! run {done.run_id} {meaning}{without}{again}"


def _totals(done: RunReport) -> Table:
    totals = done.totals
    names = ("drops", "read", "lines", "clean", "quarantined", "repeated", "replaced", "months", "new")
    values = (
        totals.drops,
        totals.scanned,
        totals.rows_read,
        totals.clean,
        totals.quarantined,
        totals.repeated,
        totals.replaced,
        done.months,
        len(done.months_rolled_up),
    )
    return table("sales", names, [values], range(len(names)))


def _marts(done: RunReport) -> Table:
    rows = [
        (m.table, m.rows, m.total_sales, "loaded" if m.changed else "kept" if done.held_back else "was right")
        for m in done.marts
    ]
    return table("marts", ("table", "rows", "total_sales", ""), rows, (1, 2))


def _quality(done: RunReport) -> list[RenderableType]:
    """Show what Great Expectations says, kind by kind."""
    if not done.quality:
        return []
    rows = [(q.outcome, q.name, q.drops or "", q.rows, q.rules, _broken(q)) for q in done.quality]
    names = ("", "of", "drops", "rows", "rules", "broken")
    docs = safe(f"pages: {done.docs}/index.html")
    return [Text(""), table("data quality", names, rows, (2, 3, 4)), docs]


def _broken(found: QualityReport) -> str:
    more = f"; and {len(found.broken) - 3} more" if len(found.broken) > 3 else ""
    return "; ".join(f"{rule.rule} ({rule.severity})" for rule in found.broken[:3]) + more


def _drops(drops: Sequence[DropReport]) -> list[RenderableType]:
    """Show the drops that need a look, and count the others."""
    look = [drop for drop in drops if drop.state in LEFT_OUT]
    others = Counter(
        drop.state if drop.state in ("duplicate", "withdrawn") else drop.change for drop in drops if drop not in look
    )
    shown: list[RenderableType] = []
    if others:
        shown.append(Text("drops: " + ", ".join(f"{count:,} {name}" for name, count in sorted(others.items()))))
    shown += _quarantined([drop for drop in drops if drop.state == "live" and drop.quarantined])
    if look:
        shown.append(Text(""))
        rows = [(drop.state, drop.key, drop.reason, _with_lines(drop.reasons)) for drop in look[:_SHOWN]]
        shown.append(table("drops to look at", ("state", "drop", "why", "most common reasons"), rows))
    if len(look) > _SHOWN:
        shown.append(Text(f"… and {len(look) - _SHOWN:,} more"))
    return shown


def _quarantined(drops: Sequence[DropReport]) -> list[RenderableType]:
    """Say why rows are in quarantine: the most common reasons, and the drop with most of them."""
    if not drops:
        return []
    rules: Counter[str] = Counter()
    for drop in drops:
        rules.update({reason.rule: reason.rows for reason in drop.reasons})
    common = "; ".join(f"{rows:,} x {rule}" for rule, rows in rules.most_common(3))
    worst = max(drops, key=lambda drop: drop.quarantined)
    rows = sum(drop.quarantined for drop in drops)
    where = f"in {len(drops):,} drops, {worst.quarantined:,} of them in {worst.key}"
    return [safe(f"quarantine: {rows:,} rows {where}; among the reasons: {common}")]


def _examples(reasons: Sequence[Reason]) -> str:
    return "; ".join(f"{r.rows:,} x {r.rule}, as in line {r.line:,}" for r in reasons)


def _with_lines(reasons: Sequence[Reason]) -> Text:
    return Text("\n").join(safe(f"{r.rows:,} x {r.rule}, as in line {r.line:,}: {r.raw}") for r in reasons)


def plan(planned: Plan, verdicts: Verdicts, months: Sequence[str]) -> RenderableType:
    """Render what a build would do."""
    there = [drop for drop in planned.drops if not (drop.gone or drop.superseded)]
    counts = Counter(_state(drop) for drop in there)
    gone = [verdict for verdict in verdicts.all if is_vanished(verdict)]
    counts["vanished"] += len(gone)
    summary = ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items()) if count)
    parts: list[RenderableType] = [Text(f"drops: {summary or 'none'}", style="bold")]
    look = [drop for drop in there if _state(drop) != "known"]
    rows = [(_state(drop), drop.delivery.key, drop.delivery.size, _note(drop)) for drop in look[:_SHOWN]]
    rows += [("vanished", v.drop.delivery.key, v.drop.delivery.size, _fate(v)) for v in gone[:_SHOWN]]
    if rows:
        parts += [Text(""), table("", ("state", "drop", "bytes", "months, or why"), rows, (2,))]
    if len(look) > _SHOWN:
        parts.append(Text(f"… and {len(look) - _SHOWN:,} more"))
    leaving = any(verdict.state == "withdrawn" for verdict in verdicts.all)
    work = leaving or bool(planned.to_scan) or any(drop.change != "known" for drop in there)
    changes = ", ".join(months) if months else "known when the drops are read" if planned.to_scan else "none"
    parts += [Text(""), Text(f"months that change: {changes}")]
    if planned.no_data:
        parts.append(Text(f"{planned.no_data:,} objects are no data by their names"))
    if planned.older_rules:
        parts.append(
            Text(
                f"{planned.older_rules:,} drops were judged by older row rules: marts build --rescan judges them again"
            )
        )
    parts.append(Text("marts build does it" if work else "nothing new in the drops", style="dim"))
    return Group(*parts)


def _fate(verdict: Verdict) -> str:
    """Say what becomes of a drop whose object is gone."""
    return "its lines leave the marts" if verdict.state == "withdrawn" else verdict.reason


def _state(drop: PlannedDrop) -> str:
    if drop.rejected:
        return "rejected"
    return "held" if drop.held else "duplicate" if drop.duplicate_of else drop.change


def _note(drop: PlannedDrop) -> str:
    if drop.rejected:
        return drop.rejected
    if drop.held and drop.manifest:
        held = drop.manifest
        return f"{drop.held}: {_examples(held.reasons[:3])}"
    return f"same content as {drop.duplicate_of}" if drop.duplicate_of else ", ".join(drop.months)


def gone_drops(gone: Sequence[Verdict]) -> RenderableType:
    """Render the drops whose objects are gone."""
    if not gone:
        return Text("no object of a live drop is gone")
    words = {"missing": "asks", "withdrawn": "is taken back", "live": "counts on"}
    rows = [
        (words.get(v.state, v.state), v.drop.delivery.key, r.clean, r.counted_total)
        for v in gone
        if (r := v.drop.record)
    ]
    parts: list[RenderableType] = [table("", ("next build", "drop", "clean lines", "total"), rows, (2, 3))]
    if any(v.state == "missing" for v in gone):
        parts.append(Text("marts withdraw accept DROP takes a drop back, refuse keeps it; without DROP: all that ask"))
    return Group(*parts)


def shared_ids(count: int, rows: Sequence[Mapping[str, object]]) -> RenderableType:
    """Render ids of transactions that stand for several."""
    if not count:
        return Text("each transaction_id is live under one customer, one store and one month")
    names = ("transaction_id", "customers", "stores", "months", "first_month", "last_month", "lines", "total_cost")
    shown = [tuple(row[name] for name in names) for row in rows]
    heads = ("transaction_id", "customers", "stores", "months", "first", "last", "lines", "total")
    more = f", those with most money first; {count - len(rows):,} more" if count > len(rows) else ""
    title = f"{count:,} ids are live under several customers, stores or months{more}"
    return Group(Text(title), table("", heads, shown, (1, 2, 3, 6, 7)))


def replaced(key: str, lines: Sequence[ReplacedLine], count: int) -> RenderableType:
    """Render lines that were replaced, beside those that took their place."""
    if not lines:
        return safe(f"no line of {key} was replaced, or replaced another")
    names = ("transaction", "day", "product", "quantity", "total", "", "drop")
    rows = [(x.transaction_id, x.sales_date, x.product_name, x.quantity, x.total_cost, x.fate, x.drop) for x in lines]
    more = [Text(f"… and {count - len(lines):,} more lines; --limit shows them")] if count > len(lines) else []
    return Group(table("", names, rows, (3, 4)), *more)


def quarantine(drops: Sequence[PlannedDrop]) -> RenderableType:
    """Render the drops with rows in quarantine."""
    if not drops:
        return Text("no row is in quarantine, and no drop is held")
    rows = [
        (_standing(drop), drop.delivery.key, m.rows_read, m.quarantined, _examples(m.reasons[:3]))
        for drop in drops
        if (m := drop.manifest)
    ]
    names = ("state", "drop", "rows read", "in quarantine", "most common reasons")
    shown: list[RenderableType] = [table("quarantine", names, rows[:_MOST], (2, 3))]
    if len(rows) > _MOST:
        shown.append(Text(f"… and {len(rows) - _MOST:,} more drops; --json gives all"))
    total = sum(row[3] for row in rows)
    shown += [Text(""), Text(f"{total:,} rows of {len(rows):,} drops. marts quarantine show DROP", style="dim")]
    return Group(*shown)


def _standing(drop: PlannedDrop) -> str:
    return "held" if drop.held else "live" if drop.change == "known" else "not live yet"


def bad_rows(drop: PlannedDrop, rows: Sequence[tuple[int, Sequence[str], str]], total: int) -> RenderableType:
    """Render rows of a drop that are in quarantine."""
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
    """Render what became of rows that were judged again."""
    parts: list[RenderableType] = [safe(f"{key}: {len(clean):,} rows are clean now, {len(wrong):,} stay in quarantine")]
    parts += [safe(f"  line {line:,}: {'; '.join(reasons)}") for line, reasons in list(wrong.items())[:_MOST]]
    if len(wrong) > _MOST:
        parts.append(Text(f"  … and {len(wrong) - _MOST:,} more"))
    return Group(*parts, Text("marts build counts them" if clean else "nothing was changed", style="dim"))


def suites(found: Sequence[Suite]) -> RenderableType:
    """Render the rules of suites, in words."""
    return Group(
        *(
            table(
                suite.name,
                ("severity", "about", "rule", "from"),
                [(r.severity, _LEVELS[r.level], r.words, "contract" if r.contract else "suite") for r in suite.rules],
            )
            for suite in found
        )
    )


_LEVELS = {"row": "each row", "key": "keys", "drop": "the whole", "run": "the run", "mart": "the mart"}


def rule_types(types: Sequence[tuple[str, str, Sequence[str], Sequence[str]]]) -> Table:
    """Render what can be asked."""
    rows = [(name, _LEVELS[level], ", ".join(needs), ", ".join(may)) for name, level, needs, may in types]
    return table("", ("type", "about", "needs", "may have"), rows)


def status(
    live: Mapping[str, Generation],
    publications: Sequence[Sequence[Publication]],
    generations: Mapping[int, Generation],
    runs: Sequence[RunRecord],
    marts: Sequence[str],
) -> RenderableType:
    """Render what is live, what was live before and can be again, and the last runs."""
    since = {one.mart: one.published_at for one in publications[0]} if publications else {}
    rows = [_generation("live", name, live.get(name), since.get(name, "")) for name in marts]
    before = {one.mart: one for one in publications[1]} if len(publications) > 1 else {}
    rows += [_generation("before", name, generations.get(p.generation), p.published_at) for name, p in before.items()]
    shown: RenderableType = table("marts", ("", "mart", "rows", "as_of", "run", "since (UTC)"), rows, (2,))
    if before:
        by = publications[0][0]
        back = f"{by.who} went back: {by.why or 'no reason given'}. " if by.action == "rollback" else ""
        shown = Group(shown, safe(f"{back}marts rollback makes what was live before live again"))
    last = [(r.run_id, r.started_at[:19], r.as_of_date, *_ended(r)) for r in runs]
    names = ("run", "started (UTC)", "as_of", "outcome", "exit", "error, or drops left out")
    return Group(shown, Text(""), table("last runs", names, last, (4,)) if last else Text("no run yet"))


def _ended(run: RunRecord) -> tuple[object, ...]:
    """Show how a run ended: outcome, exit code, and its error, or the drops that it left out."""
    done = RunReport.model_validate_json(run.report) if run.report else None
    if done is None or run.outcome != done.outcome:  # it was killed, and could not say so
        return run.outcome, run.exit_code, run.error
    left_out = [f"{drop.key} is {drop.state}" for drop in done.drops if drop.state in done.left_out]
    more = f"; and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
    mark = "! " if done.level == "warned" and done.outcome != "running" else ""
    return f"{mark}{done.words}", run.exit_code, run.error or "; ".join(left_out[:_NAMED]) + more


def _generation(when: str, mart: str, made: Generation | None, since: str) -> tuple[object, ...]:
    if made is None:
        return (when, mart, 0, "", "", "never")
    return (when, mart, made.row_count, made.as_of_date, made.run_id, (since or made.published_at)[:19])


def history(events: Sequence[Event], decisions: Sequence[Decision]) -> RenderableType:
    """Render what became of drops, newest first, and what people decided about them."""
    if not events:
        return Text("no drop yet")
    rows = [
        (e.recorded_at[:19], e.run_id, e.object_key, e.modified[:19], e.state, *_counts(e), e.reason) for e in events
    ]
    names = ("when (UTC)", "run", "drop", "delivered (UTC)", "became", "rows read", "clean", "bad", "double", "why")
    parts: list[RenderableType] = [table("drops", names, rows, (5, 6, 7, 8))]
    if any(event.replaced for event in events):
        parts.append(Text("double: repeated + replaced; `marts history --replaced DROP` lists these", style="dim"))
    if decisions:
        said = [(d.decided_at[:19], d.who, d.action, d.object_key, d.why) for d in decisions]
        parts += [Text(""), table("decisions", ("when (UTC)", "who", "what", "drop", "why"), said)]
    return Group(*parts)


def _counts(event: Event) -> tuple[int, int, int, str]:
    repeated = event.duplicates - event.replaced
    double = f"{repeated:,} + {event.replaced:,}" if event.replaced else f"{repeated:,}"
    return event.rows_read, event.clean, event.quarantined, double


def rolled_back(live: Sequence[Generation]) -> RenderableType:
    """Render what is live after going back."""
    rows = [(g.mart, g.row_count, g.as_of_date, g.run_id) for g in live]
    until = "builds publish again when a drop or the policy changes, or with --rebuild; marts rollback goes forward"
    return Group(table("live again", ("mart", "rows", "as_of", "run"), rows, (1,)), Text(until, style="dim"))


def vacuumed(folders: Sequence[tuple[str, int, int]], kept: int, dry_run: bool) -> RenderableType:
    """Render what was removed from the state."""
    if not folders:
        return Text(f"nothing to remove; {kept:,} files are needed")
    title = "would be removed" if dry_run else "removed"
    return Group(table(title, ("folder", "files", "bytes"), folders, (1, 2)), Text(f"{kept:,} files stay", style="dim"))


def checks(found: Iterable[tuple[str, bool, str]]) -> Table:
    """Render what the doctor found."""
    return table(
        "", ("", "what", "seen, or what to do"), [("ok" if ok else "FAIL", what, text) for what, ok, text in found]
    )


_SHORT = {
    "customer_id": "customer",
    "full_name": "name",
    "customer_lifetime_value": "lifetime value",
    "purchase_frequency": "purchases",
    "monetary_value": "per purchase",
    "last_purchase_month": "last",
    "inactive_status": "inactive",
    "customer_segment": "segment",
    "store_id": "store",
    "sales_person_id": "person",
    "sales_month": "month",
    "total_sales": "sales",
    "sales_growth_rate": "growth %",
    "sales_contribution_percentage": "% of store",
}


def rows(found: Rows) -> RenderableType:
    """Render rows of a mart, under names that leave room."""
    return table(
        found.title,
        [_SHORT.get(name, name) for name in found.names],
        [_row(found, row) for row in found.rows],
        found.numbers,
    )


def upright(found: Rows) -> RenderableType:
    """Render rows of a mart whose columns would not fit beside each other: what is the same in all rows comes first."""
    same = [at for at, _ in enumerate(found.names) if len(found.rows) > 1 and len({row[at] for row in found.rows}) == 1]
    rest = [at for at in range(len(found.names)) if at not in same]
    first = _row(found, found.rows[0])
    parts: list[RenderableType] = [Text(found.title, style="bold")]
    parts += [table("", ("", ""), [(found.names[at], first[at]) for at in same])] if same else []
    names = [found.names[at] for at in rest]
    right = [place for place, at in enumerate(rest) if at in found.numbers]
    parts.append(table("", names, [[_row(found, row)[at] for at in rest] for row in found.rows], right))
    return Group(*parts)


def _row(found: Rows, row: Sequence[object]) -> list[object]:
    """Write ids without separators, flags as words, and what is not there as a dash."""
    words: dict[object, str] = {None: "-", True: "yes", False: "no"}
    return [
        str(value) if name.endswith("_id") else words[value] if value is None or isinstance(value, bool) else value
        for name, value in zip(found.names, row, strict=True)
    ]


def audit(entries: Sequence[AuditEntry]) -> RenderableType:
    """Render the audit trail."""
    rows = [(e.number, e.noted_at[:19], e.who, e.action, e.subject, e.why, e.hash[:12]) for e in entries]
    return table("audit trail", ("", "when (UTC)", "who", "did", "to", "why", "hash"), rows, (0,))


def notices(raised: Sequence[Notice]) -> RenderableType:
    """Render notices: newest first, with who got them."""
    rows = [
        (notice.raised_at[:16].replace("T", " "), notice.event, notice.subject, _deliveries(notice))
        for notice in raised
    ]
    return table("notices", ("raised (UTC)", "event", "subject", "to"), rows)


def _deliveries(notice: Notice) -> str:
    told = [f"{name}: {one.state}{f' ({one.error})' if one.error else ''}" for name, one in notice.deliveries.items()]
    return "; ".join(told)


def error(what: str, where: str, hint: str) -> str:
    """Render an error as plain text: what, where, and what to do."""
    shown = f"error: {f'{where}: ' if where else ''}{what}"
    return visible("\n".join([shown, "", f"hint: {hint}"]) if hint else shown, keep="\n")
