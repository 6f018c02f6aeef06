"""`marts notify …`: what people are told of builds."""

import getpass
import json
import platform
from datetime import UTC, datetime
from typing import Annotated

import typer

from jobs.cli.options import Config, Json, Target, Wide, configured, opened, show
from jobs.config.settings import Settings
from jobs.ports.notices import Notice, NoticeDelivery
from jobs.runtime.escaping import visible
from jobs.runtime.scrub import scrubbed
from marts.errors import MartsError, ServiceError, UsageError

app = typer.Typer(help="Notices about builds: test, list and send them.", no_args_is_help=True)


@app.command(name="test")
def try_it(
    to: Annotated[str | None, typer.Option(metavar="NAME", help="Only this address; all by default")] = None,
    config: Config = None,
) -> None:
    """Send a test notice to each address, now, and say which took it."""
    from jobs.report.delivery import NoOutbox, deliver, keep

    settings = configured(config)
    names = _names(settings, to)
    now = datetime.now(UTC)
    lines = [f"Sent by {getpass.getuser()} on {platform.node()} to try whether notices arrive. Do: nothing.", ""]
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
    _, failed = deliver(outbox, settings.notify, lambda: datetime.now(UTC))
    (after,) = outbox.notices()
    for name, item in after.deliveries.items():
        typer.echo(f"{name}: {'sent' if item.state == 'sent' else item.error}", err=item.state != "sent")
    if failed:
        raise ServiceError(
            f"{len(failed)} of {len(names)} addresses did not take it", "notify", "the lines above say why"
        )


@app.command(name="list")
def list_(
    target: Target = None,
    config: Config = None,
    limit: Annotated[int, typer.Option(min=1, help="How many notices to show")] = 20,
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """List the last notices: to whom they went, and what waits."""
    from jobs.cli import render

    settings = configured(config, target=target)
    settings.require("target")
    with opened(settings, read_only=True) as warehouse:
        notices = warehouse.last_notices(limit)
    if as_json:
        typer.echo(json.dumps([json.loads(notice.as_json()) for notice in notices], indent=2))
    else:
        show(render.notices(notices), stdout=True, wide=wide)


@app.command()
def send(target: Target = None, config: Config = None) -> None:
    """Send what waits, without a build: for a mail server that is there again."""
    from jobs.adapters.store.open import open_store
    from jobs.report.delivery import deliver
    from jobs.report.run_records import adopt_waiting

    settings = configured(config, target=target)
    settings.require("target")
    _names(settings, None)
    with opened(settings, create=True) as warehouse:  # what waits may be of a target that was never reached
        try:
            adopt_waiting(open_store(settings.state_uri, settings.s3), warehouse)
        except MartsError as error:
            typer.echo(visible(f"what waits in the state is not looked at: {scrubbed(error)}"), err=True)
        sent, failed = deliver(warehouse, settings.notify, lambda: datetime.now(UTC))
    typer.echo(f"{sent} sent, {len(failed)} wait")
    if failed:
        raise ServiceError(failed[0], "notify", "`marts notify list` shows all; the next run tries again")


def _names(settings: Settings, wanted: str | None) -> list[str]:
    """Return the addresses to write to. Raises UsageError if there is none."""
    names = list(settings.notify.to)
    if not names:
        hint = "run `marts secrets set notify.to.ops` with an address of apprise, such as mailtos://user:password@host?to=…"
        raise UsageError("nobody is to be told of anything", "notify.to", hint)
    if wanted and wanted not in names:
        raise UsageError(f"there is no address {wanted!r}", "--to", f"there is {', '.join(names)}")
    return [wanted] if wanted else names
