"""What is live, kept in memory: read at the start, and again whenever another publication is live.

If the database does not answer, or a build has the file, the last publication stays, with since when.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

from jobs.pages.outside import Outside, read_outside
from jobs.pages.publication import Opener, Publication, live_name, read_publication
from jobs.report.differences import Differences, differences
from marts.dashboard import Dashboard
from marts.errors import MartsError, Transient, TryLater
from marts.pack import Pack

LISTED = 200
"""Rows of each mart that a page of changes lists."""
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
    answered_at: datetime | None = None
    """When the target last answered."""
    looked_at: datetime | None = None
    """When the last look for another publication ended, whether the target answered or not."""


@dataclass(frozen=True)
class Changes:
    """What the target says differs between the last two publications."""

    compared: Differences | None = None
    why_not: str = "The publications are being compared."
    """Why there is nothing to show."""


class Live:
    """The publication that is shown; another thread looks for the next one, and one lets the target compare it."""

    def __init__(self, pack: Pack, dashboard: Dashboard, opener: Opener, now: Callable[[], datetime]) -> None:
        self.pack, self.dashboard = pack, dashboard
        self._open, self._now = opener, now
        self._ended, self._is_new = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self.state = State()
        self.changes = Changes()
        self._change = ""
        self._compared = ""

    def look(self) -> State:
        """Look for another publication, and read it if there is one."""
        before = self.state
        try:
            with closing(self._open()) as warehouse:
                current, outside, tables = before.publication, before.outside, self.dashboard.tables
                # Asked before anything is read: what changes meanwhile is read by the next look.
                change = warehouse.last_change() if current or live_name(warehouse.live(), tables) else ""
                is_changed = change != self._change
                if current is None or (is_changed and live_name(warehouse.live(), tables) != current.name):
                    current = read_publication(warehouse, self.pack, self.dashboard)
                if outside is None or is_changed:
                    outside = read_outside(warehouse)
                self._change = change
        except MartsError as error:
            since = before.trouble.since if before.trouble else self._now()
            if before.trouble is None:
                _log.warning("%s: %s", error.where, error.what)
            trouble = Trouble(error.what, since, isinstance(error, TryLater))
            self.state = replace(before, trouble=trouble, looked_at=self._now())
            return self.state
        is_new = before.publication is not None and current is not before.publication
        previous = before.publication if is_new else before.previous
        now = self._now()
        self.state = State(current, previous, outside, None, now, now)
        if is_new:
            self._is_new.set()
        return self.state

    def _name(self) -> str:
        """Return what changes with each publication and each end of a run."""
        return f"{self.state.publication.name} {self._change}" if self.state.publication else ""

    @property
    def is_compared(self) -> bool:
        """Return whether the changes are those of the last publication."""
        return self._name() == self._compared

    def compare(self) -> None:
        """Let the target compare the last two publications, if it has not yet: large marts take long."""
        name = self._name()
        if name == self._compared or self.state.trouble:
            return
        try:
            with closing(self._open()) as warehouse:
                changes = Changes(differences(warehouse, self.pack, "", LISTED, personal=False))
        except (TryLater, Transient):  # the next look finds out, too
            return
        except MartsError as error:
            changes = Changes(why_not=f"{error.what[:1].upper()}{error.what[1:]}.")
        self.changes, self._compared = changes, name

    def watch(self, seconds: float) -> None:
        """Look again and again until `end`, and compare each publication, both beside the caller."""
        for work in (self._look_again, self._compare_each):
            thread = threading.Thread(target=work, args=(seconds,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _look_again(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            _tried(self.look)

    def _compare_each(self, seconds: float) -> None:
        """Compare the last two publications, and again when there is another one."""
        while not self._ended.is_set():
            _tried(self.compare)
            self._is_new.wait(seconds)
            self._is_new.clear()

    def end(self, seconds: float = 5) -> None:
        """Stop watching, and wait so long for what has begun."""
        self._ended.set()
        self._is_new.set()
        for thread in self._threads:
            thread.join(seconds)


def _tried(work: Callable[[], object]) -> None:
    """Do something; log a defect."""
    try:
        work()
    except Exception:  # noqa: BLE001 - a defect must not end the looking; the pages are soon not ready
        _log.exception("looking for another publication failed")
