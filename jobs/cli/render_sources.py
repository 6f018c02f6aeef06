"""Render the trial of a file."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from jobs.cli.render import table
from jobs.cli.tables import safe
from jobs.operations.propose import ProposedBlock
from jobs.operations.scaffold import toml
from jobs.operations.sources import Trial

_MOST = 12
"""Columns of the table of rows."""
_DELIMITERS = {"\t": "tab", ",": "comma", ";": "semicolon"}


def proposals(blocks: Sequence[ProposedBlock]) -> RenderableType:
    """Render the proposed blocks, and what is left to decide."""
    rows = []
    for item in blocks:
        names = ", ".join(dict.fromkeys(proposal.name for proposal in item.proposals if not proposal.choice))
        rows.append((item.match, f"{item.files:,}", item.kind or "none", names or "(no block needed)", item.outcome))
    parts: list[RenderableType] = [table("files", ("match", "files", "kind", "settings", "tried"), rows, (1,))]
    choices = [(item.match, proposal) for item in blocks for proposal in item.proposals if proposal.choice]
    for match, proposal in choices:
        parts.append(safe(f"to decide in {match}: {proposal.name} = {toml(proposal.value)}: {proposal.reason}"))
    rules = dict.fromkeys(item.rule for item in blocks if item.rule)
    parts += [safe(f"policy.toml: total_cost_rule = {rule!r} fits the totals of the files") for rule in rules]
    return Group(*parts)


def trial(tried: Trial) -> RenderableType:
    """Render which block holds, how the file is read, its first rows, and what does not fit."""
    block = f'[[source]] block {tried.block}, match = "{tried.match}"' if tried.block else "no [[source]] block matches"
    parts: list[RenderableType] = [safe(f"{tried.key}: {tried.kind}; {block}")]
    if tried.rejected:
        parts += [Text(""), Text("cannot be read", style="bold red"), safe(f"error: {tried.rejected}")]
        return Group(*parts, *([safe(f"hint: {tried.hint}")] if tried.hint else []))
    layout = tried.layout
    named = _DELIMITERS.get(layout.dialect.delimiter, repr(layout.dialect.delimiter))
    ends = ", lines end with a carriage return" if layout.returns else ""
    skipped = f", {layout.skip} lines before the header" if layout.skip else ""
    text = f"read as {layout.encoding}, delimiter {named}{ends}{skipped}"
    parts.append(safe(text if tried.format == "csv" else f"read as {tried.format}"))
    parts += [Text(""), table("columns", ("in the file", "column", "type"), tried.columns)]
    if tried.rows:
        names = [name for name in tried.rows[0] if any(row[name] is not None for row in tried.rows)]
        rows = [[row[name] for name in names[:_MOST]] for row in tried.rows]
        parts += [Text(""), table(f"the first {len(rows):,} rows that fit", names[:_MOST], rows)]
    good = tried.read - tried.bad
    style = "bold yellow" if tried.bad else "bold green"
    parts += [Text(""), Text(f"of {tried.read:,} rows read, {good:,} fit and {tried.bad:,} do not", style=style)]
    if tried.misfits:
        bad = [(row.line, "; ".join(row.reasons), row.raw) for row in tried.misfits]
        parts += [Text(""), table("rows that do not fit", ("line", "why", "row"), bad, (0,))]
        ways = dict.fromkeys(setting for row in tried.misfits for setting in row.settings)
        parts += [safe(f"hint: if that is right, {setting}") for setting in ways]
    return Group(*parts)
