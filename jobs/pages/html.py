"""Pages as HTML: complete without a script."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from jobs.adapters.charts import dashboard as charts
from jobs.adapters.charts.days import DayLine
from jobs.adapters.charts.drawing import NARROW, WIDE, Drawing
from jobs.pages.answer import Answer, Card, Line, PanelAnswer, Row, cards_of
from jobs.pages.choice import COMPARES, FROM, TO, Choice, Range
from jobs.pages.content import in_words, is_of_counts, plain_percent
from jobs.pages.live import State
from jobs.pages.outside import Outside
from jobs.pages.publication import Publication
from jobs.pages.words import change_text, direction, readable, scaled, written
from jobs.report.templates import counted, environment
from marts.dashboard import Dashboard, Figure
from marts.pack import Mart

_PACKAGES = ("jobs.pages", "jobs.report")
_ARROWS = {"up": "▲", "down": "▼", "same": ""}
_STATIC = {"css": ("style.css", "report.css", "pages.css"), "js": ("pages.js",)}
_RULES, _RULES_OF_A_FIGURE = 20, 3
"""Broken rules that are listed."""
_WIDTHS = (("wide", WIDE), ("narrow", NARROW))


@cache
def static() -> dict[str, tuple[str, bytes]]:
    """Return the style sheet and the script by their ending: the name, which changes with the content, and that."""
    loader = environment(*_PACKAGES).loader
    assert loader
    results = {}
    for end, names in _STATIC.items():
        content = "".join(loader.get_source(environment(*_PACKAGES), name)[0] for name in names).encode()
        results[end] = (f"{hashlib.sha256(content).hexdigest()[:16]}.{end}", content)
    return results


def rendered(template: str, here: str, pages: Sequence[tuple[str, str]], **values: Any) -> str:
    """Render a template of this package as a page."""
    own = {end: f"/static/{name}" for end, (name, _) in static().items()}
    page = environment(*_PACKAGES).get_template(template)
    return page.render(
        here=here, pages=pages, style=own["css"], script=own["js"], vega=f"/static/{charts.script_name()}", **values
    )


def dashboard_page(
    here: str,
    pages: Sequence[tuple[str, str]],
    state: State,
    publication: Publication,
    answer: Answer,
    changed_drops: str = "",
    is_scripted: bool = False,
) -> str:
    """Render the dashboard for a choice.

    ``changed_drops`` are those since the publication before, in words; ``is_scripted`` leaves the drawing of charts to
    the reader's browser.
    """
    outside = (state.outside or Outside(())).notable.of(answer.choice.range)
    page = _Page(here, publication, answer, outside, is_scripted)
    earlier = _earlier(state, publication, answer)
    return rendered(
        "dashboard.html.j2",
        here,
        pages,
        board=page.board,
        publication=publication,
        previous=state.previous,
        notes=_notes(publication),
        trouble=_trouble(state),
        remarks=answer.remarks,
        choice=page.choice,
        bounds=publication.cube.bounds,
        options=answer.options,
        compares=COMPARES,
        presets=page.presets(),
        query=page.query,
        chips=page.chips(),
        sentence=in_words(publication, page.choice),
        dimension_notes=[f"{item.label}: {item.note}" for item in page.board.dimensions.values() if item.note],
        cards=[page.card(card, earlier) for card in answer.cards],
        cells=publication.cube.count(page.choice),
        warnings=publication.report.warnings if publication.report else (),
        missing=outside.text,
        drops=outside.left_out,
        rules=outside.rules[:_RULES],
        older=page.newest() if publication is not state.publication else "",
        days=urlencode({FROM: page.choice.range.first, TO: page.choice.range.last}),
        panels=[page.panel(panel) for panel in answer.panels],
        changes=_changes(answer, earlier),
        changed_drops=changed_drops,
    )


def _notes(publication: Publication) -> list[tuple[str, str, str]]:
    """Return what a reader must know: the checks of the run that published, and its warnings with where they are."""
    report = publication.report
    if report is None:
        return [("warned", "the ledger has no report of this run", "")]
    notes = [("passed", "sums equal the clean lines", "")]
    if count := len(report.warnings):
        notes.append(("warned", counted(count, "warning"), "#warnings"))
    return notes


def _trouble(state: State) -> str:
    if not state.trouble:
        return ""
    since = f"{state.trouble.since:%H:%M} UTC"
    if state.trouble.is_build:
        return f"A build is running since {since}: the last publication is shown."
    return f"The target has not answered since {since}: the last publication is shown."


def _earlier(state: State, publication: Publication, answer: Answer) -> Mapping[str, int | None]:
    """Return the figures of the same choice in the publication before."""
    if state.previous is None or publication is not state.publication:
        return {}
    return {card.name: card.value.now for card in cards_of(state.previous.cube, answer.choice)}


def _changes(answer: Answer, earlier: Mapping[str, int | None]) -> list[dict[str, str]]:
    return [
        {
            "label": card.figure.label,
            "was": written(card.figure, earlier[card.name]) or "none",
            "now": written(card.figure, card.value.now) or "none",
        }
        for card in answer.cards
        if card.name in earlier and earlier[card.name] != card.value.now
    ]


class _Page:
    """The parts of a dashboard, as its template shows them."""

    def __init__(
        self, here: str, publication: Publication, answer: Answer, outside: Outside, is_scripted: bool
    ) -> None:
        self.here, self.cube, self.choice, self.is_scripted = here, publication.cube, answer.choice, is_scripted
        self._kinds, self._outside, self._currency = publication.kinds, outside, publication.currency
        self._of_kinds: dict[frozenset[str], Outside] = {}
        self.board: Dashboard = publication.cube.dashboard
        self.query = self._query(self.choice)

    def _query(self, choice: Choice) -> str:
        query = choice.query(self.cube.bounds)
        return f"?{query}" if query else ""

    def _address(self, choice: Choice) -> str:
        return f"{self.here}{self._query(choice)}"

    def _missing(self, figure: str) -> Outside:
        """Return what a figure does not have of the chosen days."""
        kinds = self._kinds.get(figure)
        if kinds is None:
            return self._outside
        if kinds not in self._of_kinds:
            self._of_kinds[kinds] = self._outside.of_kinds(kinds)
        return self._of_kinds[kinds]

    def newest(self) -> str:
        """Return the address of the same choice in the newest publication."""
        return self._address(replace(self.choice, pinned=""))

    def chips(self) -> list[dict[str, str]]:
        """Return the chosen values, each with the address of the page without it."""
        chips = []
        for name, values in self.choice.chosen.items():
            for value in values:
                rest = self.choice.with_values(name, (other for other in values if other != value))
                label, text = self.board.dimensions[name].label, self.cube.name_of(name, value)
                chips.append({"label": label, "name": text, "address": self._address(rest)})
        return chips

    def presets(self) -> list[tuple[str, str]]:
        """Return links to common ranges up to as_of."""
        last, first = self.cube.bounds.last, self.cube.bounds.first
        starts = {
            "Last 30 days": last - timedelta(days=29),
            "Month": last.replace(day=1),
            "Quarter": self.cube.bounds.default.first,
            "Year": date(last.year, 1, 1),
        }
        return [
            (text, self._address(replace(self.choice, range=Range(max(start, first), last))))
            for text, start in starts.items()
        ]

    def card(self, card: Card, earlier: Mapping[str, int | None]) -> dict[str, Any]:
        figure, value = card.figure, card.value
        way, missing = direction(figure, value), self._missing(card.name)
        of_months = [(month, written(figure, number)) for month, number in card.months if number is not None]
        words = f"{figure.label} of {len(of_months)} months"
        if of_months:
            words += f": {of_months[0][0]} {of_months[0][1]}, {of_months[-1][0]} {of_months[-1][1]}"
        return {
            "name": card.name,
            "label": figure.label,
            "help": figure.help,
            "value": written(figure, value.now),
            "before": written(figure, value.before),
            "change": change_text(value),
            "direction": way,
            "words": f"{_in_brackets(way)} on the {COMPARES[self.choice.compare]}",
            "arrow": _ARROWS[way.split()[0]],
            "why_not": card.why_not,
            "on": card.on,
            "unit": self._currency if figure.unit == "money" and value.now is not None else "",
            "is_of_months": figure.of is not None,
            "missing": missing.text,
            "left_out": counted(len(missing.left_out), "drop") if missing.left_out else "",
            "rules": [rule for rule in missing.rules if rule.severity][:_RULES_OF_A_FIGURE],
            "section": card.section,
            "points": charts.spark([scaled(figure, number) for _, number in card.months]),
            "months_words": words,
            "earlier": written(figure, earlier.get(card.name)) if earlier.get(card.name) != value.now else "",
        }

    def panel(self, answer: PanelAnswer) -> dict[str, Any]:
        figure, kind = answer.figure, answer.panel.kind
        has_shares = any(row.share is not None for row in answer.rows)
        return {
            "kind": kind,
            "title": answer.title,
            "figure": f"{figure.label}, {self._currency}"
            if self._currency and figure.unit == "money"
            else figure.label,
            "of": answer.label,
            "why_not": answer.why_not,
            "section": answer.section,
            "charts": self._charts(answer),
            "legend": self._legend(answer),
            "rows": [self._row(answer, row) for row in answer.rows],
            "has_shares": has_shares,
            "left_out": answer.left_out,
            "is_folded": kind == "bars",
            "headings": self._headings(answer),
            "day_rows": self._day_rows(answer),
        }

    def _row(self, answer: PanelAnswer, row: Row) -> dict[str, str]:
        way = direction(answer.figure, row.figure)
        return {
            "name": row.name,
            "address": self._address(self.choice.with_values(answer.dimension, (row.value,)))
            if answer.dimension
            else "",
            "value": written(answer.figure, row.figure.now) or "none",
            "change": change_text(row.figure),
            "direction": way,
            "arrow": _ARROWS[way.split()[0]],
            "share": readable(plain_percent(row.share), "percent"),
        }

    def _legend(self, answer: PanelAnswer) -> str:
        if answer.on:
            return f"On {answer.on}."
        if answer.is_by_month and answer.days:
            text = "At the end of each month." if answer.figure.of_last_month else "Each month."
            return f"{text} Not drawn: {answer.left_out:,}." if answer.left_out else text
        if answer.panel.kind == "trend":
            text = "Thin: each day. Thick: mean of the day and the six before it."
            if answer.compared and self.choice.compared:
                name, first = COMPARES[self.choice.compare], self.choice.compared.first
                text += f" Dashed: the mean of 7 days in the {name}, from {first}."
            text += " Circles: unusual days; only the last weeks are judged." if answer.unusual else ""
            text += " Triangles: events that the policy names." if answer.events else ""
            return text
        if answer.panel.kind == "lines" and answer.left_out:
            return f"Not drawn: {answer.left_out:,}."
        return ""

    def _charts(self, answer: PanelAnswer) -> Mapping[str, Any]:
        """Return the drawings of a panel by the class of their width, and the spec that a script draws."""
        figure, is_mean, kind = answer.figure, is_of_counts(answer), answer.panel.kind
        if kind == "bars" and answer.rows:
            rows = [(row.name, scaled(figure, row.figure.now) or 0.0) for row in answer.rows]
            unit = " %" if figure.unit == "percent" else ""
            return self._drawn_charts(lambda _: charts.bars(rows, answer.title, unit), (("", NARROW),))
        if answer.is_by_month and len(answer.days) > 1:
            drawn = [_drawn(figure, line, False, is_mean, line.name or figure.label) for line in answer.lines]
            return self._drawn_charts(lambda width: charts.lines(answer.days, drawn, width, answer.title))
        if kind == "trend" and not answer.is_by_month:
            (line,) = answer.lines
            days = _drawn(figure, line, False, is_mean, figure.label)
            mean = _drawn(figure, line, True, is_mean, "Mean of 7 days")
            other, name = answer.compared, f"mean of the {COMPARES[self.choice.compare]}"
            beside = _drawn(figure, other, True, is_mean, name) if other else None
            usual = None
            if answer.unusual:
                usual = DayLine("Usual", [scaled(figure, answer.unusual.get(day)) for day in answer.days])
            events = None
            if answer.events:
                events = DayLine("Event", [0.0 if day in answer.events else None for day in answer.days])
            return self._drawn_charts(
                lambda width: charts.trend(answer.days, days, mean, beside, width, answer.title, usual, events)
            )
        if kind == "lines" and answer.lines and not answer.is_by_month:
            drawn = [_drawn(figure, line, True, is_mean, line.name) for line in answer.lines]
            return self._drawn_charts(lambda width: charts.lines(answer.days, drawn, width, answer.title))
        return {}

    def _drawn_charts(
        self, draw: Callable[[int], Drawing], widths: Sequence[tuple[str, int]] = _WIDTHS
    ) -> Mapping[str, Any]:
        """Return a chart by the class of its width, and the spec of the first, which a script draws at any width."""
        drawings = [(name, draw(width)) for name, width in (widths[:1] if self.is_scripted else widths)]
        first = drawings[0][1]
        spec = json.dumps(first.spec, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        figures = [] if self.is_scripted else [(name, _markup(item.svg())) for name, item in drawings]
        return {
            "figures": figures,
            "spec": _markup(spec),
            "width": first.width,
            "height": first.height,
            "message": first.message,
        }

    def _headings(self, answer: PanelAnswer) -> list[str]:
        if answer.is_by_month:
            return ["Up to", *(line.name or answer.figure.label for line in answer.lines)]
        if answer.panel.kind == "trend":
            compared = ["Compared", "Mean of 7 days, compared"] if answer.compared else []
            return ["Day", answer.figure.label, "Mean of 7 days", *compared]
        return ["Day", *(line.name for line in answer.lines)]

    def _day_rows(self, answer: PanelAnswer) -> list[list[str]]:
        figure, is_mean = answer.figure, is_of_counts(answer)
        rows = []
        for number, day in enumerate(answer.days):
            if answer.is_by_month:
                cells = [written(figure, line.values[number]) for line in answer.lines]
            elif answer.panel.kind == "trend":
                (line,) = answer.lines
                cells = [written(figure, line.values[number]), written(figure, line.means[number], is_mean)]
                if beside := answer.compared:
                    cells.append(written(figure, beside.values[number]))
                    cells.append(written(figure, beside.means[number], is_mean))
            else:
                cells = [written(figure, line.means[number], is_mean) for line in answer.lines]
            usual = answer.unusual.get(day)
            note = "" if usual is None else f" (unusual: {written(figure, usual)} is usual)"
            note += " (event)" if day in answer.events else ""
            rows.append([f"{day}{note}", *cells])
        return rows


def _in_brackets(way: str) -> str:
    """Write a direction with what it means in brackets."""
    word, _, meaning = way.partition(" ")
    return f"{word} ({meaning})" if meaning else word


def _markup(text: str) -> Markup:
    """Return what this package has drawn as part of a page: its texts are escaped."""
    return Markup(text)  # noqa: S704


def _drawn(figure: Figure, line: Line, means: bool, is_mean: bool, name: str = "") -> DayLine:
    values = line.means if means else line.values
    return DayLine(name, [scaled(figure, value, means and is_mean) for value in values])


def rows_page(
    here: str,
    board_address: str,
    pages: Sequence[tuple[str, str]],
    publication: Publication,
    answer: tuple[Choice, Sequence[str]],
    rows_read: tuple[Sequence[Sequence[str]], int, int, int],
) -> str:
    """Render some of the cells behind a choice; ``rows_read`` are the rows, where they begin, how many fit, and all."""
    (choice, remarks), (rows, offset, size, count) = answer, rows_read
    query = choice.query(publication.cube.bounds)

    def address(start: int) -> str:
        own = urlencode([("start", start)]) if start else ""
        joined = "&".join(filter(None, (query, own)))
        return f"{here}?{joined}" if joined else here

    board = publication.cube.dashboard
    return rendered(
        "rows.html.j2",
        here,
        pages,
        board=board,
        board_address=f"{board_address}?{query}" if query else board_address,
        publication=publication,
        remarks=remarks,
        sentence=in_words(publication, choice),
        query=f"?{query}" if query else "",
        days=urlencode({FROM: choice.range.first, TO: choice.range.last}),
        headings=[board.date, *(item.label for item in board.dimensions.values()), *board.sums],
        words=1 + len(board.dimensions),
        rows=rows,
        first=offset + 1 if count else 0,
        last=offset + len(rows),
        count=count,
        earlier=address(max(offset - size, 0)) if offset else "",
        later=address(offset + size) if offset + size < count else "",
    )


def figures_page(here: str, pages: Sequence[tuple[str, str]], board: Dashboard, marts: Mapping[str, Mart]) -> str:
    """Render the definitions of all figures."""
    columns = {}
    for name, figure in board.figures.items():
        mart = marts[figure.of.table if figure.of else board.table]
        helps = {column.name: column.help for column in mart.columns}
        columns[name] = [(column, helps[column]) for column in dict.fromkeys((figure.sum, figure.per)) if column]
    tables = {name: mart.table for name, mart in marts.items()}
    return rendered("figures.html.j2", here, pages, board=board, tables=tables, columns=columns)
