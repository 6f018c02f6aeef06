"""`marts serve`: pages of the live marts, for people who ask questions."""

import threading
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.options import Stop, with_target
from jobs.cli.progress import voice
from marts.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.adapters.web import Doors
    from jobs.config.settings import Settings
    from jobs.pages.live import Live
    from jobs.ports.store import Store

_FRESH = 4
"""Looks for another publication that may fail until the pages are not ready any more."""


_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine in addresses."""


@with_target
def serve(
    settings: "Settings",
    bind: Annotated[str | None, typer.Option(help="Address to listen at; 127.0.0.1 by default")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 8700 by default, 0 for a free one")] = None,
) -> None:
    """Serve the dashboard of the live marts, read only, until Ctrl-C."""
    settings.require("target")
    serve_pages(settings, bind, port)


def serve_pages(settings: "Settings", bind: str | None = None, port: int | None = None) -> None:
    """Serve the dashboard of a target until a signal."""
    from jobs.adapters import web
    from jobs.adapters.charts.drawing import prepare
    from jobs.adapters.prometheus import ServerMetrics
    from jobs.pages.site import Site
    from jobs.pages.written import WrittenPages

    Stop().listen()  # first: PID 1 of a container ignores signals that it does not handle
    voice(settings.log)
    threading.Thread(target=prepare, daemon=True).start()
    host = settings.pages.bind if bind is None else bind
    doors = _doors(settings, host)
    live = _live(settings)
    state = live.look()
    if state.trouble and state.publication is None and not state.trouble.is_build:
        typer.echo(f"nothing to show yet: {state.trouble.what}", err=True)
    live.watch(settings.pages.poll_seconds)
    reports, metrics = _opener(settings, lambda: settings.reports_uri), ServerMetrics()
    names = web.is_loopback(host) and not settings.pages.auth if settings.pages.names is None else settings.pages.names
    written = WrittenPages(reports if names else None, _opener(settings, lambda: settings.docs_uri))
    site = Site(live, _now, settings.pages.poll_seconds * _FRESH, reports, written, metrics.exposed)
    started = partial(_announce, host, settings.domain.name, doors)
    web.serve(site.respond, doors, host, settings.pages.port if port is None else port, started, metrics.observe)
    live.end()


def _announce(host: str, pack: str, doors: "Doors", port: int) -> None:
    host_name = f"[{host}]" if ":" in host else host
    typer.echo(f"http://{host_name}:{port}/{pack}")
    if doors.door == "token":
        typer.echo("open it with ?token=… once: the token is pages.token", err=True)
    typer.echo("read only; Ctrl-C ends it", err=True)


def _live(settings: "Settings") -> "Live":
    from jobs.adapters.warehouse.open import open_warehouse
    from jobs.config.packs import required_dashboard
    from jobs.pages.live import Live

    pack = settings.domain
    dashboard = required_dashboard(pack)
    opener = partial(open_warehouse, settings.target or "", settings.mysql, pack, True, 0, False)
    return Live(pack, dashboard, opener, _now)


def _opener(settings: "Settings", uri: "Callable[[], str]") -> "Callable[[], Store] | None":
    """Return what opens a folder of pages; None if no setting says where it is: the server does without."""
    from jobs.adapters.store.open import open_store

    try:
        place = uri()
    except UsageError:
        return None
    return lambda: open_store(place, settings.s3)


def _doors(settings: "Settings", host: str) -> "Doors":
    """Return who may read. Raise UsageError for an address of others without a choice."""
    from jobs.adapters.web import Doors, is_loopback

    pages = settings.pages
    if not pages.auth and not is_loopback(host):
        hint = 'set pages.auth: "token" with pages.token, "proxy" with pages.proxies, or "none" for everybody'
        raise UsageError("everybody who reaches it could read the figures", f"--bind {host}", hint)
    if pages.auth == "token" and not pages.token:
        raise UsageError("pages.token is missing", "pages.auth", "seal one: marts secrets set pages.token")
    if pages.auth == "none":
        typer.echo('pages.auth is "none": everybody who reaches this address can read the figures', err=True)
    token = pages.token.reveal if pages.token else str
    token()  # an unreadable one is reported now
    hosts = () if pages.auth else (*_OWN_NAMES, host)
    return Doors(pages.auth or "none", token, pages.proxies, pages.embed, hosts)


def _now() -> datetime:
    return datetime.now(UTC)
