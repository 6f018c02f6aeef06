"""`marts submit`, `marts launch`, `marts watchdog`: builds on a Ray cluster and on Kubernetes."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from jobs.cli.options import (
    Config,
    Json,
    LastDay,
    PolicyFile,
    Source,
    State,
    Stop,
    Target,
    configured,
    configured_policy,
    opened,
)
from jobs.cli.progress import voice
from jobs.runtime.escaping import visible
from marts.errors import DeadlinePassed, Defect, MartsError, TryLater

if TYPE_CHECKING:
    from jobs.config.settings import Settings
    from jobs.launch.launcher import BuildOutcome
    from jobs.run.context import Request

app = typer.Typer(help="Start a build from a Kubernetes Job and wait until it ends.", no_args_is_help=True)

Address = Annotated[
    str | None,
    typer.Option(help="http://host:8265; by default RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or Ray on this machine"),
]
Arguments = Annotated[list[str] | None, typer.Argument(metavar="[-- ARGUMENTS]", help="Arguments of marts build")]
Pod = Annotated[str, typer.Option(envvar="POD_NAME", help="The launcher's own pod")]
Namespace = Annotated[str, typer.Option(envvar="POD_NAMESPACE", help="Namespace of the pod")]
JobName = Annotated[str, typer.Option(envvar="JOB_NAME", help="Job that owns the pod")]

_log = logging.getLogger("marts.launch")
_EVERY, _PATIENCE = 1.0, 120.0
"""Seconds between two polls of a job, and until a cluster that does not respond is given up."""


def submit(
    source: Source = None,
    target: Target = None,
    state: State = None,
    as_of: LastDay = None,
    config: Annotated[str | None, typer.Option(help="Settings file, as a path on the cluster")] = None,
    policy: Annotated[str | None, typer.Option(help="Policy file (TOML), as a path on the cluster")] = None,
    pack: Annotated[str | None, typer.Option(help="Shipped pack, or a folder as a path on the cluster")] = None,
    mart: Annotated[str | None, typer.Option(help="Build only this mart; `marts pack check` names them")] = None,
    expectations: Annotated[str | None, typer.Option(help="Folder of suites, as a path on the cluster")] = None,
    rebuild: Annotated[bool, typer.Option(help="Rebuild everything from the drops")] = False,
    rescan: Annotated[bool, typer.Option(help="Scan drops again that were judged by older row rules")] = False,
    address: Address = None,
    working_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Upload this folder, such as a checkout (.rayignore applies)")
    ] = None,
    name: Annotated[
        str, typer.Option("--id", help="Submission id; by default a hash of the arguments, so that equal ones attach")
    ] = "",
    wait: Annotated[bool, typer.Option(help="Follow the log and exit with the build's exit code")] = True,
    as_json: Json = False,
) -> None:
    """Submit a build to a Ray cluster. The same command attaches to it while it runs.

    Source, target, settings and credentials are those of the cluster's nodes; options given here override them.
    """
    from jobs.adapters.ray.jobs import RayJobs
    from jobs.launch.submit import Submission, submitted

    given = {"source": source, "target": target, "state": state, "config": config, "policy": policy, "mart": mart}
    given |= {"pack": pack, "expectations": expectations, "as-of": as_of}
    flags = [f for key, value in given.items() if value for f in (f"--{key}", value)]
    flags += [flag for flag, wanted in (("--rebuild", rebuild), ("--rescan", rescan)) if wanted]
    build = Submission(tuple(flags), datetime.now(UTC).date(), name, working_dir)
    build.check()
    try:
        jobs = RayJobs(address)
        submission, new = submitted(jobs, build)
        typer.echo(f"job {submission} is {'submitted' if new else 'already running: following it'}", err=True)
        if not wait:
            typer.echo(json.dumps({"submission": submission, "new": new}) if as_json else submission)
            return
        code = _followed(jobs, submission, as_json)
    except KeyboardInterrupt as error:
        hint = "`marts submit` with the same arguments follows it again; `ray job list` shows it"
        raise TryLater("stopped by SIGINT; a submitted job keeps running", "marts submit", hint) from error
    raise typer.Exit(code)


def _followed(jobs: Any, submission: str, as_json: bool) -> int:
    """Follow a job until it ends. Return the build's exit code."""
    from jobs.launch import submit as submitting

    tail = submitting.Tail(jobs, submission, _line_writer())
    while True:
        try:
            run = submitting.wait(jobs, submission, _EVERY, _PATIENCE)
            break
        except KeyboardInterrupt:
            _ask_to_stop(jobs, submission)
    tail.finish()
    error = submitting.ended(run, tail.closing, tail.lines)
    code = error.exit_code if error else 0
    if as_json:
        announced = {"submission": submission, "status": run.status, "exit_code": code}
        typer.echo(json.dumps({**announced, **{key: tail.closing.get(key) for key in ("run_id", "outcome")}}))
    if error and not tail.announced:
        raise error
    return code


def _ask_to_stop(jobs: Any, submission: str) -> None:
    """Stop the job if the user confirms it. Otherwise leave it running and raise TryLater."""
    hint = f"`marts submit` with the same arguments follows it again; `ray job stop {submission}` stops it"
    stop = False
    if sys.stdin.isatty():
        try:
            stop = typer.confirm("\nStop the job too?", err=True)
        except typer.Abort:
            stop = False
    if not stop:
        raise TryLater("no longer followed; it keeps running", f"job {submission}", hint)
    jobs.stop(submission)
    typer.echo("stop requested; waiting for the job to end", err=True)


def _line_writer() -> Callable[[str], None]:
    """Return a writer of log lines: as text on a terminal, unchanged elsewhere."""
    from jobs.launch.submit import read_line

    terminal = sys.stderr.isatty()

    def write(line: str) -> None:
        if terminal:
            announced = read_line(line)
            if {"time", "message"} <= set(announced):
                line = f"{str(announced['time'])[11:19]} {announced['message']}"
            line = visible(line, keep="\t")
        typer.echo(line, err=True)

    return write


@app.command("rayjob")
def launch_rayjob(
    template: Annotated[Path, typer.Option(help="RayJob to create, as YAML")],
    job: JobName,
    pod: Pod,
    namespace: Namespace,
    every: Annotated[float, typer.Option(min=0.01, help="Seconds between two polls")] = 2,
    operator: Annotated[float, typer.Option(help="Seconds until KubeRay must report a first status")] = 120,
    grace: Annotated[float, typer.Option(help="Seconds after a KubeRay deadline until the launcher acts")] = 120,
    config: Config = None,
    policy: PolicyFile = None,
) -> None:
    """Run one build on its own Ray cluster (a KubeRay RayJob) and exit with the build's exit code."""
    from jobs.adapters.kubernetes import Kube, read_manifest
    from jobs.adapters.ray.jobs import RayJobs
    from jobs.launch.launcher import LauncherPod, RayJobLauncher, Timeouts, manifest_of, owner_uid

    stop = Stop()
    stop.listen()  # first: PID 1 of a container ignores signals that it does not handle
    own, (request, today) = LauncherPod(pod, namespace, job), _scheduled(config, policy, job)
    with _telling(request):
        kube = Kube(namespace)
        manifest = manifest_of(read_manifest(template), own, owner_uid(kube, own), request.as_of, today)
    with _telling(replace(request, as_of=date.fromisoformat(manifest["spec"]["metadata"]["as_of"]))) as end:
        timeouts = Timeouts(every, operator, grace)
        end(RayJobLauncher(kube, own, manifest, RayJobs, _say, timeouts, stop.check).run())


@app.command("submit")
def launch_submit(
    address: Annotated[str, typer.Option(help="Ray dashboard: http://host:8265")],
    job: JobName,
    pod: Pod,
    namespace: Namespace,
    arguments: Arguments = None,
    config: Config = None,
    policy: PolicyFile = None,
) -> None:
    """Submit a build to an existing Ray cluster and exit with the build's exit code."""
    from jobs.adapters.kubernetes import Kube
    from jobs.adapters.ray.jobs import RayJobs
    from jobs.launch.launcher import LauncherPod, launch_on, taken_away
    from jobs.launch.submit import Submission, day_of, with_day
    from jobs.runtime.retries import retried

    stop = Stop()
    stop.listen()
    own, (request, today) = LauncherPod(pod, namespace, job), _scheduled(config, policy, job)
    with _telling(request):
        build = Submission(with_day(arguments or (), request.as_of, today), request.as_of, job)
        build.check()
    with _telling(replace(request, as_of=date.fromisoformat(day_of(build.arguments)))) as end:
        stop.check()
        jobs = retried(lambda: RayJobs(address), _PATIENCE)
        end(launch_on(jobs, build, _say, lambda: taken_away(Kube(namespace), own), _EVERY, _PATIENCE))


@app.command("local")
def launch_local(job: JobName, arguments: Arguments = None, config: Config = None, policy: PolicyFile = None) -> None:
    """Build in this pod on a local Ray cluster. The build replaces this process."""
    from jobs.launch.submit import with_day

    request, today = _scheduled(config, policy, job)
    words = [sys.executable, "-m", "jobs.build", *with_day(arguments or (), request.as_of, today)]
    sys.stderr.flush()
    os.execv(sys.executable, words)  # noqa: S606 - our own interpreter, our own module


def watchdog(
    selector: Annotated[str, typer.Option(help="Label selector of the Jobs and CronJobs to check")],
    namespace: Namespace,
    config: Config = None,
    policy: PolicyFile = None,
) -> None:
    """Report Kubernetes Jobs that failed or do not start and could not report it themselves."""
    from jobs.adapters.kubernetes import Kube
    from jobs.launch.watchdog import FAILED, failed_runs
    from jobs.run.lifecycle import refused

    request = _request(config, policy, "watchdog")
    now, kube = datetime.now(UTC), Kube(namespace)
    jobs, cronjobs = kube.jobs(selector), kube.cronjobs(selector)
    wanted = [item for item in jobs if item.announced != FAILED and (item.failed or item.active)]
    pods = {item.name: kube.pods(f"batch.kubernetes.io/job-name={item.name}") for item in wanted}
    events = {item.name: kube.events([item.name, *(pod.name for pod in pods[item.name])]) for item in wanted}
    result = failed_runs(jobs, cronjobs, pods, events, now)
    failed: MartsError | None = None
    for finding in result:
        if finding.error:
            refused(replace(request, run_id=finding.run), finding.error, lambda: opened(request.settings))
        if finding.job:
            try:
                kube.mark_announced(finding.job, finding.mark)
            except MartsError as error:  # mark the other Jobs first
                failed = error
    new = sum(finding.error is not None for finding in result)
    fields = {"event": "watchdog", "jobs": len(jobs), "cronjobs": len(cronjobs), "new": new}
    _log.info("%d Jobs, %d CronJobs, %d findings", len(jobs), len(cronjobs), new, extra={"fields": fields})
    if failed:
        raise failed


def _request(config: str | None, policy: str | None, job: str) -> "Request":
    """Read the settings as the build will."""
    from jobs.run.context import Request
    from marts.policy import Policy

    settings = configured(config, policy=policy)
    settings.require("source", "target")
    voice(settings.log)
    _know_credentials(settings)
    now = datetime.now(UTC)
    return Request(settings, Policy(), now.date(), job, lambda: datetime.now(UTC))


def _scheduled(config: str | None, policy: str | None, job: str) -> "tuple[Request, date]":
    """Read the settings and the policy as the build will. Return also the day that the Job was scheduled for.

    An invalid policy is reported here, because no build starts.
    """
    from jobs.config.days import resolved
    from jobs.launch.launcher import scheduled_day
    from jobs.run.lifecycle import refused

    request = _request(config, policy, job)
    settings = request.settings
    try:
        policy_ = configured_policy(settings)
        today = scheduled_day(job, datetime.now(UTC), ZoneInfo(policy_.business_timezone))
    except MartsError as error:
        refused(request, error, lambda: opened(settings))
        raise
    return replace(request, policy=policy_, as_of=resolved(settings.as_of, today)), today


def _know_credentials(settings: "Settings") -> None:
    """Open the credentials so that they are removed from the output of pods, KubeRay and Ray."""
    s3 = settings.s3
    for secret in (
        s3.access_key,
        s3.secret_key,
        s3.session_token,
        settings.mysql.password,
        settings.notify.heartbeat,
        *settings.notify.to.values(),
    ):
        if secret:
            try:
                secret.reveal()
            except MartsError as error:
                _log.warning("cannot open a credential: %s", error)


@contextmanager
def _telling(request: "Request") -> Iterator[Callable[["BuildOutcome"], None]]:
    """Report an error before, around or instead of a build, once."""
    from jobs.run.lifecycle import refused

    def end(ended: "BuildOutcome") -> None:
        error = ended.error
        if error is None:
            _log.info("the build succeeded", extra={"fields": {"event": "launched", "exit_code": 0}})
            return
        error.announced = ended.announced or _recorded(request.settings, ended.submission)
        raise error

    try:
        yield end
    except Exception as problem:
        error = problem if isinstance(problem, MartsError) else _defect(problem)
        if not error.announced and (isinstance(error, DeadlinePassed) or not isinstance(error, TryLater)):
            refused(request, error, lambda: opened(request.settings))
        _close(error)
        raise


def _close(error: MartsError) -> None:
    """Write the last line. It is short: the watchdog reads it from the pod's termination message of 2 KiB."""
    brief = {"kind": type(error).__name__, "what": error.what[:300], "where": error.where[:200]}
    fields = {"event": "ended", "exit_code": error.exit_code, "error": brief}
    _log.error("ended with exit code %d: %s", error.exit_code, str(error)[:300], extra={"fields": fields})
    error.announced = True


def _defect(problem: Exception) -> Defect:
    return Defect(f"{type(problem).__name__}: {problem}", "marts launch", "please report it with the log")


def _recorded(settings: "Settings", submission: str) -> bool:
    """Return whether a build recorded its outcome: then it sent notices too."""
    if not submission:
        return False
    try:
        with opened(settings, read_only=True) as warehouse:
            reports = [json.loads(run.report or "{}") for run in warehouse.runs(20)]
    except MartsError:
        return False
    return any(item.get("submission") == submission and item.get("exit_code") for item in reports)


def _say(line: str) -> None:
    """Write a line of the build's log to stderr, so that kubectl logs shows it with the launcher's."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
