"""Send a notice to an apprise address (mail, Slack, PagerDuty, SMS, webhooks, …) and ping a heartbeat URL."""

import io
import logging
import mimetypes
import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Literal, TextIO
from urllib.parse import urlsplit, urlunsplit

from jobs.ports.notices import Notice
from jobs.runtime.retries import in_time
from jobs.runtime.scrub import scrub
from marts.errors import MartsError, ServiceError, Transient, UsageError

_log = logging.getLogger("marts.notify")

_OVER = 2.0
"""Additional seconds for a server that sends its answer slowly."""
_PING = 3.0
_SOME_REFUSED = "SMTP recipient "
"""Start of apprise's log line for one of several recipients; if all are refused, the line is different."""
_URL = re.compile(r"(with url: |https?://)\S+")
_AGENT = "Martwright"
Moment = Literal["start", "success", "fail"]


def send(
    name: str, address: str, notice: Notice, seconds: float, files: Mapping[str, bytes] = MappingProxyType({})
) -> None:
    """Send a notice, with files by their names.

    ``name`` stands for the address in messages: the address may contain a password.

    Raises UsageError for an invalid address, Transient if the notice was not accepted, ServiceError after a timeout:
    the server may have accepted it, so it is not repeated immediately.
    """
    where = f"notify.to.{name}"
    message = io.StringIO()
    try:
        sent = in_time(lambda: _notify(where, address, notice, files, seconds, message), seconds + _OVER, where)
    except MartsError:
        raise
    except Exception as error:  # any error of an apprise plugin: other addresses must still get the notice
        raise Transient(f"was not accepted: {_URL.sub('…', scrub(repr(error)))}", where) from error
    text = scrub(message.getvalue())
    if sent:
        return
    if _SOME_REFUSED in text:  # the others have received it
        _log.warning("%s: some of several recipients were refused: %s", where, _cause(text))
        return
    kind = ServiceError if re.search("timed out|timeout", text, re.IGNORECASE) else Transient
    raise kind(f"was not accepted: {_cause(text)}", where, "test it with `marts notify test`")


def _notify(
    where: str, address: str, notice: Notice, files: Mapping[str, bytes], seconds: float, message: TextIO
) -> bool:
    """Send with apprise. Its log goes to ``message`` only."""
    import apprise
    from apprise.attachment.memory import AttachMemory

    # Keep nothing on disk, send only the text, and do not interpret escapes in it.
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
            hint = "see https://github.com/caronc/apprise/wiki for the forms; test it with `marts notify test`"
            raise UsageError("is not an address of apprise", where, hint)
        for service in services:
            if len(services) > 1 or len(service) > 1:
                hint = "configure each one under its own name, or use a mailing list"
                raise UsageError("has more than one recipient", where, hint)
            service.socket_connect_timeout = service.socket_read_timeout = seconds
        level, text = apprise.NotifyType(notice.level), apprise.NotifyFormat.TEXT
        attached = [
            AttachMemory(content, name, _type_of(name))  # type: ignore[no-untyped-call]
            for name, content in files.items()
        ]
        return bool(services.notify(notice.body, notice.subject, level, body_format=text, attach=attached or None))
    finally:
        log.removeHandler(handler)


def _type_of(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def ping(url: str, moment: Moment) -> None:
    """Ping a monitoring service at the start or end of a build. Raises Transient or UsageError.

    Append ``/start`` or ``/fail`` to the path, as healthchecks.io expects; for other services, ``{moment}`` in the URL
    marks the place.
    """
    import requests

    try:
        address = _at(url, moment)
        request = partial(requests.get, address, timeout=_PING, headers={"User-Agent": _AGENT}, stream=True)
        answer = in_time(request, _PING, "notify.heartbeat")
    except requests.exceptions.InvalidSchema as error:
        raise UsageError("is not an http:// or https:// address", "notify.heartbeat") from error
    except ValueError as error:  # not a URL
        raise UsageError("is not an address", "notify.heartbeat") from error
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
    """Return the cause of a failure from apprise's log: the socket's exception, else the last error. No addresses."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    named = [line.partition("Exception: ")[2] for line in lines if "Exception: " in line]
    words = [line for line in lines if "ailed" in line or "error" in line.lower()]
    return _URL.sub("…", (named or words or ["no reason given"])[-1]).rstrip(".")
