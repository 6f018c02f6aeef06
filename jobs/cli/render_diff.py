"""Render what differs between two publications."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from jobs.cli.render import SHOWN, cell, minute, table
from jobs.cli.tables import safe
from jobs.ports.differences import Comparison, RowDifference
from jobs.report.differences import Differences, MartDifference, change_of


def differences(compared: Differences, of_one: bool) -> RenderableType:
    """Render the publications, the drops between them, and the rows that differ: all values of them ``of_one`` mart."""
    parts: list[RenderableType] = [_publications(compared), *map(safe, _causes(compared)), *_drops(compared)]
    if not of_one:
        parts += [Text(""), _marts(compared.marts)]
    for part in compared.marts:
        if of_one or part.comparison.differing or _columns(part.comparison):
            parts += [Text(""), *_mart(part, of_one)]
    if not of_one and any(part.comparison.differing for part in compared.marts):
        hint = "marts diff MART shows every value that differs; --json and --csv have them, too"
        parts += [Text(""), Text(hint, style="dim")]
    return Group(*parts)


def _publications(compared: Differences) -> RenderableType:
    sides = {"live": compared.now, "before": compared.was}
    rows = [(when, side.number, minute(side.since), side.as_of, side.run_id) for when, side in sides.items()]
    return table("publications", ("", "number", "since (UTC)", "as_of", "run"), rows, (1,))


def _causes(compared: Differences) -> Iterable[str]:
    """Yield what differs besides the drops."""
    was, now = compared.was, compared.now
    if now.action == "rollback":
        yield f"{now.who} rolled back: {now.why or 'no reason given'}"
    if was.policy and now.policy and was.policy != now.policy:
        yield "the policy is another"
    if was.version and now.version and was.version != now.version:
        yield f"Martwright {was.version} computed the one before, {now.version} the live one"


def _drops(compared: Differences) -> list[RenderableType]:
    """Render the drops behind the differences."""
    drops = compared.drops
    if not drops:
        return [Text("no drop came, left or changed between the two runs")]
    title = "drops of the publication before, not of the live one" if compared.went_back else "drops between"
    rows = [(drop.change, drop.key, drop.rows, drop.rows_before, drop.reason) for drop in drops[:SHOWN]]
    names, right = ["", "drop", "rows", "before", "why"], (2, 3)
    kept = 5 if any(drop.reason for drop in drops[:SHOWN]) else 4
    parts: list[RenderableType] = [
        Text(""),
        Text(title, style="bold"),
        table("", names[:kept], [row[:kept] for row in rows], right),
    ]
    return [*parts, *([Text(f"… and {len(drops) - SHOWN:,} more drops; --json lists all")] if drops[SHOWN:] else [])]


def _marts(parts: Sequence[MartDifference]) -> RenderableType:
    rows = []
    for part in parts:
        own, total = part.comparison, part.total
        counts = ("-",) * 4 if own.why_not else (own.added, own.removed, own.changed, own.unchanged)
        sums = (total.was, total.now, _signed(total.difference)) if total and total.difference else ("", "", "")
        rows.append((part.mart.name, *counts, *sums))
    names = ("", "added", "removed", "changed", "unchanged", "total before", "total now", "difference")
    notes = [safe(f"{p.mart.name}: cannot be compared: {why}") for p in parts if (why := p.comparison.why_not)]
    return Group(table("rows of the marts", names, rows, range(1, 8), (4, 5)), *notes)


def _mart(part: MartDifference, in_full: bool) -> list[RenderableType]:
    """Render the sums and the first rows of a mart; ``in_full`` all values of a row."""
    own, mart = part.comparison, part.mart
    counts = [f"{count:,} {word}" for word, count in _counts(own).items() if count or in_full]
    parts: list[RenderableType] = [Text(f"{mart.table}: {', '.join(counts) or 'no row differs'}", style="bold")]
    parts += [safe(text) for text in _columns(own)]
    sums = [(item.column, item.was, item.now, _signed(item.difference)) for item in own.sums if item.difference]
    if sums:
        parts.append(table("", ("sum of all rows", "before", "now", "difference"), sums, (1, 2, 3)))
    if own.rows:
        types = {column.name: column.type for column in mart.columns}
        keys = [[cell(types[name], value) for name, value in row.key.items()] for row in own.rows]
        rows = [
            (row.change, *key, _values(row, types, own.ordered_by, in_full))
            for row, key in zip(own.rows, keys, strict=True)
        ]
        names = ("", *(name.replace("_", " ") for name in mart.key), "what differs")
        parts += [Text(""), table("", names, rows)]
    if own.left_out:
        order = f"by the change of {own.ordered_by}" if own.ordered_by else "by key"
        parts.append(Text(f"… and {own.left_out:,} more rows, {order}; --limit shows them"))
    return parts


def _counts(own: Comparison) -> Mapping[str, int]:
    return {"added": own.added, "removed": own.removed, "changed": own.changed, "unchanged": own.unchanged}


def _columns(own: Comparison) -> list[str]:
    """Describe the columns that only one of the publications has."""
    words = {
        "only the live publication has": own.new_columns,
        "only the publication before has": own.removed_columns,
        "of another type, and not compared:": own.retyped_columns,
    }
    return [f"{what} {', '.join(names)}" for what, names in words.items() if names]


def _values(row: RowDifference, types: Mapping[str, str], first: str, in_full: bool) -> Text:
    """Render the values of a row that differ, the column ``first`` before others; only one unless ``in_full``."""
    names = sorted(row.now or row.was, key=lambda name: name != first)
    texts = [safe(_value(row, name, types[name])) for name in names]
    if row.change != "changed":  # all values of a row
        return Text("; ").join(texts if in_full else texts[:1])
    if in_full or len(texts) == 1:
        return Text("\n").join(texts)
    return Text("").join([*texts[:1], Text(f"; {len(texts) - 1} more column{'s' if texts[2:] else ''}")])


def _value(row: RowDifference, name: str, type_: str) -> str:
    was, now = (_text(type_, side.get(name)) for side in (row.was, row.now))
    if row.change != "changed":
        return f"{name} {now if row.change == 'added' else was}"
    change = change_of(type_, row.was[name], row.now[name])
    return f"{name} {was} -> {now}{f' ({_signed(change)})' if change is not None else ''}"


def _text(type_: str, value: object) -> str:
    return safe(cell(type_, value)).plain


def _signed(change: object) -> str:
    return f"{change:+,}"
