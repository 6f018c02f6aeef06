"""Send a notice to an address of apprise (mail, Slack, PagerDuty, SMS, webhooks, …), and ping a heartbeat URL."""

import logging
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from jobs.outbox import Notice
from jobs.scrub import scrub
from marts.errors import Transient, UsageError

_PATIENCE = 30.0
"""Seconds for one try at one address, at most."""
_PING = 3.0
_AGENT = "Martwright"
Moment = Literal["start", "success", "fail"]


def send(name: str, address: str, notice: Notice, seconds: float) -> None:
    """Send a notice. Raises UsageError for an address that means nothing, Transient if it was not taken.

    ``name`` is what the address is called in messages: it may hold a password itself.
    """
    import apprise

    where = f"notify.to.{name}"
    # Nothing is kept on disk, nothing but the text is sent, and escapes in it mean nothing.
    asset = apprise.AppriseAsset(
        app_id=_AGENT, app_desc=_AGENT, app_url="", storage_mode="memory", image_url_mask="", interpret_escapes=False
    )
    logging.getLogger("apprise").propagate = False  # what it says is in the error, if there is one
    with apprise.LogCapture(level=logging.DEBUG, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
        services = apprise.Apprise(asset=asset)
        if not services.add(address):
            hint = "apprise knows the forms: https://github.com/caronc/apprise/wiki, `marts notify test` tries it"
            raise UsageError("is no address that apprise understands", where, hint)
        if len(services) > 1:
            raise UsageError("holds more than one address", where, "give each a name of its own: each is told once")
        try:
            sent = services.notify(
                body=notice.body,
                title=notice.subject,
                notify_type=apprise.NotifyType(notice.level),
                body_format=apprise.NotifyFormat.TEXT,
                timeout=min(seconds, _PATIENCE),
            )
        except Exception as error:  # whatever a plugin raises: others may still be told
            raise Transient(f"was not taken: {scrub(repr(error))}", where) from error
        if not sent:
            raise Transient(f"was not taken: {_cause(said.getvalue())}", where, "`marts notify test` tries it again")


def ping(url: str, moment: Moment) -> None:
    """Tell a service that waits for builds that one begins or ends. Raises Transient or UsageError.

    As healthchecks.io has it: ``/start`` and ``/fail`` are added to the path; other services say where with
    ``{moment}`` in the URL.
    """
    import requests

    try:
        answer = requests.get(_at(url, moment), timeout=_PING, headers={"User-Agent": _AGENT})
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


def _cause(said: str) -> str:
    """Find what went wrong in what apprise logs: the exception of the socket, else its last words."""
    lines = [line.strip() for line in scrub(said).splitlines() if line.strip()]
    named = [line.partition("Exception: ")[2] for line in lines if "Exception: " in line]
    words = [line for line in lines if "ailed" in line or "error" in line.lower()]
    return (named or words or ["no reason is given"])[-1].rstrip(".")
