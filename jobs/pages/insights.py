"""What stands out in a month: sentences by stated rules, the largest effect in money first.

The same figures give the same sentences. Rules: who made the change, a record, an unusual day, a large share, a rate
beyond its last 12 months, and drops that do not count.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from jobs.pages.answer import Asked, Row
from jobs.pages.choice import Choice, Range
from jobs.pages.month_source import MonthSource
from jobs.pages.words import change_text, written
from marts.analytics.ranks import half_up
from marts.compute.versions import month_after
from marts.dashboard import Figure
from marts.monthly import Insights

MOST = 7
_SHARE_OF_CHANGE, _LARGE = 2_000, 1_000
"""Hundredths of a percent: of a change that one value made, and of a figure that one value has."""
_LEAST_CHANGE = 10
"""Tenths of a percent: a smaller change is not explained."""
_RECORD, _RANGE, _LEAST_MONTHS = 24, 12, 6
"""Months that a record is of, months of the range of a rate, and months that either needs."""


@dataclass(frozen=True)
class Insight:
    """A sentence about a month."""

    rule: str
    text: str
    effect: int | None
    """Hundredths of money; None for a warning, which is listed last."""
    figures: tuple[str, ...]


def insights(asked: Asked, about: Insights, source: MonthSource) -> list[Insight]:
    """Return what stands out in the days that are asked for, at most `MOST` sentences."""
    month = _Month(asked, about)
    sentences = [*month.made_the_change(), *month.records(), *month.unusual(), *month.large(), *month.rates()]
    sentences.sort(key=lambda item: (-(item.effect or 0), item.rule, item.text))
    warnings = [*_warnings(source, month.days)]
    return [*sentences[: MOST - len(warnings)], *warnings]


class _Month:
    """One month with the figure that is explained."""

    def __init__(self, asked: Asked, about: Insights) -> None:
        self.asked, self.about = asked, about
        self.cube, self.board, self.days = asked.cube, asked.board, asked.choice.range
        self.figure = self.board.figures[about.figure]
        self.value = self.asked.card(about.figure).value
        is_over = (self.days.last + timedelta(days=1)).day == 1
        self._before = "the month before" if is_over else "the same days of the month before"

    def _written(self, value: int, figure: Figure | None = None) -> str:
        return written(figure or self.figure, value)

    def _signed(self, value: int) -> str:
        return f"{'+' if value > 0 else ''}{self._written(value)}"

    def made_the_change(self) -> Iterator[Insight]:
        """Yield, for each dimension, the value that made most of the change.

        It made more than a fifth of it, and half as much again as its share of the month before.
        """
        now, before = self.value.now, self.value.before
        if now is None or before is None or abs(self.value.tenths or 0) < _LEAST_CHANGE:
            return
        change, known = now - before, set[int]()
        for dimension in self.about.by:
            rows = self.asked.rows(self.figure, dimension)
            parts = [((row.figure.now or 0) - (row.figure.before or 0), row) for row in rows]
            own = [(abs(part), row.name, part) for part, row in parts if part * change > 0]
            if len(parts) < 2 or not own:
                continue
            size, name, part = max(own, key=lambda item: (item[0], item[1]))
            usual = next(row.figure.before or 0 for _, row in parts if row.name == name)
            is_large = size * 10_000 > _SHARE_OF_CHANGE * abs(change)
            if is_large and size * before * 2 > usual * abs(change) * 3 and size not in known:
                known.add(size)  # a city with one store says what the store says
                label = self.board.dimensions[dimension].label
                text = (
                    f"{label} {name}: {self._signed(part)}, where {self.figure.label.lower()} changed by "
                    f"{self._signed(change)} ({change_text(self.value)}) on {self._before}."
                )
                yield Insight("change", text, size, (self.about.figure,))

    def records(self) -> Iterator[Insight]:
        """Yield a month that is the highest or the lowest of the last 24."""
        months = self._months(self.about.figure, _RECORD)
        now = self.value.now
        if now is None or len(months) < _LEAST_MONTHS or now in months:
            return
        word = "highest" if now > max(months) else "lowest" if now < min(months) else ""
        if word:
            beyond = min(abs(now - other) for other in months)
            text = f"{self.figure.label} is the {word} of {len(months) + 1} months: {self._written(now)}."
            yield Insight("record", text, beyond, (self.about.figure,))

    def unusual(self) -> Iterator[Insight]:
        """Yield unusual days of the month."""
        for item in self.cube.unusual:
            if self.days.first <= item.day <= self.days.last:
                usual = f"where {self._written(item.expected)} is usual"
                text = f"{item.day} was unusual: {self._written(item.value)}, {usual}."
                yield Insight("unusual day", text, abs(item.value - item.expected), (self.about.figure,))

    def large(self) -> Iterator[Insight]:
        """Yield values with more than a tenth of the figure, and more than twice an equal share."""
        for dimension in self.about.large:
            rows = self.asked.rows(self.figure, dimension)
            for row in rows:
                if row.share is not None and row.share > max(_LARGE, 20_000 // len(rows)):
                    yield self._large(dimension, row)

    def _large(self, dimension: str, row: Row) -> Insight:
        share, value = row.share or 0, row.figure.now or 0
        label = self.board.dimensions[dimension].label
        text = f"{label} {row.name} has {share // 100}.{share % 100:02} % of {self.figure.label.lower()}."
        return Insight("large share", f"{text[:-1]}: {self._written(value)}.", value, (self.about.figure,))

    def rates(self) -> Iterator[Insight]:
        """Yield rates beyond those of the last 12 months; the effect is the money beyond."""
        for name in self.about.rates:
            figure, value = self.board.figures[name], self.asked.card(name).value.now
            months = self._months(name, _RANGE)
            if value is None or len(months) < _LEAST_MONTHS or min(months) <= value <= max(months):
                continue
            bound, word = (max(months), "above") if value > max(months) else (min(months), "below")
            base = dict(zip(self.cube.columns, self.asked.total, strict=True))[figure.per]
            text = (
                f"{figure.label} is {self._written(value, figure)}, {word} the {len(months)} months before "
                f"({self._written(min(months), figure)} to {self._written(max(months), figure)})."
            )
            yield Insight("rate", text, half_up(abs(value - bound) * abs(base), 10_000), (name,))

    def _months(self, name: str, count: int) -> list[int]:
        """Return the values of whole months before this one, at most ``count`` with this one."""
        values = []
        for back in range(1, count):
            first = month_after(self.days.first.replace(day=1), -back)
            if first < self.cube.bounds.first:
                break
            last = month_after(first) - timedelta(days=1)
            value = Asked(self.cube, Choice(Range(first, last), compare="none")).card(name).value.now
            values += [] if value is None else [value]
        return values


def _warnings(source: MonthSource, days: Range) -> Iterator[Insight]:
    if text := source.outside.of(days).text:
        yield Insight("data", f"Not in the figures: {text}.", None, ())
