"""`marts sources …`: try how files are read."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from jobs.cli.options import Config, Json, PolicyFile, Source, Wide, configured, configured_policy, show
from marts.errors import EXIT_DATA

sources = typer.Typer(help="Try how files are read.", no_args_is_help=True)


@sources.command("try")
def try_(
    file: Annotated[str, typer.Argument(metavar="FILE|URI", help="A file, or s3://bucket/key")],
    limit: Annotated[int, typer.Option(min=1, help="Rows to show")] = 10,
    kind: Annotated[str | None, typer.Option(help="Kind of drop, if neither a block nor the folder says it")] = None,
    source: Source = None,
    config: Config = None,
    policy: PolicyFile = None,
    as_json: Json = False,
    wide: Wide = False,
) -> None:
    """Show the first rows of a file as a build reads them, which block holds, and what does not fit and why.

    Changes nothing. Exit code 65 if rows do not fit or the file cannot be read.
    """
    from jobs.cli.render_sources import trial as rendered
    from jobs.operations.sources import try_file

    settings = configured(config, source=source, policy=policy)
    trial = try_file(settings, configured_policy(settings), file, kind, limit)
    if as_json:
        typer.echo(json.dumps(asdict(trial), indent=2, default=str, ensure_ascii=False))
    else:
        show(rendered(trial), stdout=True, wide=wide)
    if trial.rejected or trial.bad:
        raise typer.Exit(EXIT_DATA)
