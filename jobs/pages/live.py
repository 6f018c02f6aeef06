"""What is live, kept in memory: read at the start, and again whenever another publication is live.

If the database does not answer, or a build has the file, the last publication stays, with since when.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

from jobs.pages.publication import Opener, Outside, Publication, last_run, live_name, read_outside, read_publication
from marts.dashboard import Dashboard
from marts.errors import MartsError, TryLater
from marts.pack import Pack

_log = logging.getLogger("marts.pages")


@dataclass(frozen=True)
class Trouble:
    """Why what is shown may not be the newest."""

    what: str
    since: datetime
    is_build: bool
    """Whether a build has the file: no failure."""


@dataclass(frozen=True)
class State:
    """What the pages show."""

    publication: Publication | None = None
    previous: Publication | None = None
    """The one that was shown before."""
    outside: Outside | None = None
    trouble: Trouble | None = None
    looked_at: datetime | None = None
    """When the target last answered."""


class Live:
    """The publication that is shown; another thread looks for the next one."""

    def __init__(self, pack: Pack, dashboard: Dashboard, opener: Opener, now: Callable[[], datetime]) -> None:
        self.pack, self.dashboard = pack, dashboard
        self._open, self._now = opener, now
        self._ended = threading.Event()
        self.state = State()
        self._run = ""

    def look(self) -> State:
        """Look for another publication, and read it if there is one."""
        before = self.state
        try:
            with closing(self._open()) as warehouse:
                name, run = live_name(warehouse, self.dashboard.tables), last_run(warehouse)
                current, outside = before.publication, before.outside
                if current is None or name != current.name:
                    current = read_publication(warehouse, self.pack, self.dashboard)
                if outside is None or run != self._run:
                    outside, self._run = read_outside(warehouse), run
        except MartsError as error:
            since = before.trouble.since if before.trouble else self._now()
            if before.trouble is None:
                _log.warning("%s: %s", error.where, error.what)
            trouble = Trouble(error.what, since, isinstance(error, TryLater))
            self.state = replace(before, trouble=trouble)
            return self.state
        is_new = before.publication is not None and current is not before.publication
        previous = before.publication if is_new else before.previous
        self.state = State(current, previous, outside, None, self._now())
        return self.state

    def watch(self, seconds: float) -> None:
        """Look again and again until `end`."""
        while not self._ended.wait(seconds):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a defect must not end the looking; the pages are soon not ready
                _log.exception("looking for another publication failed")

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()
