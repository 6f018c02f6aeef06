"""`marts job -- COMMAND …`: a command in a pod of a release on Kubernetes, with its settings and credentials."""

import sys
from typing import Annotated

import typer

from jobs.runtime.escaping import visible
from marts.errors import TryLater, UsageError
from marts.policy import nearest

_NOT_IN_A_JOB = {
    "build": "a build has its own: `kubectl create job --from=cronjob/NAME RUN` (docs/kubernetes.md)",
    **dict.fromkeys(("demo", "generate", "init", "job", "launch", "submit", "top", "watchdog"), "run it where you are"),
}
"""Commands that a Job of the chart cannot run, and what to do instead."""


def job(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="-- COMMAND …", help="Of marts, with its arguments")],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Of the release; that of kubectl's context by default")
    ] = "",
    release: Annotated[str, typer.Option(help="Name of the release, where the namespace has several")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only write the Job, for `kubectl create -f -`")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the log, and end with the command's exit code")] = True,
) -> None:
    """Run a command in the cluster, once: `marts job -- status`.

    It has the image, settings and credentials of a release, and none of your files; it is never tried again by itself.
    """
    from jobs.adapters.kubernetes import Kube, as_yaml
    from jobs.launch.one_off import INSTANCE, TEMPLATE, TEMPLATES, choose, follow, manifest_of

    _check(words, set(getattr(context.find_root().command, "commands", {})))
    kube = Kube(namespace)
    template = choose(kube.templates(TEMPLATES, TEMPLATE, INSTANCE), release, kube.namespace)
    manifest = manifest_of(template, words)
    if dry_run:
        typer.echo(as_yaml(manifest), nl=False)
        return
    built = kube.create_job(manifest)
    typer.echo(f"Job {built.name} in {kube.namespace}", err=True)
    if not wait:
        typer.echo(built.name)
        return
    try:
        code = follow(kube, built.name, _write, lambda text: typer.echo(text, err=True))
    except KeyboardInterrupt as error:
        hint = f"`kubectl -n {kube.namespace} logs -f job/{built.name}` follows it; `kubectl delete job` ends it"
        raise TryLater("no longer followed; it goes on", f"Job {built.name}", hint) from error
    raise typer.Exit(code)


def _check(words: list[str], known: set[str]) -> None:
    """Raise UsageError for a command that there is not, or that cannot run in a Job: none is created."""
    if words[0] not in known:
        raise UsageError(f"there is no command {words[0]!r}{nearest(words[0], known)}", "marts job", "`marts --help`")
    if words[0] in _NOT_IN_A_JOB:
        raise UsageError(f"{words[0]} does not run in a one-off Job", "marts job", _NOT_IN_A_JOB[words[0]])


def _write(part: bytes) -> None:
    """Write a part of the log: on a terminal without anything that controls it, elsewhere as it is."""
    if sys.stdout.isatty():
        typer.echo(visible(part.decode(errors="replace"), keep="\n\t"), nl=False)
    else:
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
