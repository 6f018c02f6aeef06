"""Send a notice to an address of apprise (mail, Slack, PagerDuty, SMS, webhooks, …), and ping a heartbeat URL."""

import io
import logging
import re
from functools import partial
from typing import Literal, TextIO
from urllib.parse import urlsplit, urlunsplit

from jobs.ports.notices import Notice
from jobs.runtime.retries import in_time
from jobs.runtime.scrub import scrub
from marts.errors import MartsError, ServiceError, Transient, UsageError

_log = logging.getLogger("marts.notify")

_OVER = 2.0
"""Seconds that a server may go on to drip an answer."""
_PING = 3.0
_SOME_REFUSED = "SMTP recipient "
"""What apprise says of one recipient of several; if all are refused it says something else."""
_URL = re.compile(r"(with url: |https?://)\S+")
_AGENT = "Martwright"
Moment = Literal["start", "success", "fail"]


def send(name: str, address: str, notice: Notice, seconds: float) -> None:
    """Send a notice. ``name`` is what the address is called in messages: it may hold a password itself.

    Raises UsageError for an address that means nothing, Transient if it was not taken, ServiceError if nobody can
    tell: whoever does not answer in time may have taken it, so it is not repeated at once.
    """
    where = f"notify.to.{name}"
    message = io.StringIO()
    try:
        sent = in_time(lambda: _notify(where, address, notice, seconds, message), seconds + _OVER, where)
    except MartsError:
        raise
    except Exception as error:  # whatever a plugin of apprise raises: others are still to be told
        raise Transient(f"was not taken: {_URL.sub('…', scrub(repr(error)))}", where) from error
    text = scrub(message.getvalue())
    if sent:
        return
    if _SOME_REFUSED in text:  # the others have it
        _log.warning("%s: of several recipients some were refused: %s", where, _cause(text))
        return
    kind = ServiceError if re.search("timed out|timeout", text, re.IGNORECASE) else Transient
    raise kind(f"was not taken: {_cause(text)}", where, "`marts notify test` tries it again")


def _notify(where: str, address: str, notice: Notice, seconds: float, message: TextIO) -> bool:
    """Let apprise send; what it logs goes to ``message``, and nowhere else."""
    import apprise

    # Nothing is kept on disk, nothing but the text is sent, and escapes in it mean nothing.
    asset = apprise.AppriseAsset(
        app_id=_AGENT,
        app_desc=_AGENT,
        app_url="",
        storage_mode="memory",
        image_url_mask="",
        interpret_escapes=False,
        async_mode=False,
    )
    log, handler = logging.getLogger("apprise"), logging.StreamHandler(message)
    log.propagate = False
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    try:
        services = apprise.Apprise(asset=asset)
        if not services.add(address):
            hint = "apprise knows the forms: https://github.com/caronc/apprise/wiki, `marts notify test` tries it"
            raise UsageError("is no address that apprise understands", where, hint)
        for service in services:
            if len(services) > 1 or len(service) > 1:
                hint = "give each a name of its own, or use a mailing list: each is told once"
                raise UsageError("is more than one recipient", where, hint)
            service.socket_connect_timeout = service.socket_read_timeout = seconds
        level, text = apprise.NotifyType(notice.level), apprise.NotifyFormat.TEXT
        return bool(services.notify(notice.body, notice.subject, level, body_format=text))
    finally:
        log.removeHandler(handler)


def ping(url: str, moment: Moment) -> None:
    """Ping a service that waits for builds that one begins or ends. Raises Transient or UsageError.

    As healthchecks.io has it: ``/start`` and ``/fail`` are added to the path; other services say where with
    ``{moment}`` in the URL.
    """
    import requests

    try:
        address = _at(url, moment)
        request = partial(requests.get, address, timeout=_PING, headers={"User-Agent": _AGENT}, stream=True)
        answer = in_time(request, _PING, "notify.heartbeat")
    except requests.exceptions.InvalidSchema as error:
        raise UsageError("is no http:// or https:// address", "notify.heartbeat") from error
    except ValueError as error:  # an address that is none at all
        raise UsageError("is no address", "notify.heartbeat") from error
    except requests.RequestException as error:
        raise Transient(f"does not answer: {scrub(type(error).__name__)}", "notify.heartbeat") from error
    if answer.status_code >= 400:
        what = f"answers {answer.status_code}"
        kind = Transient if answer.status_code in (408, 425, 429) or answer.status_code >= 500 else UsageError
        raise kind(what, "notify.heartbeat")


def _at(url: str, moment: Moment) -> str:
    if "{moment}" in url:
        return url.replace("{moment}", moment)
    parts = urlsplit(url)
    more = "" if moment == "success" else f"/{moment}"
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + more))


def _cause(message: str) -> str:
    """Find what went wrong in what apprise logs: the exception of the socket, else its last words. No addresses."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    named = [line.partition("Exception: ")[2] for line in lines if "Exception: " in line]
    words = [line for line in lines if "ailed" in line or "error" in line.lower()]
    return _URL.sub("…", (named or words or ["no reason is given"])[-1]).rstrip(".")
