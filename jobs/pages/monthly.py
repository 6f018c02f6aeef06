"""The report of a month as plain values: a function of one publication, the month and what the pack declares.

Nothing is calculated but sums of published rows, one division of two sums, and the rules of `insights`.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from jobs.pages.answer import Asked, Card, PanelAnswer
from jobs.pages.choice import Choice, Range
from jobs.pages.content import is_of_counts
from jobs.pages.insights import Insight, insights
from jobs.pages.month_source import Declared, MonthSource, Row
from jobs.pages.outside import Outside
from jobs.pages.words import change_text, direction, plain
from jobs.report.templates import counted, number
from marts.compute.versions import month_after
from marts.dashboard import Figure, Panel
from marts.errors import UsageError
from marts.monthly import Query, ReportPart

SCHEMA = "martwright.report/1"
_EVERY = 1_000_000
"""Rows of a table of the annex, at most."""
_HUNDREDTHS = ("money", "percent", "decimal")
_BROKEN = (
    *(("Of", "text"), ("Rule", "text"), ("Severity", "text")),
    *(("Broken by", "count"), ("Of rows", "count"), ("Drops", "count")),
)
_LEFT = (("Drop", "text"), ("State", "text"), ("Rows", "count"), ("Why", "text"))
"""Columns of the tables of the drops: heading and unit."""
Table = dict[str, Any]


def last_month(as_of: date) -> date:
    """Return the first day of the last month that is over on a day."""
    return month_after((as_of + timedelta(days=1)).replace(day=1), -1)


def days_of(month: date, source: MonthSource, is_so_far: bool) -> Range:
    """Return the days of a month. Raise UsageError if it is not over, unless ``is_so_far``, or has no figures."""
    bounds = source.publication.cube.bounds
    last = month_after(month) - timedelta(days=1)
    if month > bounds.last or last < bounds.first:
        hint = f"there are figures from {bounds.first} to {bounds.last}"
        raise UsageError(f"there is nothing to report of {month:%Y-%m}", "--month", hint)
    if last <= bounds.last and is_so_far:
        raise UsageError(f"{month:%Y-%m} is over", "--so-far", "leave it out: the report of the whole month is written")
    if last > bounds.last and not is_so_far:
        hint = f"wait for a build as of {last}, or report what there is with --so-far"
        raise UsageError(f"{month:%Y-%m} is not over: the marts are as of {bounds.last}", "--month", hint)
    return Range(max(month, bounds.first), min(last, bounds.last))


def compose(source: MonthSource, declared: Declared, month: date, is_so_far: bool = False) -> dict[str, Any]:
    """Return the report of a month, without its number: `revisions` gives it one."""
    days = days_of(month, source, is_so_far)
    return _Month(source, declared, days, is_so_far).report(month)


class _Month:
    """The figures of one month; each choice is asked for once."""

    def __init__(self, source: MonthSource, declared: Declared, days: Range, is_so_far: bool) -> None:
        self.source, self.declared, self.days = source, declared, days
        self.is_so_far, self.outside = is_so_far, source.outside.of(days)
        self.cube, self.board = source.publication.cube, declared.dashboard
        self.own = Asked(self.cube, Choice(days, compare="month"))
        self.year = Asked(self.cube, Choice(days, compare="year"))
        first = max(date(days.last.year, 1, 1), self.cube.bounds.first)
        self.to_date = Asked(self.cube, Choice(Range(first, days.last), compare="none"))

    def report(self, month: date) -> dict[str, Any]:
        publication, run = self.source.publication, self.source.publication.report
        report, month_tables = self.declared.report, self.source.tables[month]
        names = dict.fromkeys([*report.figures, *(name for part in report.parts for name in part.figures)])
        stand_out = insights(self.own, report.insights, self.source)
        parts = [self._summary(), *(self._part(part, month_tables) for part in report.parts), _data(self.outside)]
        return {
            "schema": SCHEMA,
            "pack": self.declared.pack.name,
            "title": report.title,
            "month": f"{month:%Y-%m}",
            "is_so_far": self.is_so_far,
            "publication": publication.name,
            "run_id": publication.run_id,
            "as_of": publication.as_of.isoformat(),
            "published_at": publication.published_at.isoformat(),
            "policy": run.policy if run else "",
            "version": run.version if run else "",
            "currency": publication.currency,
            "figures": [self._figure(name) for name in names],
            "insights": [_insight(item) for item in stand_out],
            "parts": parts,
            "annex": self._annex(month_tables),
            "missing": self.outside.text,
            "warnings": list(run.warnings) if run else ["the ledger has no report of this run"],
        }

    def _figure(self, name: str) -> dict[str, Any]:
        own, year, to_date = (asked.card(name) for asked in (self.own, self.year, self.to_date))
        figure, value = own.figure, own.value
        return {
            "id": name,
            "label": figure.label,
            "unit": figure.unit,
            "value": _plain(figure, value.now),
            "before": _plain(figure, value.before),
            "year_before": _plain(figure, year.value.before),
            "year_to_date": _plain(figure, to_date.value.now),
            "change": change_text(value),
            "year_change": change_text(year.value),
            "direction": direction(figure, value) if change_text(value) else "",
            "definition": figure.help,
            "why_not": _why_not(own),
        }

    def _summary(self) -> dict[str, Any]:
        days = self.days
        text = (
            f"{days.first} to {days.last}: the month is not over. Figures are compared with the same days of the month "
            "and the year before; tables of whole months, with whole months."
        )
        texts = (text,) if self.is_so_far else ()
        part = ReportPart(title="Summary", figures=self.declared.report.figures, texts=texts)
        return {**self._part(part, {}), "shows_insights": True}

    def _part(self, part: ReportPart, rows: Mapping[str, Sequence[Row] | None]) -> dict[str, Any]:
        answers = [self.own.panel(panel) for panel in part.panels]
        full = [item for item in answers if not item.why_not]
        charts = [self._chart(item) for item in full if item.panel.kind != "ranking"]
        tables = [self._ranking(item) for item in full if item.panel.kind in ("ranking", "bars")]
        texts = [*part.texts, *(f"{item.title}: {item.why_not}" for item in answers if item.why_not)]
        texts += [_not_published(query) for query in part.queries if rows[query.title] is None]
        return {
            "title": part.title,
            "texts": texts,
            "figures": list(part.figures),
            "shows_insights": False,
            "charts": charts,
            "tables": [*tables, *self._queried(part, rows)],
        }

    def _annex(self, rows: Mapping[str, Sequence[Row] | None]) -> list[Table]:
        annex = self.declared.report.annex
        if annex is None:
            return []
        panels = [panel.model_copy(update={"top": _EVERY, "bottom": 0}) for panel in annex.panels]
        return [*(self._ranking(self.own.panel(panel)) for panel in panels), *self._queried(annex, rows)]

    def _queried(self, part: ReportPart, rows: Mapping[str, Sequence[Row] | None]) -> list[Table]:
        return [_table(query, own) for query in part.queries if (own := rows[query.title]) is not None]

    def _chart(self, answer: PanelAnswer) -> dict[str, Any]:
        figure, is_mean = answer.figure, is_of_counts(answer)
        chart = {"title": answer.title, "unit": figure.unit, "is_as_of": self._is_as_of(answer)}
        if answer.panel.kind == "bars":
            return {
                **chart,
                "kind": "bars",
                "rows": [[row.name, _plain(figure, row.figure.now)] for row in answer.rows],
            }
        series: list[tuple[str, Sequence[int | None], bool]] = []
        if answer.is_by_month:
            series = [(line.name or figure.label, line.values, False) for line in answer.lines]
        elif answer.panel.kind == "trend":
            (line,) = answer.lines
            series = [(figure.label, line.values, False), ("Mean of 7 days", line.means, is_mean)]
            if answer.compared:
                series.append(("Mean of 7 days in the month before", answer.compared.means, is_mean))
        else:
            series = [(line.name, line.means, is_mean) for line in answer.lines]
        return {
            **chart,
            "kind": "days",
            "days": [day.isoformat() for day in answer.days],
            "series": [
                {"name": name, "values": [plain(figure, value, means) or None for value in values]}
                for name, values, means in series
            ],
        }

    def _ranking(self, answer: PanelAnswer) -> Table:
        label, figure = answer.label, answer.figure
        has_shares = any(row.share is not None for row in answer.rows)
        columns = [_column(label, "text"), _column(figure.label, figure.unit), _column("Change", "change")]
        columns += [_column("Share", "percent")] if has_shares else []
        rows = [
            [
                row.name,
                _plain(figure, row.figure.now),
                change_text(row.figure),
                *([_hundredths(row.share)] if has_shares else []),
            ]
            for row in answer.rows
        ]
        return {
            "title": answer.title,
            "columns": columns,
            "rows": rows,
            "left_out": answer.left_out,
            "note": " ".join(filter(None, (_listed(answer.panel, answer.left_out), self._note(answer)))),
            "is_as_of": self._is_as_of(answer),
        }

    def _note(self, answer: PanelAnswer) -> str:
        """Return what a reader must know of the dimension of a panel."""
        note = self.board.dimensions[answer.dimension].note if answer.dimension else ""
        return f"{note[:1].upper()}{note[1:]}." if note else ""

    def _is_as_of(self, answer: PanelAnswer) -> bool:
        """Return whether a panel is by something of as_of, not of the month: a dimension with a note."""
        return bool(answer.dimension and self.board.dimensions[answer.dimension].note)


def _column(label: str, unit: str) -> dict[str, str]:
    return {"label": label, "unit": unit}


def _plain(figure: Figure, value: int | None) -> str | None:
    return plain(figure, value) or None


def _hundredths(value: int | None) -> str | None:
    return None if value is None else str(Decimal(value).scaleb(-2))


def _why_not(card: Card) -> str:
    return card.why_not if card.value.now is None else ""


def _listed(panel: Panel, left_out: int) -> str:
    """Say which rows are listed, if not all are."""
    if not left_out:
        return ""
    return f"The largest {panel.top}{f' and the smallest {panel.bottom}' if panel.bottom else ''}."


def _not_published(query: Query) -> str:
    return f"{query.title}: {' and '.join(query.reads)} is not published."


def _table(query: Query, rows: Sequence[Row]) -> Table:
    """Return the table of a query: exact texts; a row with its own unit has it in its last column."""
    columns = [_column(label, "number" if unit == "unit" else unit) for label, unit in query.columns]
    units = [unit for _, unit in query.columns]
    return {
        "title": query.title,
        "columns": columns,
        "rows": [[_cell(value, unit, str(row[-1])) for value, unit in zip(row, units, strict=False)] for row in rows],
        "left_out": 0,
        "note": query.note,
        "is_as_of": query.is_as_of,
    }


def _cell(value: Any, unit: str, own: str) -> str | None:
    """Return the exact text of a cell; ``own`` is the unit of a row that has one."""
    if value is None:
        return None
    if unit == "unit":
        return _with_unit(int(value), own)
    return _hundredths(int(value)) if unit in _HUNDREDTHS else str(value)


def _with_unit(value: int, unit: str) -> str:
    """Write hundredths in a unit: money, count, percent, ratio, or one that is named behind them."""
    text = number(value // 100 if unit == "count" else Decimal(value).scaleb(-2))
    behind = "" if unit in ("money", "count", "ratio") else " %" if unit == "percent" else f" {unit}"
    return f"{text}{behind}"


def _insight(item: Insight) -> dict[str, Any]:
    return {"rule": item.rule, "text": item.text, "effect": _hundredths(item.effect), "figures": list(item.figures)}


def _data(outside: Outside) -> dict[str, Any]:
    """Return the part about the drops behind the figures."""
    texts, tables = [], []
    if own := outside.with_days:
        sums = (
            sum(getattr(drop, name) for drop in own) for name in ("rows_read", "clean", "quarantined", "duplicates")
        )
        read, clean, quarantined, duplicates = (f"{value:,}" for value in sums)
        of = f"of the {counted(len(own), 'drop')} with rows of these days"
        texts.append(
            f"Rows read = clean + quarantined + duplicates, {of}: {read} = {clean} + {quarantined} + {duplicates}."
        )
    if rules := outside.rules:
        rows = [[r.kind, r.rule, r.severity, str(r.rows), str(r.checked), str(r.drops)] for r in rules]
        tables.append(_plain_table("Rules that rows of these drops break", _BROKEN, rows))
    drops = [[drop.object_key, drop.state, str(drop.rows_read), drop.reason] for drop in outside.left_out]
    if drops:
        tables.append(_plain_table(f"Not in the figures: {counted(len(drops), 'drop')}", _LEFT, drops))
    return {
        "title": "Data",
        "texts": texts,
        "figures": [],
        "shows_insights": False,
        "charts": [],
        "tables": tables,
    }


def _plain_table(title: str, heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> Table:
    columns = [_column(*head) for head in heads]
    return {"title": title, "columns": columns, "rows": rows, "left_out": 0, "note": "", "is_as_of": True}
