"""Find failures that nothing else reports: a killed launcher, a missing image, a missed run. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobs.launch import diagnose
from jobs.launch.submit import FAILURES, read_line
from jobs.ports.kubernetes import Container, CronJob, Job, Pod, PodEvent
from marts.errors import DeadlinePassed, MartsError, ServiceError, TryLater

BUILD = "build"
PATIENCE = timedelta(minutes=10)
"""How long a pod may wait for a node or its image before a notice: the Job's deadline would remove it unreported."""
WAITS, FAILED = "waits", "failed"
CONTAINER = "marts"
_DEADLINE = "DeadlineExceeded"


@dataclass(frozen=True)
class FailedRun:
    """A failed run, and whether it was already announced."""

    run: str
    """Name of the run that failed or never started: the same run is announced once."""
    job: Job | None
    """Annotated after the notice, so that it is announced once."""
    error: MartsError | None
    """None if the build or the launcher has already announced it."""
    mark: str = FAILED


def failed_runs(
    jobs: Sequence[Job],
    cronjobs: Sequence[CronJob],
    pods: Mapping[str, Sequence[Pod]],
    events: Mapping[str, Sequence[PodEvent]],
    now: datetime,
) -> list[FailedRun]:
    """Return the new failures; ``pods`` and ``events`` are keyed by the name of their Job."""
    results: list[FailedRun] = []
    for job in sorted(jobs, key=lambda item: item.name):
        own, about = pods.get(job.name, ()), events.get(job.name, ())
        if job.failed and job.announced != FAILED:
            results.append(FailedRun(job.name, job, _failed(job, own, about)))
        elif job.active and not job.announced and (stuck := _stuck(job, own, about, now)):
            results.append(FailedRun(job.name, job, stuck, WAITS))
    return results + [FailedRun(_last(item), None, _missed(item)) for item in cronjobs if is_missed(item, jobs, now)]


def _failed(job: Job, pods: Sequence[Pod], events: Sequence[PodEvent]) -> MartsError | None:
    """Return why a Job failed; None if its last pod has announced it, or if it was announced as not started."""
    last = max(pods, key=lambda pod: str(pod.created_at), default=None)
    ended = _main(last) if last else None
    code = ended.exit_code if ended else None
    if job.failed == _DEADLINE:
        return None if job.announced == WAITS else diagnose.late(_where(job))
    if job.command == BUILD and ended and code in FAILURES:
        return _put_off(job, ended) if code == TryLater.exit_code else None
    starved = diagnose.out_of_memory(pods, _where(job))
    if starved:
        return starved
    how = diagnose.ended(last) if last else "; ".join(event.message for event in events if event.warning)
    what = how or ": ".join(filter(None, (job.failed, job.message))) or "no reason given"
    hint = f"`kubectl describe job {job.name}`"
    return ServiceError(f"marts {job.command} failed: {what}", _where(job), hint)


def _put_off(job: Job, ended: Container) -> MartsError | None:
    """Return why all attempts of a build were deferred (exit code 75); a single one is not announced.

    None after a deadline: the launcher has announced it.
    """
    announced: Mapping[str, Any] = {}
    for line in ended.message.splitlines():
        message = read_line(line.strip())
        announced = message.get("error") or announced
    if announced.get("kind") == DeadlinePassed.__name__:
        return None
    why = f": {announced['what']} ({announced['where']})" if announced else ""
    hint = f"check for a stuck build or a drop that keeps changing: `kubectl logs job/{job.name}`, `marts status`"
    return DeadlinePassed(f"all its attempts were deferred{why}", _where(job), hint)


def _stuck(job: Job, pods: Sequence[Pod], events: Sequence[PodEvent], now: datetime) -> MartsError | None:
    """Return what a Job waits for, if it waits too long. Between two attempts or in a queue it is not stuck."""
    if job.suspended or any(pod.phase in ("Running", "Succeeded") for pod in pods):
        return None
    waiting = [pod for pod in pods if pod.phase in ("Pending", "")]
    if waiting:
        since = max(pod.created_at or now for pod in waiting)
    else:
        ends = [item.ended_at or pod.created_at or now for pod in pods for item in pod.containers or (Container(""),)]
        since = max(ends, default=job.created_at or now)
    if now - since <= PATIENCE:
        return None
    reasons = [*diagnose.waiting(waiting), *diagnose.warnings(events)]
    what = "; ".join(dict.fromkeys(reasons)) or ("no reason given" if waiting else "it has no pod")
    hint = f"`kubectl describe job {job.name}` and its pods"
    return ServiceError(f"it does not start: {what}", _where(job), hint)


def is_missed(cron: CronJob, jobs: Iterable[Job], now: datetime) -> bool:
    """Return whether a CronJob has started no run for too long. A run that failed is announced as a failure."""
    if cron.suspended or cron.max_age is None:
        return False
    oldest = timedelta(seconds=cron.max_age)
    if _since(cron.last_success or cron.created_at, now) <= oldest:
        return False
    return not any(job.owner == cron.name and _since(job.created_at, now) <= oldest for job in jobs)


def _last(cron: CronJob) -> str:
    return f"{cron.name}-since-{cron.last_success:%Y%m%dT%H%M}" if cron.last_success else f"{cron.name}-never"


def _missed(cron: CronJob) -> MartsError:
    last = f"{cron.last_success:%Y-%m-%d %H:%M} UTC" if cron.last_success else "never"
    hint = f"check its schedule ({cron.schedule}) and whether it is blocked: `kubectl describe cronjob {cron.name}`"
    return ServiceError(f"no run has started for too long; last success: {last}", f"CronJob {cron.name}", hint)


def _main(pod: Pod) -> Container | None:
    """Return the container that runs marts, if it has ended; sidecars may run beside it."""
    ended = [item for item in pod.containers if item.state == "terminated" and not item.init]
    return next((item for item in ended if item.name == CONTAINER), ended[0] if ended else None)


def _where(job: Job) -> str:
    return f"Job {job.name}"


def _since(then: datetime | None, now: datetime) -> timedelta:
    return now - then if then else timedelta(0)
