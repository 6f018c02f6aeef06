"""What a page shows for a choice: cards, panels and filters, as exact whole numbers.

Figures are sums of cells, or one division of two sums, rounded half up. A figure that cannot be had for a choice says
why instead.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
Known = Mapping[str, tuple[int, int]]
"""The two sums of a figure of a table by month in each month."""


@dataclass(frozen=True)
class Change:
    """A value beside the one before."""

    now: int | None
    before: int | None = None
    ratios: tuple[int, int, int, int] | None = None
    """The two sums of each, if they are ratios: their change is that of the ratios before they are rounded."""

    @property
    def tenths(self) -> int | None:
        """Return the change in tenths of a percent; None if there is nothing to compare with."""
        if self.now is None or self.before is None:
            return None
        now, per_now, before, per_before = self.ratios or (self.now, 1, self.before, 1)
        if not before:
            return None
        return half_up((now * per_before - before * per_now) * 1000, abs(before) * per_now)


@dataclass(frozen=True)
class Card:
    """A figure for a choice."""

    name: str
    figure: Figure
    value: Change
    months: tuple[tuple[str, int | None], ...]
    """The last months up to the range, whatever its first day, from the first with a cell on."""
    why_not: str = ""
    """Why there is no value."""
    on: date | None = None
    """The day of a level at the end of a month."""
    section: str = ""


@dataclass(frozen=True)
class Row:
    """A value of a dimension, or of what splits a table by month, with its figure."""

    value: str
    name: str
    figure: Change
    share: int | None
    """Of the sum of all, in hundredths of a percent."""


@dataclass(frozen=True)
class Line:
    """A figure by day, or by month."""

    name: str
    values: tuple[int | None, ...]
    means: tuple[int | None, ...] = ()
    """Of the day and the six before it: 7 days together, never a mean of ratios. Sums of fewer days have none, nor have
    months."""


@dataclass(frozen=True)
class PanelAnswer:
    """What a panel shows: lines over days or months, or rows of a dimension."""

    panel: Panel
    title: str
    figure: Figure
    dimension: str = ""
    label: str = ""
    """What rows are values of."""
    days: tuple[date, ...] = ()
    """Of lines by month, their last ones."""
    lines: tuple[Line, ...] = ()
    compared: Line | None = None
    """The compared period, day by day beside the range."""
    unusual: Mapping[date, int] = field(default_factory=dict)
    """What is usual on days that are not."""
    events: tuple[date, ...] = ()
    rows: tuple[Row, ...] = ()
    left_out: int = 0
    """Rows that are not listed."""
    why_not: str = ""
    """Why there is nothing to show."""
    on: date | None = None
    """The day of rows of a level at the end of a month."""
    section: str = ""

    @property
    def is_by_month(self) -> bool:
        return self.figure.of is not None


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
    cards = tuple(replace(asked.card(name), section=section) for section, name in cube.dashboard.every_card)
    panels = tuple(replace(asked.panel(panel), section=section) for section, panel in cube.dashboard.every_panel)
    return Answer(settled, (*remarks, *more), cards, panels, cube.options(settled, asked.now))


def cards_of(cube: Cube, choice: Choice) -> list[Card]:
    """Return the cards of a choice, as it is."""
    asked = Asked(cube, choice)
    return [asked.card(name) for _, name in cube.dashboard.every_card]


class Asked:
    """The sums of one choice; each is asked for once."""

    def __init__(self, cube: Cube, choice: Choice) -> None:
        self.cube, self.choice, self.board = cube, choice, cube.dashboard
        compared = choice.compared
        self.compared = compared if compared and compared.first >= cube.bounds.first else None
        months = Range(month_after(choice.range.last, 1 - MONTHS), choice.range.last)
        self._months = Range(max(months.first, cube.bounds.first.replace(day=1)), months.last)
        needed = [days.with_days_before(WEEK - 1) for days in (choice.range, self._months, self.compared) if days]
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
        """Return those of the compared days."""
        return self.cube.by_values([*self.board.dimensions], self.choice, self.compared) if self.compared else {}

    @cached_property
    def _by_month(self) -> dict[str, Sums]:
        """Return the sums of each month of a card's small chart."""
        days: dict[str, list[date]] = {month: [] for month in self._months.months}
        for day in self._by_day:
            if self._months.first <= day:
                days[f"{day:%Y-%m}"].append(day)
        return {month: self._added(own) for month, own in days.items()}

    def card(self, name: str) -> Card:
        figure = self.board.figures[name]
        if figure.of:
            return self._card_elsewhere(name, figure)
        months = tuple((month, self._value(figure, sums)) for month, sums in self._by_month.items())
        value = self._change(figure, self.total, self.total_before)
        why = "" if value.now is not None else f"There is nothing to divide by: no {figure.per.replace('_', ' ')}."
        return Card(name, figure, value, months, why)

    def _card_elsewhere(self, name: str, figure: Figure) -> Card:
        """Return a card of a table by month, if it knows the choice."""
        if why := self._unknown(figure):
            return Card(name, figure, Change(None), (), why)
        known, days = self.cube.elsewhere(name, self.choice), self.choice.range
        ends = self._ends(self._months) if figure.of_last_month else self._months.months
        small = tuple((month, self._of_month(figure, known, month)) for month in ends)
        sums, why = self._of_months(figure, known, days)
        before = self._of_months(figure, known, self.compared)[0] if self.compared else None
        value = self._changed(figure, sums, before)
        if value.now is None:
            return Card(name, figure, Change(None), small, why or "There is nothing to divide by.")
        return Card(name, figure, value, small, on=self._on(figure))

    def _unknown(self, figure: Figure) -> str:
        """Return why a table by month does not know the choice; empty if it does."""
        assert figure.of
        unknown = self.cube.unknown_to(figure.of, self.choice)
        return f"It is not counted by {' and '.join(unknown).lower()}." if unknown else ""

    def _ends(self, days: Range) -> list[str]:
        """Return the months whose last day, or as_of, is in a range."""
        return [month for month in days.months if days.first <= self._end(month) <= days.last]

    def _end(self, month: str) -> date:
        """Return the last day of a month, up to as_of."""
        after = month_after(date.fromisoformat(f"{month}-01"))
        return min(after - timedelta(days=1), self.cube.bounds.last)

    def _on(self, figure: Figure) -> date | None:
        """Return the day of a level of the range, which has one."""
        return self._end(self._ends(self.choice.range)[-1]) if figure.of_last_month else None

    def _counted_months(self, figure: Figure, days: Range) -> list[str]:
        """Return the months of a range that count: of a level, the last one that ends in it."""
        return self._ends(days)[-1:] if figure.of_last_month else days.months

    def _of_month(self, figure: Figure, known: Known, month: str) -> int | None:
        """Return the value of a month; a level that no row says is not known."""
        if month not in known and figure.of_last_month:
            return None
        return _divided(figure, self.cube.scales(figure), *known.get(month, (0, 0)))

    def _of_months(self, figure: Figure, known: Known, days: Range) -> tuple[tuple[int, int] | None, str]:
        """Return the two sums of whole months, or of the end of the last one; else why there are none."""
        months = self._counted_months(figure, days)
        if figure.of_last_month and not months:
            return None, "It is known at the end of months: choose days with one."
        if figure.of_last_month and months[0] not in known:
            return None, f"There is none at the end of {months[0]}."
        if not figure.of_last_month and not days.is_of_whole_months(self.cube.bounds.last):
            return None, "It is known by whole months only: choose whole months."
        if figure.of_one_month and len(months) > 1:
            return None, "Months do not add up: whoever is in two of them would be counted twice. Choose one month."
        sums = [known.get(month, (0, 0)) for month in months]
        return (sum(a for a, _ in sums), sum(b for _, b in sums)), ""

    def panel(self, panel: Panel) -> PanelAnswer:
        figure = self.board.figures[panel.figure]
        dimension = self._dimension(panel)
        label = self.board.dimensions[dimension].label if dimension else ""
        if figure.of and figure.of.split and panel.kind != "trend":
            label = figure.of.split.label
        title = panel.title.replace("{figure}", figure.label).replace("{dimensions}", _plural(label))
        title = title.replace("{dimension}", label.lower())
        if figure.of:
            return self._panel_elsewhere(PanelAnswer(panel, title, figure, label=label))
        if panel.kind == "trend":
            return self._trend(panel, figure, title)
        if panel.kind == "lines":
            return self._lines(panel, figure, title, dimension)
        return _listed(PanelAnswer(panel, title, figure, dimension, label), self.rows(figure, dimension))

    def _panel_elsewhere(self, panel: PanelAnswer) -> PanelAnswer:
        """Return a panel of a table by month: lines by month, or the values that split it."""
        figure, name = panel.figure, panel.panel.figure
        if why := self._unknown(figure):
            return replace(panel, why_not=why)
        if panel.panel.kind == "trend":
            return self._lines_by_month(panel, {"": self.cube.elsewhere(name, self.choice)})
        split = self.cube.elsewhere_by_value(name, self.choice)
        rows, why = self._rows_elsewhere(figure, self.cube.elsewhere(name, self.choice), split)
        if why:
            return replace(panel, why_not=why)
        if panel.panel.kind != "lines":
            return replace(_listed(panel, rows), on=self._on(figure))
        drawn = {row.value: split[row.value] for row in rows[: panel.panel.top]}
        return replace(self._lines_by_month(panel, drawn), left_out=len(rows) - len(drawn))

    def _lines_by_month(self, panel: PanelAnswer, known: Mapping[str, Known]) -> PanelAnswer:
        """Return lines of the last months that are over at the end of the range."""
        months = self._ends(self._months)
        lines = [
            Line(name, tuple(self._of_month(panel.figure, own, month) for month in months))
            for name, own in known.items()
        ]
        return replace(panel, days=tuple(map(self._end, months)), lines=tuple(lines))

    def _rows_elsewhere(self, figure: Figure, known: Known, split: Mapping[str, Known]) -> tuple[list[Row], str]:
        """Return the values that split a table by month, the largest first, or why there are none."""
        total, why = self._of_months(figure, known, self.choice.range)
        if why:
            return [], why
        sums: list[dict[str, tuple[int, int]]] = []
        for days in (self.choice.range, self.compared):
            months = self._counted_months(figure, days) if days else []
            present = {value: own for value, own in split.items() if any(month in own for month in months)}
            counted = {value: self._of_months(figure, own, days)[0] for value, own in present.items() if days}
            sums.append({value: own for value, own in counted.items() if own})
        now, was = sums
        changes = {value: self._changed(figure, now.get(value), was.get(value)) for value in now | was}
        of_all = self._changed(figure, total, None).now
        return _ranked({value: value for value in changes}, changes, None if figure.per else of_all), ""

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
        about = self.board.unusual
        is_of_all = about is not None and about.figure == panel.figure and not self.choice.chosen
        unusual = [item for item in self.cube.unusual if is_of_all and days.first <= item.day <= days.last]
        return PanelAnswer(
            panel,
            title,
            figure,
            days=tuple(each_day(days)),
            lines=(line,),
            compared=beside,
            unusual={item.day: item.expected for item in unusual},
            events=tuple(day for day in self.cube.events if days.first <= day <= days.last),
        )

    def _lines(self, panel: Panel, figure: Figure, title: str, dimension: str) -> PanelAnswer:
        days, rows = self.choice.range, self.rows(figure, dimension)
        values = [row.value for row in rows[: panel.top]]
        cells = self.cube.by_value_and_day(dimension, values, self.choice, days.with_days_before(WEEK - 1))
        lines = tuple(self._line(self.cube.name_of(dimension, v), figure, cells[v], days) for v in values)
        left = len(rows) - len(values)
        return PanelAnswer(panel, title, figure, dimension, days=tuple(each_day(days)), lines=lines, left_out=left)

    def _line(self, name: str, figure: Figure, cells: Mapping[date, Sums], days: Range) -> Line:
        nothing = (0,) * len(self.cube.columns)
        every = [cells.get(day, nothing) for day in each_day(days.with_days_before(WEEK - 1))]
        weeks = [tuple(map(sum, zip(*every[n : n + WEEK], strict=True))) for n in range(days.days)]
        per_day = 1 if figure.per else WEEK
        first = self.cube.bounds.first if figure.per else self.cube.bounds.first + timedelta(days=WEEK - 1)
        value = self._valued(figure)
        means = tuple(
            value(week, per_day) if day >= first else None for day, week in zip(each_day(days), weeks, strict=True)
        )
        return Line(name, tuple(value(sums, 1) for sums in every[WEEK - 1 :]), means)

    def rows(self, figure: Figure, dimension: str) -> list[Row]:
        """Return the values of a dimension, the largest first."""
        now, was = self.now[dimension], self._before.get(dimension, {})
        nothing = (0,) * len(self.cube.columns)
        return _ranked(
            {value: self.cube.name_of(dimension, value) for value in now | was},
            {value: self._change(figure, now.get(value, nothing), was.get(value)) for value in now | was},
            self._value(figure, self.total) if not figure.per else None,
        )

    def _value(self, figure: Figure, sums: Sequence[int]) -> int | None:
        """Return a figure of some sums."""
        return self._valued(figure)(sums, 1)

    def _valued(self, figure: Figure) -> Callable[[Sequence[int], int], int | None]:
        """Return what calculates a figure of some sums, each divided by a number of days."""
        scales, two = self.cube.scales(figure), self._two(figure)
        return lambda sums, days: _divided(figure, scales, *two(sums), days)

    def _two(self, figure: Figure) -> Callable[[Sequence[int]], tuple[int, int]]:
        """Return what chooses the two sums of a figure; 0 for the second if it has none."""
        first, second = (self.cube.columns.index(name) if name else -1 for name in (figure.sum, figure.per))
        return lambda sums: (sums[first], sums[second] if second >= 0 else 0)

    def _change(self, figure: Figure, now: Sequence[int], before: Sequence[int] | None) -> Change:
        """Return a figure of some sums beside that of others."""
        two = self._two(figure)
        return self._changed(figure, two(now), two(before) if before else None)

    def _changed(self, figure: Figure, now: tuple[int, int] | None, before: tuple[int, int] | None) -> Change:
        """Return a figure of its two sums beside that of two others."""
        scales = self.cube.scales(figure)
        value, earlier = (_divided(figure, scales, *sums) if sums else None for sums in (now, before))
        if not figure.per or value is None or earlier is None or now is None or before is None:
            return Change(value, earlier)
        sign = -1 if figure.negative else 1
        return Change(value, earlier, (sign * now[0], now[1], sign * before[0], before[1]))


def _ranked(names: Mapping[str, str], changes: Mapping[str, Change], total: int | None) -> list[Row]:
    """Return named values, the largest first, each with its share of a total."""
    rows = []
    for value, name in names.items():
        own = changes[value]
        share = half_up((own.now or 0) * _PERCENT, total) if total and total > 0 else None
        rows.append(Row(value, name, own, share))
    return sorted(rows, key=lambda row: (row.figure.now is None, -(row.figure.now or 0), row.name, row.value))


def _listed(panel: PanelAnswer, rows: Sequence[Row]) -> PanelAnswer:
    """Return a panel with the first and the last of its rows."""
    top, bottom = panel.panel.top, panel.panel.bottom
    kept = [*rows[:top], *(rows[max(len(rows) - bottom, top) :] if bottom else [])]
    return replace(panel, rows=tuple(kept), left_out=len(rows) - len(kept))


def _divided(figure: Figure, scales: tuple[int, int], total: int, per: int, days: int = 1) -> int | None:
    """Return a sum, or its ratio: hundredths of money, percent or decimals, else whole numbers.

    ``scales`` are how many of each sum are one. A mean of several days of a count has two digits more.
    """
    total, (of_total, of_per) = -total if figure.negative else total, scales
    is_whole = figure.unit == "count" and (days == 1 or bool(figure.per))
    factor = (1 if is_whole else 100) * (100 if figure.unit == "percent" else 1)
    if not figure.per:
        return half_up(total * factor, of_total * days)
    return half_up(total * of_per * factor, per * of_total) if per > 0 else None


def _fitted(values: Sequence[int | None], days: int) -> tuple[int | None, ...]:
    """Return values for so many days: a compared month may be shorter or longer."""
    return (*values[:days], *[None] * (days - len(values)))


def _plural(label: str) -> str:
    return f"{label[:-1]}ies" if label.endswith("y") else f"{label}s"
