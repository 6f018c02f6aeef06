"""The PDF of a monthly report: set from nothing but its report.json, which is attached to it.

`report.typ` lays out; here numbers are written as pages write them, charts are drawn, and text is made printable. Text
of data reaches Typst as JSON values only, never as markup.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jobs.adapters.charts import paper
from jobs.adapters.charts.days import DayLine
from jobs.adapters.charts.drawing import short
from jobs.adapters.charts.paper import STROKES, PaperBar
from jobs.adapters.pdf import FONT, GlyphsMissing, named, typeset
from jobs.pages.words import UNITS, readable
from jobs.report.templates import MINUS, counted, when
from jobs.runtime.escaping import visible
from marts.errors import DataError

SCHEMA = "martwright.report/1"
Json = Mapping[str, Any]
_RIGHT = (*UNITS, "change", "number")
"""Units of columns that are aligned to the right."""
_MONTHS = "January February March April May June July August September October November December".split()
_MOST_BARS = 40
"""Bars of a chart; more do not fit on a page."""
_WIDTHS, _GUTTER = (482, 728), 12
"""Points of a line on a page and on one that lies on its side, and between two columns."""
_SIZES = (4.5, 6.5, 9.0)
"""Points of the letters of a table: the least, the least before its pages lie on their side, and the most."""
_LETTER = 0.5
"""Width of a letter in parts of its size, about."""
_WRAPPED, _LONG = 24, 60
"""Letters after which text wraps if a table is wide, and beyond which it gets no more of a line."""
_APART = 4
"""Letters that separate two columns of text."""
_FOOT = 40
"""Letters of a pack's title that stand below each page."""
_WHOLE = 20
"""Lines of a table that stays on a page."""
_WIDE = 4
"""Columns from which a table is as wide as the page."""
_log = logging.getLogger("marts.monthly")


def render(report: bytes, fonts: Path | None = None) -> bytes:
    """Return the PDF of a report.json, which is attached as it is: PDF/A-3a and PDF/UA-1, the same bytes each time.

    If neither Source Sans Pro nor a font of the folder ``fonts`` has glyphs for some characters, these are boxes, a "!"
    is beside each text that has one, a warning is logged, and the PDF follows neither standard.

    Raises DataError if it is no report.json of this version, UsageError if ``fonts`` is no folder.
    """
    content = json.loads(report)
    if content.get("schema") != SCHEMA:
        hint = f"only {SCHEMA} is understood: make the report again"
        raise DataError(f"the schema is {content.get('schema')!r}", "report.json", hint)
    try:
        return _typeset(report, content, "", fonts)
    except GlyphsMissing as error:
        _log.warning(
            "%s of %s: no font has %s: boxes in the PDF, with a ! beside; set report_fonts to a folder of such fonts",
            content["pack"],
            content["month"],
            named(error.characters),
        )
        return _typeset(report, content, error.characters, fonts)


def _typeset(report: bytes, content: Json, missing: str, fonts: Path | None) -> bytes:
    template = (files("jobs.pages") / "templates" / "report.typ").read_bytes()
    inputs = {"report": report.decode(), "view": json.dumps(_View(content, missing).document())}
    return typeset(template, inputs, date.fromisoformat(content["as_of"]), fonts, is_strict=not missing)


class _View:
    """What the template shows, all of it as text."""

    def __init__(self, content: Json, missing: str) -> None:
        self.content, self.missing = content, missing

    def document(self) -> Json:
        """Return all parts of the document."""
        content, day = self.content, date.fromisoformat(self.content["as_of"])
        month = _month(content["month"])
        return {
            "font": FONT,
            "pack": self.text(content["title"]),
            "pack_of_foot": self.text(short(content["title"], _FOOT)),
            "month": month,
            "is_so_far": content["is_so_far"],
            "revision": "So far" if content["is_so_far"] else f"Revision {content['revision']}",
            "version": self.text(content["version"]),
            "day": [day.year, day.month, day.day],
            "facts": self.facts(),
            "changes": self.changes(),
            "parts": [self.part(part) for part in content["parts"]],
            "outside": self.outside(),
            "warnings": [self.text(text) for text in self.content["warnings"]],
            "definitions": [
                {"label": self.text(figure["label"]), "text": self.text(figure["definition"])}
                for figure in content["figures"]
            ],
            "annex": [self.table(table) for table in content["annex"]],
        }

    def text(self, value: str) -> str:
        """Return text as it is printed: codes for unprintable characters, "!" after text without all its glyphs."""
        seen = visible(value)
        return f"{seen} !" if any(letter in seen for letter in self.missing) else seen

    def written(self, unit: str, value: str | None) -> str:
        """Return a value as pages write it; nothing if there is none."""
        if value is None or unit in UNITS:
            return readable(value, unit)
        is_below = unit == "change" and value.startswith("-")
        return self.text(f"{MINUS}{value[1:]}" if is_below else value)

    def facts(self) -> list[Json]:
        """Return what the report was made from."""
        content = self.content
        before = f", in place of {content['supersedes']}" if content["supersedes"] else ""
        facts = {
            "As of": content["as_of"],
            "Published": when(datetime.fromisoformat(content["published_at"])),
            "Revision": "" if content["is_so_far"] else f"{content['revision']}{before}",
            "Currency": content["currency"],
            "Publication": content["publication"],
            "Run": content["run_id"],
            "Policy": content["policy"],
            "Version": content["version"],
        }
        return [{"label": label, "text": self.text(value)} for label, value in facts.items() if value]

    def changes(self) -> Json | None:
        """Return the figures that changed since the revision before; none if there was none."""
        content = self.content
        if not content["supersedes"]:
            return None
        labels = {"label": "Figure", "was": "Was", "is": "Is"}
        columns = [
            {"label": label, "unit": "change" if name in ("was", "is") else "text"} for name, label in labels.items()
        ]
        rows = [[change[name] for name in labels] for change in content["changes"]]
        title = f"Revision {content['revision']}: changed since revision {content['supersedes']}"
        changed = self.table(
            {"title": title, "columns": columns, "rows": rows, "left_out": 0, "note": content["changed_by"]}
        )
        return {**changed, "is_flipped": False}  # it stands on the first page, beside a bar

    def outside(self) -> list[str]:
        """Return what is not in the report, and letters that the PDF does not have."""
        texts = [self.text(self.content["missing"])] if self.content["missing"] else []
        if self.missing:
            what = f"No font of this report has {named(self.missing)}: these are boxes, with ! after the text"
            texts.append(f"{what}. The attached report.json has it as it is.")
        return texts

    def part(self, part: Json) -> Json:
        """Return a part: a heading and what is below it."""
        figures = {figure["id"]: figure for figure in self.content["figures"]}
        insights = self.content["insights"] if part["shows_insights"] else None
        return {
            "title": self.text(part["title"]),
            "texts": [self.text(text) for text in part["texts"]],
            "figures": [self.figure(figures[name]) for name in part["figures"]],
            "insights": None if insights is None else [self.text(insight["text"]) for insight in insights],
            "charts": self.charts(part["charts"]),
            "tables": [self.table(table) for table in part["tables"]],
        }

    def figure(self, figure: Json) -> Json:
        """Return a figure with what it is compared with."""
        unit = figure["unit"]
        return {
            "label": self.text(figure["label"]),
            "why_not": self.text(figure["why_not"]),
            "direction": self.text(figure["direction"]),
            **{name: self.written("change", figure[name]) for name in ("change", "year_change")},
            **{name: self.written(unit, figure[name]) for name in ("value", "before", "year_before", "year_to_date")},
        }

    def table(self, table: Json) -> Json:
        """Return a table with the size of its letters."""
        units = [column["unit"] for column in table["columns"]]
        labels = [self.text(column["label"]) for column in table["columns"]]
        rows = [[self.written(unit, value) for unit, value in zip(units, row, strict=True)] for row in table["rows"]]
        left_out = f"{counted(table['left_out'], 'row')} not shown" if table["left_out"] else ""
        return {
            "title": self.text(table["title"]),
            "note": " · ".join(note for note in (self.text(table["note"]), left_out) if note),
            "cells": [cell for row in rows for cell in row],
            **_laid_out([unit in _RIGHT for unit in units], labels, rows),
        }

    def charts(self, charts: Sequence[Json]) -> list[list[Json]]:
        """Return charts by line: one of days, or up to two of bars."""
        lines: list[list[Json]] = []
        for chart in charts:
            if chart["kind"] == "bars":
                drawn = self.bars(chart)
                if lines and len(lines[-1]) == 1 and lines[-1][0]["kind"] == "bars":
                    lines[-1].append(drawn)
                    continue
            else:
                drawn = self.days(chart)
            lines.append([drawn])
        return lines

    def days(self, chart: Json) -> Json:
        """Return a chart of lines over days."""
        title, days = self.text(chart["title"]), [date.fromisoformat(day) for day in chart["days"]]
        drawn = [
            DayLine(self.text(line["name"]), [_float(value) for value in line["values"]]) for line in chart["series"]
        ]
        known = [value for line in chart["series"] for value in line["values"] if value is not None]
        names = ", ".join(line.name for line in drawn)
        period = f", {days[0]} to {days[-1]}" if days else ""
        message = f"Lines: {title}{period}: {names}. The attached report.json has the numbers."
        return {
            "kind": "days",
            "title": title,
            "legend": [
                {"name": line.name, "colour": stroke.colour, "width": stroke.width, "dash": list(stroke.dash)}
                for line, stroke in ((line, STROKES[at % len(STROKES)]) for at, line in enumerate(drawn))
            ],
            "svg": paper.lines(days, drawn, FONT, message).image() if known else "",
            "alt": message,
            "note": "",
        }

    def bars(self, chart: Json) -> Json:
        """Return a chart of bars, each with its value."""
        title, more = self.text(chart["title"]), len(chart["rows"]) - _MOST_BARS
        drawn = [
            PaperBar(self.text(name), _float(value), self.written(chart["unit"], value))
            for name, value in chart["rows"][:_MOST_BARS]
        ]
        values = "; ".join(f"{bar.name}: {bar.text or 'not known'}" for bar in drawn)
        message = f"Bars: {title}: {values}."
        return {
            "kind": "bars",
            "title": title,
            "legend": [],
            "svg": paper.bars(drawn, FONT, message).image() if drawn else "",
            "alt": message,
            "note": f"{counted(more, 'bar')} not shown" if more > 0 else "",
        }


def _laid_out(are_numbers: Sequence[bool], labels: Sequence[str], rows: Sequence[Sequence[str]]) -> Json:
    """Return the columns of a table and the size of its letters: numbers never wrap, text does where a table is wide.

    The columns of text share the rest of a line by their lengths (``parts``); those of a small table need none.
    """
    lengths = [max(len(text) for text in column) for column in zip(labels, *rows, strict=True)]
    words = [max(map(len, label.split()), default=1) for label in labels]
    needed = sum(
        length if is_number else max(word, min(length, _WRAPPED))
        for is_number, length, word in zip(are_numbers, lengths, words, strict=True)
    )
    size, flipped = ((width - _GUTTER * len(labels)) / (_LETTER * max(needed, 1)) for width in _WIDTHS)
    least, readable, most = _SIZES
    is_flipped = size < readable
    is_small = len(labels) < _WIDE
    lines = sum(max((-(-len(cell) // _WRAPPED) for cell in row), default=0) for row in rows)
    return {
        "is_whole": lines <= _WHOLE,
        "is_flipped": is_flipped,
        "size": round(max(least, min(most, flipped if is_flipped else size)), 2),
        "columns": [
            {
                "label": label,
                "is_number": is_number,
                "parts": 0 if is_number or is_small else min(length, _LONG) + _APART,
            }
            for label, is_number, length in zip(labels, are_numbers, lengths, strict=True)
        ],
    }


def _month(month: str) -> str:
    """Write a month in words: December 2025."""
    first = date.fromisoformat(f"{month}-01")
    return f"{_MONTHS[first.month - 1]} {first.year}"


def _float(value: str | None) -> float | None:
    return None if value is None else float(value)
