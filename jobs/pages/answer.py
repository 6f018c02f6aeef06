"""What a page shows for a choice: cards, panels and filters, as exact whole numbers.

Figures are sums of cells, or one division of two sums, rounded half up. A figure that cannot be had for a choice says
why instead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property

from jobs.pages.choice import Choice, Range
from jobs.pages.cube import Cube, Option, Sums, each_day
from marts.analytics.ranks import half_up
from marts.compute.versions import month_after
from marts.dashboard import Figure, Panel

WEEK = 7
MONTHS = 13
"""Months of a card's small chart: a year and the month that it is compared with."""
_PERCENT = 10_000
"""Hundredths of a percent."""


@dataclass(frozen=True)
class Change:
    """A value beside the one before."""

    now: int | None
    before: int | None = None

    @property
    def tenths(self) -> int | None:
        """Return the change in tenths of a percent; None if there is nothing to compare with."""
        if self.now is None or not self.before:
            return None
        return half_up((self.now - self.before) * 1000, abs(self.before))


@dataclass(frozen=True)
class Card:
    """A figure for a choice."""

    name: str
    figure: Figure
    value: Change
    months: tuple[tuple[str, int | None], ...]
    """The last months up to the range, whatever its first day."""
    why_not: str = ""
    """Why there is no value."""


@dataclass(frozen=True)
class Row:
    """A value of a dimension with its figure."""

    value: str
    name: str
    figure: Change
    share: int | None
    """Of the sum of all, in hundredths of a percent."""


@dataclass(frozen=True)
class Line:
    """A figure by day."""

    name: str
    values: tuple[int | None, ...]
    means: tuple[int | None, ...]
    """Of the day and the six before it: 7 days together, never a mean of ratios."""


@dataclass(frozen=True)
class PanelAnswer:
    """What a panel shows: lines over days, or rows of a dimension."""

    panel: Panel
    title: str
    figure: Figure
    dimension: str = ""
    days: tuple[date, ...] = ()
    lines: tuple[Line, ...] = ()
    compared: Line | None = None
    """The compared period, day by day beside the range."""
    rows: tuple[Row, ...] = ()
    left_out: int = 0
    """Rows that are not listed."""


@dataclass(frozen=True)
class Answer:
    """A page's content."""

    choice: Choice
    remarks: tuple[str, ...]
    """What of the address was taken out."""
    cards: tuple[Card, ...]
    panels: tuple[PanelAnswer, ...]
    options: Mapping[str, Sequence[Option]] = field(default_factory=dict)


def answer(cube: Cube, choice: Choice, remarks: Sequence[str] = ()) -> Answer:
    """Return what a page shows for a choice, which is settled first."""
    settled, more = cube.settled(choice)
    asked = Asked(cube, settled)
    if settled.compared and not asked.compared:
        more.append(f"There is nothing to compare with: figures begin on {cube.bounds.first}.")
    cards = tuple(asked.card(name) for name in cube.dashboard.cards)
    panels = tuple(asked.panel(panel) for panel in cube.dashboard.panels)
    return Answer(settled, (*remarks, *more), cards, panels, cube.options(settled, asked.now))


def cards_of(cube: Cube, choice: Choice) -> list[Card]:
    """Return the cards of a choice, as it is."""
    asked = Asked(cube, choice)
    return [asked.card(name) for name in cube.dashboard.cards]


class Asked:
    """The sums of one choice; each is asked for once."""

    def __init__(self, cube: Cube, choice: Choice) -> None:
        self.cube, self.choice, self.board = cube, choice, cube.dashboard
        compared = choice.compared
        self.compared = compared if compared and compared.first >= cube.bounds.first else None
        self._months = Range(month_after(choice.range.last, 1 - MONTHS), choice.range.last)
        needed = [_with_week(days) for days in (choice.range, self._months, self.compared) if days]
        self._by_day = cube.by_day(choice, Range(min(days.first for days in needed), choice.range.last))
        self.total = self._total(choice.range)
        self.total_before = self._total(self.compared) if self.compared else None

    def _total(self, days: Range) -> Sums:
        return self._added(day for day in self._by_day if days.first <= day <= days.last)

    def _added(self, days: Iterable[date]) -> Sums:
        """Return the sums of some days together."""
        nothing = (0,) * len(self.cube.columns)
        return tuple(map(sum, zip(nothing, *(self._by_day[day] for day in days), strict=True)))

    @cached_property
    def now(self) -> dict[str, dict[str, Sums]]:
        """Return the sums by value of each dimension."""
        return self.cube.by_values([*self.board.dimensions], self.choice, self.choice.range)

    @cached_property
    def _before(self) -> dict[str, dict[str, Sums]]:
        """Return those of the compared days, by value of each dimension that a panel shows."""
        if not self.compared:
            return {}
        dimensions = dict.fromkeys(self._dimension(panel) for panel in self.board.panels if panel.by)
        return self.cube.by_values([*dimensions], self.choice, self.compared)

    @cached_property
    def _by_month(self) -> dict[str, Sums]:
        """Return the sums of each month of a card's small chart."""
        days: dict[str, list[date]] = {month: [] for month in _months(self._months)}
        for day in self._by_day:
            if self._months.first <= day:
                days[f"{day:%Y-%m}"].append(day)
        return {month: self._added(own) for month, own in days.items()}

    def card(self, name: str) -> Card:
        figure = self.board.figures[name]
        if figure.of:
            return self._card_elsewhere(name, figure)
        before = None if self.total_before is None else self._value(figure, self.total_before)
        months = tuple((month, self._value(figure, sums)) for month, sums in self._by_month.items())
        value = self._value(figure, self.total)
        why = "" if value is not None else f"There is nothing to divide by: no {figure.per.replace('_', ' ')}."
        return Card(name, figure, Change(value, before), months, why)

    def _card_elsewhere(self, name: str, figure: Figure) -> Card:
        """Return a card of a table by month, if it knows the choice."""
        if unknown := self.cube.unknown_to(figure, self.choice):
            return Card(name, figure, Change(None), (), f"It is not counted by {' and '.join(unknown).lower()}.")
        known = self.cube.elsewhere(figure, self.choice)
        small = tuple((month, _divided(figure, *known.get(month, (0, 0)))) for month in _months(self._months))
        value, why = self._of_months(figure, known, self.choice.range)
        before = self._of_months(figure, known, self.compared)[0] if self.compared else None
        return Card(name, figure, Change(value, before if value is not None else None), small, why)

    def _of_months(self, figure: Figure, known: Mapping[str, tuple[int, int]], days: Range) -> tuple[int | None, str]:
        """Return the value of whole months, or why there is none; ``known`` are the sums of each month."""
        if not _is_of_whole_months(days, self.cube.bounds.last):
            return None, "It exists by whole months: choose these."
        months = _months(days)
        if figure.of_one_month and len(months) > 1:
            return None, "Who comes in two months would count twice: choose one month."
        sums = [known.get(month, (0, 0)) for month in months]
        return _divided(figure, sum(a for a, _ in sums), sum(b for _, b in sums)), ""

    def panel(self, panel: Panel) -> PanelAnswer:
        figure = self.board.figures[panel.figure]
        dimension = self._dimension(panel)
        label = self.board.dimensions[dimension].label if dimension else ""
        title = panel.title.replace("{figure}", figure.label).replace("{dimensions}", _plural(label))
        title = title.replace("{dimension}", label.lower())
        if panel.kind == "trend":
            return self._trend(panel, figure, title)
        if panel.kind == "lines":
            return self._lines(panel, figure, title, dimension)
        rows = self.rows(figure, dimension)
        kept = [*rows[: panel.top], *(rows[max(len(rows) - panel.bottom, panel.top) :] if panel.bottom else [])]
        return PanelAnswer(panel, title, figure, dimension, rows=tuple(kept), left_out=len(rows) - len(kept))

    def _dimension(self, panel: Panel) -> str:
        """Return the first dimension of a panel without one chosen value: one bar alone says nothing."""
        free = [name for name in panel.by if len(self.choice.values(name)) != 1]
        return next(iter(free), panel.by[-1] if panel.by else "")

    def _trend(self, panel: Panel, figure: Figure, title: str) -> PanelAnswer:
        days = self.choice.range
        line = self._line("", figure, self._by_day, days)
        beside = None
        if self.compared:
            other = self._line("", figure, self._by_day, self.compared)
            beside = Line("", _fitted(other.values, days.days), _fitted(other.means, days.days))
        return PanelAnswer(panel, title, figure, days=tuple(each_day(days)), lines=(line,), compared=beside)

    def _lines(self, panel: Panel, figure: Figure, title: str, dimension: str) -> PanelAnswer:
        days, rows = self.choice.range, self.rows(figure, dimension)
        values = [row.value for row in rows[: panel.top]]
        cells = self.cube.by_value_and_day(dimension, values, self.choice, _with_week(days))
        lines = tuple(self._line(self.cube.name_of(dimension, v), figure, cells[v], days) for v in values)
        left = len(rows) - len(values)
        return PanelAnswer(panel, title, figure, dimension, tuple(each_day(days)), lines, left_out=left)

    def _line(self, name: str, figure: Figure, cells: Mapping[date, Sums], days: Range) -> Line:
        nothing = (0,) * len(self.cube.columns)
        every = [cells.get(day, nothing) for day in each_day(_with_week(days))]
        weeks = [tuple(map(sum, zip(*every[n : n + WEEK], strict=True))) for n in range(days.days)]
        per_day = 1 if figure.per else WEEK
        means = tuple(self._value(figure, week, per_day) for week in weeks)
        return Line(name, tuple(self._value(figure, sums) for sums in every[WEEK - 1 :]), means)

    def rows(self, figure: Figure, dimension: str) -> list[Row]:
        """Return the values of a dimension, the largest first."""
        now, was = self.now[dimension], self._before.get(dimension, {})
        nothing = (0,) * len(self.cube.columns)
        total = self._value(figure, self.total) if not figure.per else None
        rows = []
        for value in now | was:
            own = self._value(figure, now.get(value, nothing))
            earlier = self._value(figure, was[value]) if value in was else None
            share = half_up((own or 0) * _PERCENT, total) if total and total > 0 else None
            rows.append(Row(value, self.cube.name_of(dimension, value), Change(own, earlier), share))
        return sorted(rows, key=lambda row: (row.figure.now is None, -(row.figure.now or 0), row.name, row.value))

    def _value(self, figure: Figure, sums: Sequence[int], days: int = 1) -> int | None:
        """Return a figure of some sums, each divided by a number of days."""
        of = dict(zip(self.cube.columns, sums, strict=True))
        return _divided(figure, of[figure.sum], of[figure.per] if figure.per else 0, days)


def _divided(figure: Figure, total: int, per: int, days: int = 1) -> int | None:
    """Return a sum, or its ratio: hundredths of money, percent or decimals, else whole numbers.

    A mean of several days of a count has two digits more.
    """
    total = -total if figure.negative else total
    if not figure.per:
        return total if days == 1 else half_up(total * (1 if figure.unit == "money" else 100), days)
    if per <= 0:
        return None
    factor = _PERCENT if figure.unit == "percent" else 100 if figure.unit == "decimal" else 1
    return half_up(total * factor, per)


def _with_week(days: Range) -> Range:
    """Return a range with the six days before it, which its first mean needs."""
    return Range(days.first - timedelta(days=WEEK - 1), days.last)


def _fitted(values: Sequence[int | None], days: int) -> tuple[int | None, ...]:
    """Return values for so many days: a compared month may be shorter or longer."""
    return (*values[:days], *[None] * (days - len(values)))


def _months(days: Range) -> list[str]:
    """Return the months of a range, YYYY-MM."""
    months, day = [], days.first.replace(day=1)
    while day <= days.last:
        months.append(f"{day:%Y-%m}")
        day = month_after(day)
    return months


def _is_of_whole_months(days: Range, as_of: date) -> bool:
    """Return whether a range has whole months, the last one up to as_of."""
    after = days.last + timedelta(days=1)
    return days.first.day == 1 and (after.day == 1 or days.last == as_of)


def _plural(label: str) -> str:
    return f"{label[:-1]}ies" if label.endswith("y") else f"{label}s"
