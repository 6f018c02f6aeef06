"""`marts notify …`: notices about builds."""

import getpass
import json
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.options import Config, Json, Wide, configured, opened, show, with_target
from jobs.runtime.escaping import visible
from jobs.runtime.scrub import scrubbed
from marts.errors import MartsError, ServiceError, UsageError

if TYPE_CHECKING:
    from jobs.config.settings import Settings

app = typer.Typer(help="Notices about builds: test, list and send them.", no_args_is_help=True)


@app.command(name="test")
def try_it(
    to: Annotated[str | None, typer.Option(metavar="NAME", help="Only this address; all by default")] = None,
    config: Config = None,
) -> None:
    """Send a test notice to each address and report which accepted it."""
    from jobs.ports.notices import Notice, NoticeDelivery
    from jobs.report.delivery import NoOutbox, deliver, files_of, keep

    settings = configured(config)
    names = _names(settings, to)
    now = datetime.now(UTC)
    lines = [f"Sent by {getpass.getuser()} on {platform.node()} to test whether notices arrive. Do: nothing.", ""]
    lines.append(f"Addresses: {', '.join(names)}.")
    notice = Notice(
        f"test-{now:%Y%m%dT%H%M%S}",
        "test",
        "info",
        now.isoformat(),
        "",
        "Martwright: this is a test",
        "\n".join(lines),
        deliveries={name: NoticeDelivery() for name in names},
    )
    outbox = NoOutbox()
    keep(outbox, [notice])
    _, failed = deliver(outbox, settings.notify, lambda: datetime.now(UTC), files_of(settings))
    (after,) = outbox.notices()
    for name, item in after.deliveries.items():
        typer.echo(f"{name}: {'sent' if item.state == 'sent' else item.error}", err=item.state != "sent")
    if failed:
        raise ServiceError(
            f"{len(failed)} of {len(names)} addresses did not accept it", "notify", "see the lines above"
        )


@app.command(name="list")
@with_target
def list_(
    settings: "Settings",
    limit: Annotated[int, typer.Option(min=1, help="Number of notices to show")] = 20,
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """List the last notices with the state of each delivery."""
    from jobs.cli import render

    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        notices = warehouse.last_notices(limit)
    if as_json:
        typer.echo(json.dumps([json.loads(notice.as_json()) for notice in notices], indent=2))
    else:
        show(render.notices(notices), stdout=True, wide=wide)


@app.command()
@with_target
def send(settings: "Settings") -> None:
    """Send pending notices without a build, for example when a mail server is back."""
    from jobs.adapters.store.open import open_store
    from jobs.report.delivery import deliver, files_of
    from jobs.report.run_records import adopt_waiting

    settings.require("target")
    _names(settings, None)
    with opened(settings, create=True) as warehouse:  # notices may be pending for a target that was never reached
        try:
            adopt_waiting(open_store(settings.state_uri, settings.s3), warehouse)
        except MartsError as error:
            typer.echo(visible(f"cannot read pending notices in the state: {scrubbed(error)}"), err=True)
        sent, failed = deliver(warehouse, settings.notify, lambda: datetime.now(UTC), files_of(settings))
    typer.echo(f"{sent} sent, {len(failed)} pending")
    if failed:
        raise ServiceError(failed[0], "notify", "`marts notify list` shows all; the next run retries")


def _names(settings: "Settings", wanted: str | None) -> list[str]:
    """Return the names of the addresses to notify. Raise UsageError if none is configured."""
    names = list(settings.notify.to)
    if not names:
        hint = "run `marts secrets set notify.to.ops` with an apprise address: mailtos://user:password@host?to=…"
        raise UsageError("no address is configured", "notify.to", hint)
    if wanted and wanted not in names:
        raise UsageError(f"unknown address {wanted!r}", "--to", f"configured: {', '.join(names)}")
    return [wanted] if wanted else names
