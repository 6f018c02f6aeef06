"""Who says so if nobody else can: a launcher that was killed, an image that is missing, a night without a run. Pure."""

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
"""How long a pod may wait for its place or its image before somebody hears of it: a Job's deadline removes it."""
WAITS, FAILED = "waits", "failed"
CONTAINER = "marts"
_DEADLINE = "DeadlineExceeded"


@dataclass(frozen=True)
class FailedRun:
    """Something that people have to hear, or that they have heard already."""

    run: str
    """What the run that failed, or never was, is called: by it, the same is not told twice."""
    job: Job | None
    """Is marked, so that it is told once."""
    error: MartsError | None
    """None if people have heard it from a build or a launcher."""
    mark: str = FAILED


def failed_runs(
    jobs: Sequence[Job],
    cronjobs: Sequence[CronJob],
    pods: Mapping[str, Sequence[Pod]],
    events: Mapping[str, Sequence[PodEvent]],
    now: datetime,
) -> list[FailedRun]:
    """Look at everything; ``pods`` and ``events`` by the name of their Job. Returns what is new."""
    results: list[FailedRun] = []
    for job in sorted(jobs, key=lambda item: item.name):
        own, about = pods.get(job.name, ()), events.get(job.name, ())
        if job.failed and job.announced != FAILED:
            results.append(FailedRun(job.name, job, _failed(job, own, about)))
        elif job.active and not job.announced and (stuck := _stuck(job, own, about, now)):
            results.append(FailedRun(job.name, job, stuck, WAITS))
    return results + [FailedRun(_last(item), None, _missed(item)) for item in cronjobs if is_missed(item, jobs, now)]


def _failed(job: Job, pods: Sequence[Pod], events: Sequence[PodEvent]) -> MartsError | None:
    """Describe why a Job failed, unless its last pod has told people, or they know that it did not start."""
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
    what = how or ": ".join(filter(None, (job.failed, job.message))) or "nobody knows why"
    hint = f"`kubectl describe job {job.name}`"
    return ServiceError(f"marts {job.command} failed: {what}", _where(job), hint)


def _put_off(job: Job, ended: Container) -> MartsError | None:
    """Describe why a build was put off until it had no try left: each try alone is nothing to tell.

    A deadline is told.
    """
    announced: Mapping[str, Any] = {}
    for line in ended.message.splitlines():
        message = read_line(line.strip())
        announced = message.get("error") or announced
    if announced.get("kind") == DeadlinePassed.__name__:
        return None
    why = f": {announced['what']} ({announced['where']})" if announced else ""
    hint = f"is another build stuck, or does a drop go on changing? `kubectl logs job/{job.name}`, `marts status`"
    return DeadlinePassed(f"each of its tries was put off{why}", _where(job), hint)


def _stuck(job: Job, pods: Sequence[Pod], events: Sequence[PodEvent], now: datetime) -> MartsError | None:
    """Describe what a Job waits for, if it has waited for long. Between two tries, or in a queue, it is not stuck."""
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
    what = "; ".join(dict.fromkeys(reasons)) or ("no reason is given" if waiting else "it has no pod")
    hint = f"`kubectl describe job {job.name}` and its pods"
    return ServiceError(f"it does not start: {what}", _where(job), hint)


def is_missed(cron: CronJob, jobs: Iterable[Job], now: datetime) -> bool:
    """Return whether a CronJob has begun nothing for too long. What it began and failed is told as that."""
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
    hint = (
        f"`kubectl describe cronjob {cron.name}`: is its schedule ({cron.schedule}) what you want, and is it blocked?"
    )
    return ServiceError(f"no run has begun for too long; the last good one: {last}", f"CronJob {cron.name}", hint)


def _main(pod: Pod) -> Container | None:
    """Return the container that runs marts, if it has ended; others may be beside it."""
    ended = [item for item in pod.containers if item.state == "terminated" and not item.init]
    return next((item for item in ended if item.name == CONTAINER), ended[0] if ended else None)


def _where(job: Job) -> str:
    return f"Job {job.name}"


def _since(then: datetime | None, now: datetime) -> timedelta:
    return now - then if then else timedelta(0)
