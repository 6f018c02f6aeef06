"""Render reports and plans for a terminal: tables and sentences, readable without colour."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from jobs.cli.tables import Fitted, safe
from jobs.operations.views import Rows
from jobs.ports.audit import AuditEntry
from jobs.ports.notices import Notice
from jobs.ports.records import Generation, Publication, RunRecord
from jobs.report.run_report import LEFT_OUT, DropReport, QualityReport, RunReport
from jobs.runtime.escaping import visible
from jobs.state.manifest import Reason
from marts.quality.rules import Suite

SHOWN = 20
_NAMED = 3
"""Number of drops named per line."""
MOST = 50


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    right: Sequence[int] = (),
    optional: Sequence[int] = (),
) -> Fitted:
    """Return a table. Columns in ``right`` are right-aligned; those in ``optional`` are hidden on a narrow terminal."""
    return Fitted(title, columns, rows, right, optional)


def minute(moment: str) -> str:
    """Return a timestamp of the ledger to the minute."""
    return moment[:16].replace("T", " ")


def report(done: RunReport) -> RenderableType:
    """Render the report of a run."""
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
    if done.alerts:
        parts += [Text(""), *(safe(f"alert: {alert.subject}: {alert.hint}") for alert in done.alerts)]
    if done.notes:
        parts += [Text(""), *(safe(f"note: {note}") for note in done.notes)]
    if done.seconds:
        steps = " · ".join(f"{step} {seconds:.1f}" for step, seconds in done.seconds.items())
        total = (done.ended_at - done.started_at).total_seconds()
        parts += [Text(""), Text(f"seconds: {steps} · in all {total:.1f}", style="dim")]
    return Group(*parts)


def _headline(done: RunReport) -> str:
    meaning = {
        "published": f"{done.words}: {_live(len(done.marts))}",
        "unchanged": f"{done.words}: {done.held_back or 'the live marts were already up to date'}",
        "failed": "failed: nothing was published, the live marts are untouched",
        "unknown": "ended without a reply from the database: marts status shows what is live",
        "running": "is running",
    }[done.outcome]
    if done.error or not done.left_out:
        return f"run {done.run_id} {meaning}"
    again = "; run again, a drop changed while it was read" if "deferred" in done.left_out else ""
    without = ", without the drops left out" if set(done.left_out) - {"missing"} else "; see the warnings"
    return f"! run {done.run_id} {meaning}{without}{again}"


def _live(count: int) -> str:
    return "the mart is live" if count == 1 else "both marts are live" if count == 2 else f"all {count} marts are live"


def _totals(done: RunReport) -> Fitted:
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
    return table("lines", names, [values], range(len(names)), (8, 7))


def _marts(done: RunReport) -> Fitted:
    unchanged = "kept" if done.held_back else "up to date"
    rows = [
        (m.table, m.rows, "" if m.total is None else m.total, "loaded" if m.changed else unchanged) for m in done.marts
    ]
    return table("marts", ("table", "rows", "total", ""), rows, (1, 2))


def _quality(done: RunReport) -> list[RenderableType]:
    """Render the Great Expectations results, one row per suite."""
    if not done.quality:
        return []
    rows = [(q.outcome, q.name, q.drops or "", q.rows, q.quarantined or "", q.rules, _broken(q)) for q in done.quality]
    names = ("", "suite", "drops", "rows", "bad", "rules", "broken rules")
    docs = safe(f"pages: {done.docs}/index.html")
    return [Text(""), table("data quality", names, rows, (2, 3, 4, 5)), docs]


def _broken(result: QualityReport) -> str:
    more = f"; and {len(result.broken) - 3} more" if len(result.broken) > 3 else ""
    return "; ".join(f"{rule.rule} ({rule.severity})" for rule in result.broken[:3]) + more


def _drops(drops: Sequence[DropReport]) -> list[RenderableType]:
    """Render the drops that need attention and count the others."""
    look = [drop for drop in drops if drop.state in LEFT_OUT]
    others = Counter(
        drop.state if drop.state in ("duplicate", "withdrawn") else drop.change for drop in drops if drop not in look
    )
    displayed: list[RenderableType] = []
    if others:
        displayed.append(Text("drops: " + ", ".join(f"{count:,} {name}" for name, count in sorted(others.items()))))
    displayed += _quarantined([drop for drop in drops if drop.state == "live" and drop.quarantined])
    if look:
        displayed.append(Text(""))
        rows = [(drop.state, drop.key, drop.reason, _with_lines(drop.reasons)) for drop in look[:SHOWN]]
        displayed.append(table("drops that need attention", ("state", "drop", "why", "most common reasons"), rows))
    if len(look) > SHOWN:
        displayed.append(Text(f"… and {len(look) - SHOWN:,} more"))
    return displayed


def _quarantined(drops: Sequence[DropReport]) -> list[RenderableType]:
    """Summarize the rows in quarantine: the most common reasons and the drop with most of them."""
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


def examples(reasons: Sequence[Reason]) -> str:
    return "; ".join(f"{r.rows:,} x {r.rule}, as in line {r.line:,}" for r in reasons)


def _with_lines(reasons: Sequence[Reason]) -> Text:
    return Text("\n").join(safe(f"{r.rows:,} x {r.rule}, as in line {r.line:,}: {r.raw}") for r in reasons)


def suites(results: Sequence[Suite]) -> RenderableType:
    """Render the rules of suites in words."""
    return Group(
        *(
            table(
                suite.name,
                ("severity", "scope", "rule", "from"),
                [(r.severity, _LEVELS[r.level], r.words, "contract" if r.contract else "suite") for r in suite.rules],
            )
            for suite in results
        )
    )


_LEVELS = {"row": "each row", "key": "keys", "drop": "the drop", "run": "the run", "mart": "the mart"}


def rule_types(types: Sequence[tuple[str, str, Sequence[str], Sequence[str]]]) -> Fitted:
    """Render the types of rules with their arguments."""
    rows = [(name, _LEVELS[level], ", ".join(needs), ", ".join(may)) for name, level, needs, may in types]
    return table("", ("type", "scope", "required", "optional"), rows)


def status(
    live: Mapping[str, Generation],
    publications: Sequence[Sequence[Publication]],
    generations: Mapping[int, Generation],
    runs: Sequence[RunRecord],
    marts: Sequence[str],
) -> RenderableType:
    """Render the live marts, the previous publication and the last runs."""
    since = {item.mart: item.published_at for item in publications[0]} if publications else {}
    rows = [_generation("live", name, live.get(name), since.get(name, "")) for name in marts]
    before = {item.mart: item for item in publications[1]} if len(publications) > 1 else {}
    rows += [_generation("previous", name, generations.get(p.generation), p.published_at) for name, p in before.items()]
    displayed: RenderableType = table("marts", ("", "mart", "rows", "as_of", "run", "since (UTC)"), rows, (2,), (4,))
    if before:
        by = publications[0][0]
        back = f"{by.who} rolled back: {by.why or 'no reason given'}. " if by.action == "rollback" else ""
        displayed = Group(displayed, safe(f"{back}marts rollback makes the previous publication live again"))
    last = [(r.run_id, minute(r.started_at), r.as_of_date, *_ended(r)) for r in runs]
    names = ("run", "started (UTC)", "as_of", "outcome", "exit", "error, or drops left out")
    return Group(displayed, Text(""), table("last runs", names, last, (4,), (2,)) if last else Text("no run yet"))


def _ended(run: RunRecord) -> tuple[object, ...]:
    """Return how a run ended: outcome, exit code, and the error or the drops left out."""
    done = RunReport.model_validate_json(run.report) if run.report else None
    if done is None or run.outcome != done.outcome:  # killed before it recorded its outcome
        return run.outcome, run.exit_code, run.error
    left_out = [f"{drop.key} is {drop.state}" for drop in done.drops if drop.state in done.left_out]
    more = f"; and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
    mark = "! " if done.level == "warned" and done.outcome != "running" else ""
    return f"{mark}{done.words}", run.exit_code, run.error or "; ".join(left_out[:_NAMED]) + more


def _generation(when: str, mart: str, built: Generation | None, since: str) -> tuple[object, ...]:
    if built is None:
        return (when, mart, 0, "", "", "never")
    return (when, mart, built.row_count, built.as_of_date, built.run_id, minute(since or built.published_at))


def rolled_back(live: Sequence[Generation]) -> RenderableType:
    """Render the live marts after a rollback."""
    rows = [(g.mart, g.row_count, g.as_of_date, g.run_id) for g in live]
    until = "builds publish again when a drop or the policy changes, or with --rebuild; marts rollback undoes this"
    return Group(table("live again", ("mart", "rows", "as_of", "run"), rows, (1,)), Text(until, style="dim"))


def vacuumed(folders: Sequence[tuple[str, int, int]], kept: int, dry_run: bool) -> RenderableType:
    """Render the files removed from the state, by folder."""
    if not folders:
        return Text(f"nothing to remove; {kept:,} files are needed")
    title = "would be removed" if dry_run else "removed"
    return Group(table(title, ("folder", "files", "bytes"), folders, (1, 2)), Text(f"{kept:,} files kept", style="dim"))


def checks(results: Iterable[tuple[str, bool, str]]) -> Fitted:
    """Render the results of the doctor's checks."""
    return table(
        "", ("", "check", "result, or what to do"), [("ok" if ok else "FAIL", what, text) for what, ok, text in results]
    )


_ALWAYS = 2
"""Index of the last column of a mart that is always shown."""


def rows(result: Rows) -> RenderableType:
    """Render rows of a mart under short column names; the last columns are hidden first."""
    if not result.rows:
        return Group(Text(result.title, style="bold"), Text("no rows"))
    cells = [_row(result, row) for row in result.rows]
    return table(result.title, result.headings, cells, result.numbers, range(len(result.names) - 1, _ALWAYS, -1))


def upright(result: Rows) -> RenderableType:
    """Render rows of a wide mart: first the columns that are equal in all rows, then a table of the others."""
    if not result.rows:
        return rows(result)
    places = range(len(result.names))
    equal = [at for at in places if len(result.rows) > 1 and len({row[at] for row in result.rows}) == 1]
    rest = [at for at in places if at not in equal]
    cells = [_row(result, row) for row in result.rows]
    parts: list[RenderableType] = [Text(result.title, style="bold")]
    if equal:
        parts += [table("", ("", ""), [(result.headings[at], cells[0][at]) for at in equal]), Text("")]
    right = [place for place, at in enumerate(rest) if at in result.numbers]
    names = [result.headings[at] for at in rest]
    parts.append(
        table("", names, [[row[at] for at in rest] for row in cells], right, range(len(rest) - 1, _ALWAYS - 1, -1))
    )
    return Group(*parts)


def _row(result: Rows, row: Sequence[object]) -> list[object]:
    return [cell(type_, value) for type_, value in zip(result.types, row, strict=True)]


def cell(type_: str, value: object) -> object:
    """Format a value: ids without separators, flags as words, NULL as a dash, a blank after each entry of a list."""
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, str) and " " not in value:
        return value.replace(";", "; ")  # a narrow column breaks it between entries
    return str(value) if type_ in ("id", "date") else value


_WORDS: dict[object, str] = {None: "-", True: "yes", False: "no"}


def audit(entries: Sequence[AuditEntry]) -> RenderableType:
    """Render the audit trail."""
    rows = [(e.number, minute(e.noted_at), e.who, e.action, e.subject, e.why, e.hash[:12]) for e in entries]
    return table("audit trail", ("", "when (UTC)", "who", "action", "subject", "why", "hash"), rows, (0,), (6,))


def notices(raised: Sequence[Notice]) -> RenderableType:
    """Render notices, newest first, with the state of each delivery."""
    rows = [(minute(notice.raised_at), notice.event, notice.subject, _deliveries(notice)) for notice in raised]
    return table("notices", ("raised (UTC)", "event", "subject", "deliveries"), rows)


def _deliveries(notice: Notice) -> str:
    announced = [
        f"{name}: {item.state}{f' ({item.error})' if item.error else ''}" for name, item in notice.deliveries.items()
    ]
    return "; ".join(announced)


def error(what: str, where: str, hint: str) -> str:
    """Render an error as plain text: what, where and what to do."""
    displayed = f"error: {f'{where}: ' if where else ''}{what}"
    return visible("\n".join([displayed, "", f"hint: {hint}"]) if hint else displayed, keep="\n")
