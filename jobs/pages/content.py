"""The content of a page as plain values: what the template shows, and what JSON and CSV have."""

from collections.abc import Sequence
from typing import Any

from jobs.pages.answer import Answer, Card, Line, PanelAnswer
from jobs.pages.choice import COMPARES, Choice
from jobs.pages.publication import Publication
from jobs.pages.words import change_text, plain
from jobs.runtime.escaping import csv_for_spreadsheet
from marts.dashboard import Dashboard
from marts.values import amount_of

SCHEMA = "martwright.dashboard/1"


def in_words(publication: Publication, choice: Choice) -> str:
    """Return a choice as a sentence: its days, its values, what it is compared with."""
    board, cube = publication.cube.dashboard, publication.cube
    parts = [f"{choice.range.first} to {choice.range.last}"]
    for name, values in choice.chosen.items():
        label = board.dimensions[name].label.lower()
        parts.append(f"{label} {' or '.join(cube.name_of(name, value) for value in values)}")
    compared = choice.compared
    if compared:
        parts.append(f"compared with {compared.first} to {compared.last}, the {COMPARES[choice.compare]}")
    return ", ".join(parts)


def as_json(publication: Publication, answer: Answer) -> dict[str, Any]:
    """Return all figures of a page; numbers are texts, exact to the last digit, or null."""
    choice = answer.choice
    compared = choice.compared
    return {
        "schema": SCHEMA,
        "publication": publication.name,
        "run_id": publication.run_id,
        "as_of": publication.as_of.isoformat(),
        "published_at": publication.published_at.isoformat(),
        "currency": publication.currency,
        "query": choice.query(publication.cube.bounds),
        "from": choice.range.first.isoformat(),
        "to": choice.range.last.isoformat(),
        "compare": choice.compare,
        "compared_from": compared.first.isoformat() if compared else None,
        "compared_to": compared.last.isoformat() if compared else None,
        "chosen": {name: list(values) for name, values in choice.chosen.items()},
        "remarks": list(answer.remarks),
        "cards": [_card(card) for card in answer.cards],
        "panels": [_panel(panel) for panel in answer.panels],
        "options": {
            name: [{"value": o.value, "name": o.name, "count": o.count, "chosen": o.is_chosen} for o in options]
            for name, options in answer.options.items()
        },
    }


def _card(card: Card) -> dict[str, Any]:
    figure = card.figure
    return {
        "figure": card.name,
        "label": figure.label,
        "unit": figure.unit,
        "value": plain(figure, card.value.now) or None,
        "before": plain(figure, card.value.before) or None,
        "change": change_text(card.value) or None,
        "why_not": card.why_not or None,
        "on": card.on.isoformat() if card.on else None,
        "section": card.section or None,
        "months": [{"month": month, "value": plain(figure, value) or None} for month, value in card.months],
    }


def _panel(answer: PanelAnswer) -> dict[str, Any]:
    figure = answer.figure
    return {
        "kind": answer.panel.kind,
        "title": answer.title,
        "figure": answer.panel.figure,
        "section": answer.section or None,
        "why_not": answer.why_not or None,
        "on": answer.on.isoformat() if answer.on else None,
        "dimension": answer.dimension or None,
        "days": [day.isoformat() for day in answer.days],
        "lines": [_line(answer, line) for line in answer.lines],
        "compared": _line(answer, answer.compared) if answer.compared else None,
        "unusual": {day.isoformat(): plain(figure, usual) for day, usual in answer.unusual.items()},
        "events": [day.isoformat() for day in answer.events],
        "rows": [
            {
                "value": row.value,
                "name": row.name,
                "figure": plain(figure, row.figure.now) or None,
                "before": plain(figure, row.figure.before) or None,
                "change": change_text(row.figure) or None,
                "share": plain_percent(row.share),
            }
            for row in answer.rows
        ],
        "left_out": answer.left_out,
    }


def _line(answer: PanelAnswer, line: Line) -> dict[str, Any]:
    figure = answer.figure
    return {
        "name": line.name,
        "values": [plain(figure, value) or None for value in line.values],
        "means": [plain(figure, value, is_mean=is_of_counts(answer)) or None for value in line.means],
    }


def is_of_counts(answer: PanelAnswer) -> bool:
    """Return whether the means of a panel have more digits than its values: those of counts."""
    return answer.figure.unit == "count" and not answer.figure.per


def plain_percent(hundredths: int | None) -> str | None:
    """Write hundredths of a percent with digits only."""
    return None if hundredths is None else str(amount_of(hundredths))


def as_csv(publication: Publication, answer: Answer) -> str:
    """Return all figures of a page as rows: the panel, what the row is of, the figure, its value and the one before."""
    rows: list[Sequence[str | None]] = [("part", "of", "figure", "value", "before", "change")]
    for card in answer.cards:
        figure, change = card.figure, card.value
        value = plain(figure, change.now) or card.why_not
        rows.append(("total", "", figure.label, value, plain(figure, change.before), change_text(change)))
    for panel in answer.panels:
        rows += _csv_rows(panel)
    about = {"as of": str(publication.as_of), "run": publication.run_id, "currency": publication.currency}
    rows += [(name, "", "", value, "", "") for name, value in about.items() if value]
    rows.append(("choice", "", "", in_words(publication, answer.choice), "", ""))
    return csv_for_spreadsheet(rows)


def _csv_rows(answer: PanelAnswer) -> list[Sequence[str | None]]:
    figure, is_of_means = answer.figure, is_of_counts(answer)
    rows: list[Sequence[str | None]] = [
        (
            answer.title,
            row.name,
            figure.label,
            plain(figure, row.figure.now),
            plain(figure, row.figure.before),
            change_text(row.figure),
        )
        for row in answer.rows
    ]
    for line in answer.lines:
        for number, day in enumerate(answer.days):
            of = f"{day} {line.name}".strip()
            before = answer.compared.values[number] if answer.compared else None
            rows.append((answer.title, of, figure.label, plain(figure, line.values[number]), plain(figure, before), ""))
            if line.means:
                mean = plain(figure, line.means[number], is_of_means)
                earlier = plain(figure, answer.compared.means[number], is_of_means) if answer.compared else ""
                rows.append((answer.title, of, f"{figure.label}, mean of 7 days", mean, earlier, ""))
    return rows


def cells_header(dashboard: Dashboard) -> list[str]:
    """Return the columns of the cells behind a page."""
    return [dashboard.date, *dashboard.dimensions, *dashboard.sums]
