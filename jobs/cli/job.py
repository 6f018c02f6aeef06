"""`marts job -- COMMAND …`: run a command in a pod of a Helm release, with its settings and credentials."""

import sys
from typing import Annotated

import typer

from jobs.runtime.escaping import visible
from marts.errors import TryLater, UsageError

_NOT_IN_A_JOB = {
    "build": "builds have their own Jobs: `kubectl create job --from=cronjob/NAME RUN` (docs/kubernetes.md)",
    **dict.fromkeys(("demo", "generate", "init", "job", "launch", "submit", "top", "watchdog"), "run it locally"),
}
"""Commands that a Job of the chart cannot run, with what to do instead."""


def job(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="-- COMMAND …", help="Command of marts, with its arguments")],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the release; that of kubectl's context by default")
    ] = "",
    release: Annotated[str, typer.Option(help="Name of the release, if the namespace has several")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the Job, for `kubectl create -f -`")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the log and exit with the command's exit code")] = True,
) -> None:
    """Run a command once in the cluster: `marts job -- status`.

    It has the image, settings and credentials of a release and none of your files. It is never retried automatically.
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
        raise TryLater("no longer followed; it keeps running", f"Job {built.name}", hint) from error
    raise typer.Exit(code)


def _check(words: list[str], known: set[str]) -> None:
    """Raise UsageError for a command that does not exist or cannot run in a Job, before a Job is created."""
    from marts.policy import nearest

    if words[0] not in known:
        hint = "`marts --help` lists all commands"
        raise UsageError(f"unknown command {words[0]!r}{nearest(words[0], known)}", "marts job", hint)
    if words[0] in _NOT_IN_A_JOB:
        raise UsageError(f"{words[0]} cannot run in a one-off Job", "marts job", _NOT_IN_A_JOB[words[0]])


def _write(part: bytes) -> None:
    """Write a part of the log: with control characters escaped on a terminal, unchanged elsewhere."""
    if sys.stdout.isatty():
        typer.echo(visible(part.decode(errors="replace"), keep="\n\t"), nl=False)
    else:
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
