"""Deliver the notices of an outbox: each to each address once, with retries until it is accepted."""

import logging
import re
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from urllib.parse import unquote

from jobs.adapters.notify import Moment, ping, send
from jobs.adapters.store.open import open_store
from jobs.config.secret import Secret
from jobs.config.settings import Metrics, Notify, Settings
from jobs.ports.notices import Notice, NoticeUpdate, Outbox, claimed, merged, settled, unless_known
from jobs.ports.store import Store
from jobs.report.notices import Addresses
from jobs.report.run_report import RunReport
from jobs.runtime.retries import retried
from jobs.runtime.scrub import remember, scrubbed
from marts.errors import MartsError, UsageError

Kept = TypeVar("Kept")

_log = logging.getLogger("marts.notify")
_NOTICES, _RUNS, _DAMAGED = "waiting/notices", "waiting/runs", "waiting/damaged"
_GRACE = 10.0
"""Seconds after the deadline for addresses that were not tried yet."""
_LEAST = 5.0
"""Minimum timeout of an address in seconds, even after the deadline."""
_TOKEN = 12
"""Minimum characters of a token: shorter parts of an address are words and names."""


def addresses_of(settings: Settings) -> Addresses:
    """Return the recipients of each event."""
    notify = settings.notify
    wants = {name: notify.only.get(name, notify.on) for name in notify.to}
    try:
        reports = settings.reports_url or settings.reports_uri
    except UsageError:  # the state is not set, and the notice will report that
        reports = ""
    pipeline = settings.metrics.pipeline
    return Addresses(wants, reports, "" if pipeline == Metrics().pipeline else pipeline, settings.mart or "")


class StateOutbox:
    """Keep notices and runs in the state while the database is unavailable."""

    def __init__(self, store: Callable[[], Store]) -> None:
        """Use a store that is opened when it is needed: it may be unavailable."""
        self._open = store

    @property
    def _store(self) -> Store:
        return self._open()

    def _read(self, folder: str, parse: Callable[[bytes], Kept]) -> dict[str, Kept]:
        """Return the stored items by key. Log damaged items and move them aside, because they would block forever."""
        result, store = {}, self._store
        for version in store.versions(folder):
            name = version.key.rpartition("/")[2]
            if name.startswith(".") or not name.endswith(".json"):
                continue  # another process is writing it
            data = store.get(version.key)
            try:
                result[version.key] = parse(data)
            except ValueError as error:
                _log.warning("%s is damaged and was moved aside: %s", version.key, error)
                store.put(f"{_DAMAGED}/{name}", data)
                store.delete(version.key)
        return result

    def notices(self) -> list[Notice]:
        return sorted(self._read(_NOTICES, Notice.of_json).values(), key=lambda notice: notice.raised_at)

    def change_notice(self, notice_id: str, change: NoticeUpdate) -> Notice | None:
        key = f"{_NOTICES}/{notice_id}.json"
        after = change(self._read(_NOTICES, Notice.of_json).get(key))
        if after:
            self._store.put(key, after.as_json().encode())
        return after

    def hand_over(self, outbox: Outbox) -> int:
        """Move the stored notices to another outbox. Return their number."""
        notices = self.notices()
        for notice in notices:
            outbox.change_notice(notice.notice_id, partial(merged, other=notice))
            self._store.delete(f"{_NOTICES}/{notice.notice_id}.json")
        return len(notices)

    def keep_run(self, report: RunReport) -> None:
        """Store the report of a run that the ledger does not contain."""
        self._store.put(f"{_RUNS}/{report.run_id}.json", report.model_dump_json().encode())

    def hand_over_runs(self, take: Callable[[RunReport], object]) -> int:
        """Pass the stored reports to ``take``, which writes them to the ledger. Delete them and return their number."""
        runs = self._read(_RUNS, RunReport.model_validate_json)
        for key, report in runs.items():
            take(report)
            self._store.delete(key)
        return len(runs)


class NoOutbox:
    """Keep notices in this process only: neither database nor state can be reached."""

    def __init__(self) -> None:
        self._notices: dict[str, Notice] = {}

    def notices(self) -> list[Notice]:
        return list(self._notices.values())

    def change_notice(self, notice_id: str, change: NoticeUpdate) -> Notice | None:
        after = change(self._notices.get(notice_id))
        if after:
            self._notices[notice_id] = after
        return after


def keep(outbox: Outbox, notices: Iterable[Notice]) -> None:
    """Put new notices in an outbox."""
    for notice in notices:
        outbox.change_notice(notice.notice_id, partial(unless_known, new=notice))


def deliver(
    outbox: Outbox, settings: Notify, clock: Callable[[], datetime], read: Callable[[str], bytes]
) -> tuple[int, list[str]]:
    """Send unsent notices until the deadline. Return the number of sent ones, and a message for each failure.

    ``read`` reads a file of a notice.
    """
    end = time.monotonic() + settings.deadline
    sent = 0
    failed: list[str] = []
    silent: set[str] = set()
    """Addresses that failed once are skipped, so that others do not wait for them."""
    for notice in sorted(outbox.notices(), key=_tries):
        for name in notice.unsent:
            if failed and time.monotonic() >= end + _GRACE:
                return sent, [*failed, "no time left for the other notices"]
            if name in silent:
                continue
            if not outbox.change_notice(notice.notice_id, partial(claimed, name=name, now=clock())):
                continue
            error = _sent(notice, name, settings, read, end)
            hours = settings.keep_hours if name in settings.to else 0
            end_of_it = partial(settled, name=name, now=clock(), error=error, keep=timedelta(hours=hours))
            outbox.change_notice(notice.notice_id, end_of_it)
            sent += not error
            silent |= {name} if error else set()
            failed += [f"notice {notice.notice_id} is not sent to {name} yet: {error}"] if error else []
    return sent, failed


def _tries(notice: Notice) -> int:
    """Return the sort key of a notice: least tried first, so that a server that is down does not delay new notices."""
    return min((notice.deliveries[name].tries for name in notice.unsent), default=0)


def files_of(settings: Settings) -> Callable[[str], bytes]:
    """Return what reads a file of a notice from the folder of the reports, which is opened when it is needed."""
    return lambda key: open_store(settings.reports_uri, settings.s3).get(key)


def _sent(notice: Notice, name: str, settings: Notify, read: Callable[[str], bytes], end: float) -> str:
    """Send to one address. Return the error, or ""."""
    addresses = settings.to
    if name not in addresses:
        return f"address {name} is no longer in the settings; configured: {', '.join(addresses) or 'none'}"
    try:
        address = _revealed(addresses[name])
        files = {key.rpartition("/")[2]: read(key) for key in notice.files}
        if sum(map(len, files.values())) > settings.attach_bytes:
            files = {}  # the notice names their place
        left = end - time.monotonic()
        retried(lambda: send(name, address, notice, max(end - time.monotonic(), _LEAST), files), left)
    except MartsError as error:
        return str(scrubbed(error))
    _log.info("notice %s was sent to %s: %s", notice.notice_id, name, notice.subject)
    return ""


def _revealed(address: Secret) -> str:
    """Return an address, and register its parts for removal from all output: one may be a password or a token."""
    value = address.reveal()
    tokens = [part for part in re.split(r"[/:@?&=]+", value) if len(part) >= _TOKEN]
    path = [part for part in re.findall(r"://[^/]*/(.+)", value) if re.search("[0-9A-Z]", part)]
    for part in (*tokens, *path, *re.findall(r"://[^/:@]*:([^@]*)@", value)):
        remember(part)
        remember(unquote(part))
    return value


def beat(settings: Notify, moment: Moment) -> None:
    """Ping the heartbeat URL, if one is set. A failure is only logged."""
    if not settings.heartbeat:
        return
    try:
        url = _revealed(settings.heartbeat)
        ping(url, moment)
    except MartsError as error:
        _log.warning("the heartbeat ping failed: %s", scrubbed(error))
