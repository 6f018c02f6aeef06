"""What each address of the served pages answers: a function of the request and of what is live."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from urllib.parse import parse_qsl

from jobs.adapters.charts.dashboard import script, script_name
from jobs.pages.answer import answer
from jobs.pages.changes import changes_csv, changes_page, drops_in_words
from jobs.pages.choice import PINNED, Choice, parse
from jobs.pages.content import as_csv, as_json, cells_header
from jobs.pages.drops import drops_page
from jobs.pages.html import dashboard_page, figures_page, rendered, rows_page, static
from jobs.pages.live import Live, State
from jobs.pages.metrics import samples
from jobs.pages.month_pages import HERE as MONTHLY
from jobs.pages.month_pages import MonthPages
from jobs.pages.publication import Publication
from jobs.pages.written import DOCS, INDEX, POLICY, REPORTS, WrittenPages
from jobs.ports.metrics import Sample
from jobs.ports.store import Store
from jobs.runtime.escaping import csv_for_spreadsheet
from marts.errors import Busy, MartsError, ObjectChanged
from marts.values import amount_of

LONGEST = 4096
"""Characters of an address."""
ROWS = 100
"""Cells of a page of rows."""
_MOST_NAMES = 200
_HTML, _JSON, _CSV, _TEXT, _PDF = "text/html", "application/json", "text/csv", "text/plain", "application/pdf"
_KINDS = {"css": "text/css", "js": "text/javascript"}
_NOT_SERVED = "Pages of runs name people: the server shows them with pages.names, if it can read their folder."
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """An answer to a request."""

    status: int
    kind: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    """Rows in it, for the log."""


class Site:
    """The pages of one pack."""

    def __init__(
        self,
        live: Live,
        now: Callable[[], datetime],
        fresh_for: float,
        reports: Callable[[], Store] | None = None,
        written: WrittenPages | None = None,
        exposed: Callable[[Sequence[Sample]], bytes] | None = None,
    ) -> None:
        """Serve what is live; it is ready while it has looked for a publication within ``fresh_for`` seconds.

        ``reports`` opens the folder of the reports, if it can be reached; ``written`` are the pages of builds;
        ``exposed`` writes the metrics of the server with some of its pages.
        """
        self._live, self._now, self._fresh_for = live, now, fresh_for
        pack = live.pack.name
        self._address = f"/{pack}"
        self._pages = [
            (self._address, "Dashboard"),
            (f"{self._address}/changes", "Changes"),
            (f"{self._address}/drops", "Drops"),
            ("/figures", "Figures"),
        ]
        self._months = MonthPages(reports, self._pages) if reports else None
        self._written, self._exposed = written or WrittenPages(None, None), exposed
        if reports:
            self._pages.insert(1, (MONTHLY, "Monthly"))
        links = ((REPORTS, "/runs", "Runs"), (DOCS, "/quality", "Data quality"))
        self._pages += [(address, text) for folder, address, text in links if self._written.has(folder)]
        self._routes: dict[str, Callable[[Pairs], Reply]] = {
            "/": self._start,
            self._address: partial(self._current, self._dashboard, self._not_yet),
            f"{self._address}/part": partial(self._current, partial(self._dashboard, is_scripted=True), self._not_yet),
            f"{self._address}.json": partial(self._current, self._json, _not_ready),
            f"{self._address}.csv": partial(self._current, self._csv, _not_ready),
            f"{self._address}/rows": partial(self._current, self._rows, self._not_yet),
            f"{self._address}/rows.csv": partial(self._current, self._rows_csv, _not_ready),
            f"{self._address}/drops": self._drops,
            f"{self._address}/changes": partial(self._current, self._changes, self._not_yet),
            f"{self._address}/changes.csv": partial(self._current, self._changes_csv, _not_ready),
            "/figures": self._figures,
            "/live": self._name,
            "/healthz": lambda _: _text(200, "ok\n"),
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/runs": partial(self._index, REPORTS),
            "/quality": partial(self._index, DOCS),
            f"/static/{script_name()}": lambda _: _static(_KINDS["js"], script(), ()),
            **{f"/static/{name}": partial(_static, _KINDS[end], content) for end, (name, content) in static().items()},
        }

    def respond(self, path: str, query: str) -> Reply:
        """Answer a request for an address."""
        if len(path) + len(query) > LONGEST:
            return self._message(414, "The address is too long", f"It may have {LONGEST:,} characters.")
        if self._months and path.startswith(MONTHLY):
            return self._monthly(self._months, path)
        if path.startswith((f"/{REPORTS}/", f"/{DOCS}/")):
            return self._built(path)
        route = self._routes.get(path)
        if route is None and path.rstrip("/") in self._routes:
            return Reply(302, _TEXT, b"", {"Location": f"{path.rstrip('/')}{f'?{query}' if query else ''}"})
        if route is None:
            return self._message(404, "There is no such page", "The figures are on the dashboard.")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_NAMES)
        except ValueError:
            return self._message(400, "The address cannot be read", f"It may have {_MOST_NAMES:,} values.")
        try:
            return route(pairs)
        except Busy as error:
            return self._message(503, "This took too long", f"{error.what[:1].upper()}{error.what[1:]}.", error.hint)

    def _message(self, status: int, title: str, *texts: str) -> Reply:
        links = [("To the dashboard", self._address)]
        page = rendered("message.html.j2", "", self._pages, title=title, texts=texts, links=links)
        return Reply(status, _HTML, page.encode())

    def _start(self, _: Pairs) -> Reply:
        return Reply(302, _TEXT, b"", {"Location": self._address})

    def _current(
        self, page: Callable[[Pairs, State, Publication], Reply], not_yet: Callable[[State], Reply], pairs: Pairs
    ) -> Reply:
        """Answer with a page of what is live, or of the publication of the run that the address asks for."""
        state = self._live.state
        wanted, previous = dict(pairs).get(PINNED, ""), state.previous
        publication = previous if wanted and previous and wanted == previous.run_id else state.publication
        return not_yet(state) if publication is None else page(pairs, state, publication)

    def _not_yet(self, state: State) -> Reply:
        why = state.trouble.what if state.trouble else "The first publication is being read."
        return self._message(503, "There is nothing to show yet", f"{why}.".replace("..", "."))

    def _chosen(self, pairs: Pairs, publication: Publication) -> tuple[Choice, list[str]]:
        choice, remarks = parse(pairs, self._live.dashboard, publication.cube.bounds)
        if choice.pinned and choice.pinned != publication.run_id:
            remarks.append(f"The publication of that run is not kept: this is run {publication.run_id}.")
        return choice, remarks

    def _dashboard(self, pairs: Pairs, state: State, publication: Publication, is_scripted: bool = False) -> Reply:
        """Answer with the dashboard; ``is_scripted`` asks for it without drawings."""
        choice, remarks = self._chosen(pairs, publication)
        content = answer(publication.cube, choice, remarks)
        previous = state.previous.run_id if state.previous else ""
        drops = drops_in_words(self._live.changes, previous, publication.run_id)
        page = dashboard_page(self._address, self._pages, state, publication, content, drops, is_scripted)
        return Reply(200, _HTML, page.encode())

    def _json(self, pairs: Pairs, state: State, publication: Publication) -> Reply:
        choice, remarks = self._chosen(pairs, publication)
        content = as_json(publication, answer(publication.cube, choice, remarks))
        return Reply(200, _JSON, json.dumps(content, ensure_ascii=False).encode())

    def _csv(self, pairs: Pairs, state: State, publication: Publication) -> Reply:
        choice, remarks = self._chosen(pairs, publication)
        content = as_csv(publication, answer(publication.cube, choice, remarks))
        return _download(f"{self._live.pack.name}-{publication.as_of}.csv", content, content.count("\n"))

    def _rows(self, pairs: Pairs, state: State, publication: Publication) -> Reply:
        choice, remarks, start = self._chosen_rows(pairs, publication)
        rows, count = publication.cube.cells(choice, ROWS, start), publication.cube.count(choice)
        texts = [self._cell_texts(publication, row) for row in rows]
        here = f"{self._address}/rows"
        page = rows_page(here, self._address, self._pages, publication, (choice, remarks), (texts, start, ROWS, count))
        return Reply(200, _HTML, page.encode(), rows=len(rows))

    def _rows_csv(self, pairs: Pairs, state: State, publication: Publication) -> Reply:
        choice, _, _ = self._chosen_rows(pairs, publication)
        texts = [self._cell_texts(publication, row) for row in publication.cube.cells(choice)]
        content = csv_for_spreadsheet([cells_header(self._live.dashboard), *texts])
        return _download(f"{self._live.pack.name}-rows-{publication.as_of}.csv", content, len(texts))

    def _chosen_rows(self, pairs: Pairs, publication: Publication) -> tuple[Choice, list[str], int]:
        own = dict(pairs)
        choice, remarks = self._chosen([pair for pair in pairs if pair[0] != "start"], publication)
        settled, more = publication.cube.settled(choice)
        return settled, [*remarks, *more], _start(own.get("start", ""))

    def _cell_texts(self, publication: Publication, row: Sequence[object]) -> list[str]:
        cube = publication.cube
        day, *rest = row
        names = list(cube.dashboard.dimensions)
        values = [cube.name_of(name, str(value)) for name, value in zip(names, rest, strict=False)]
        sums = [
            _sum_text(cube.units[column], int(str(value)))
            for column, value in zip(cube.columns, rest[len(names) :], strict=True)
        ]
        return [str(day), *values, *sums]

    def _drops(self, pairs: Pairs) -> Reply:
        state, own = self._live.state, dict(pairs)
        if state.outside is None:
            return self._not_yet(state)
        here, board, start = f"{self._address}/drops", self._live.dashboard, _start(own.get("start", ""))
        page = drops_page(here, self._pages, board, self._address, state.outside, pairs, start)
        return Reply(200, _HTML, page.encode())

    def _monthly(self, months: MonthPages, path: str) -> Reply:
        """Answer with the list of reports, one of them, or a file of it."""
        try:
            if path == MONTHLY:
                return Reply(200, _HTML, months.months().encode())
            asked = months.asked(path)
            if asked is None:
                return self._message(404, "There is no such report", "The list of reports is on the page Monthly.")
            item, name, newest = asked
            if not name:
                return Reply(200, _HTML, months.month(item, newest).encode())
            kind = _JSON if name.endswith(".json") else _PDF
            shown_as = f'inline; filename="{self._live.pack.name}-{item.month}-{item.revision}-{name}"'
            return Reply(200, kind, months.file(item, name), {"Content-Disposition": shown_as})
        except MartsError as error:
            return self._message(503, "The reports cannot be read", f"{error.where}: {error.what}")

    def _index(self, folder: str, _: Pairs) -> Reply:
        if self._written.has(folder):
            return Reply(302, _TEXT, b"", {"Location": f"/{folder}/{INDEX}"})
        return self._message(404, "These pages are not served", _NOT_SERVED)

    def _built(self, path: str) -> Reply:
        """Answer with a page that a build has written."""
        try:
            page = self._written.page(path)
        except ObjectChanged:  # the folder has no such file
            page = None
        except MartsError as error:
            return self._message(503, "The pages of builds cannot be read", f"{error.where}: {error.what}")
        if page is None:
            return self._message(404, "There is no such page", "Pages of old runs are removed.", _NOT_SERVED)
        return Reply(200, _HTML, page, {"Content-Security-Policy": POLICY})

    def _metrics(self, _: Pairs) -> Reply:
        """Answer with the metrics of the server, for Prometheus: no figure of the marts is among them."""
        content = self._exposed(samples(self._live.state)) if self._exposed else b""
        return Reply(200, _TEXT, content)

    def _figures(self, _: Pairs) -> Reply:
        page = figures_page("/figures", self._pages, self._live.dashboard, self._live.pack.marts)
        return Reply(200, _HTML, page.encode())

    def _changes(self, pairs: Pairs, state: State, publication: Publication) -> Reply:
        page = changes_page(
            f"{self._address}/changes", self._pages, publication, self._live.changes, self._live.is_compared
        )
        return Reply(200, _HTML, page.encode())

    def _changes_csv(self, pairs: Pairs, state: State, publication: Publication) -> Reply:
        compared = self._live.changes.compared
        if compared is None:
            return _not_ready(state)
        content = changes_csv(compared)
        return _download(f"{self._live.pack.name}-changes-{compared.now.number}.csv", content, content.count("\n"))

    def _name(self, _: Pairs) -> Reply:
        publication = self._live.state.publication
        if publication is None:
            return _text(503, "not ready\n")
        content = {"publication": publication.name, "run_id": publication.run_id, "as_of": str(publication.as_of)}
        return Reply(200, _JSON, json.dumps(content).encode(), {"ETag": f'"{publication.name}"'})

    def _ready(self, _: Pairs) -> Reply:
        state = self._live.state
        is_fresh = state.looked_at and (self._now() - state.looked_at).total_seconds() < self._fresh_for
        if state.publication is None:
            return _text(503, "nothing is loaded yet\n")
        return _text(200, "ready\n") if is_fresh else _text(503, "it does not look for publications any more\n")


def _start(text: str) -> int:
    """Return where a page of rows begins."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _sum_text(unit: str, value: int) -> str:
    return str(amount_of(value) if unit == "money" else value)


def _not_ready(_: State) -> Reply:
    return _text(503, "not ready\n")


def _text(status: int, text: str) -> Reply:
    return Reply(status, _TEXT, text.encode())


def _static(kind: str, content: bytes, _: Pairs) -> Reply:
    """Answer with a file whose name changes with its content: browsers keep it."""
    return Reply(200, kind, content, {"Cache-Control": "public, max-age=31536000, immutable"})


def _download(name: str, content: str, rows: int) -> Reply:
    return Reply(200, _CSV, content.encode(), {"Content-Disposition": f'attachment; filename="{name}"'}, rows)
