"""Tables that fit a terminal: numbers, dates and names are never broken; what does not fit is hidden or stacked."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from jobs.runtime.escaping import visible

_GAP = 2
_WHOLE = 24
"""Maximum characters of a cell that is never broken; columns with longer cells are folded."""
_LEAST = 16
"""Minimum width of a folded column, in characters."""


class Fitted:
    """A table that is rendered for the width of the console.

    Columns in ``optional`` are hidden, in this order, while the table is too wide. If it is still too wide, each row
    becomes lines of a name and a value.
    """

    def __init__(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        right: Sequence[int] = (),
        optional: Sequence[int] = (),
    ) -> None:
        self._title, self._columns, self._right, self._optional = title, list(columns), set(right), list(optional)
        self._rows = [[value if isinstance(value, Text) else safe(value) for value in row] for row in rows]
        cells = [[row[at] for row in self._rows] for at in range(len(self._columns))]
        self._whole = [at in self._right or all(map(_is_whole, column)) for at, column in enumerate(cells)]
        self._natural = [max(map(_width, [Text(name), *column])) for name, column in zip(columns, cells, strict=True)]
        self._least = [self._least_width(at, column) for at, column in enumerate(cells)]
        self._liked = [
            max(least, min(natural, _LEAST)) for least, natural in zip(self._least, self._natural, strict=True)
        ]

    def _least_width(self, at: int, column: Sequence[Text]) -> int:
        heading = max((cell_len(word) for word in self._columns[at].split()), default=0)
        if self._whole[at]:
            return max([heading, *map(_width, column)])
        return max(heading, min(self._natural[at], _LEAST))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        displayed, hidden = list(range(len(self._columns))), list[int]()
        for at in self._optional:
            if self._fits(displayed, options.max_width):
                break
            displayed.remove(at)
            hidden.append(at)
        if not self._fits(displayed, options.max_width):
            yield from self._stacked()
            return
        yield self._table(displayed, options.max_width)
        if hidden:
            names = ", ".join(self._columns[at] for at in sorted(hidden))
            yield Text(f"columns not shown: {names} (--wide shows all)", style="dim")

    def _fits(self, displayed: Sequence[int], width: int, widths: Sequence[int] = ()) -> bool:
        return sum((widths or self._least)[at] + _GAP for at in displayed) - _GAP <= width

    def _table(self, displayed: Sequence[int], width: int) -> Table:
        widths = next(
            (some for some in (self._natural, self._liked) if self._fits(displayed, width, some)), self._least
        )
        table = Table(
            title=self._title or None,
            title_justify="left",
            title_style="bold",
            box=None,
            pad_edge=False,
            padding=(0, _GAP, 0, 0),
            show_header=any(self._columns[at] for at in displayed),
        )
        for at in displayed:
            table.add_column(
                self._columns[at],
                justify="right" if at in self._right else "left",
                header_style="dim",
                overflow="fold",
                min_width=widths[at] if self._whole[at] else self._least[at],
                max_width=widths[at] if self._whole[at] else None,
            )
        for row in self._rows:
            table.add_row(*(row[at] for at in displayed))
        return table

    def _stacked(self) -> Iterable[Table | Text]:
        if self._title:
            yield Text(self._title, style="bold")
        for number, row in enumerate(self._rows):
            if number:
                yield Text("")
            lines = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=False)
            lines.add_column(style="dim", no_wrap=True)
            lines.add_column(overflow="fold")
            for name, value in zip(self._columns, row, strict=True):
                lines.add_row(name, value)
            yield lines


def safe(value: object) -> Text:
    """Return any value as plain text: control characters, and thus terminal escapes, are made visible."""
    displayed = f"{value:,}" if isinstance(value, int | Decimal) and not isinstance(value, bool) else str(value)
    return Text(visible(displayed))


def _width(text: Text) -> int:
    return max((cell_len(line) for line in text.plain.split("\n")), default=0)


def _is_whole(text: Text) -> bool:
    return len(text.plain) <= _WHOLE and "\n" not in text.plain
