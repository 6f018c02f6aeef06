"""Who says so if nobody else can: a launcher that was killed, an image that is missing, a night without a run. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs import diagnose
from jobs.observed import CronJob, Event, Job, Pod
from jobs.submit import EXIT_CODES
from marts.errors import MartsError, ServiceError

BUILD = "build"
PATIENCE = timedelta(minutes=10)
"""How long a pod may wait for its place or its image before somebody hears of it: a Job's deadline removes it."""
_DEADLINE = "DeadlineExceeded"


@dataclass(frozen=True)
class Finding:
    """Something that people have to hear, or that they have heard already."""

    run: str
    """What the run that failed, or never was, is called: by it, the same is not told twice."""
    job: Job | None
    """Is marked, so that it is told once."""
    error: MartsError | None
    """None if people have heard it from a build or a launcher."""


def findings(
    jobs: Sequence[Job],
    cronjobs: Sequence[CronJob],
    pods: Mapping[str, Sequence[Pod]],
    events: Mapping[str, Sequence[Event]],
    now: datetime,
) -> list[Finding]:
    """Look at everything; ``pods`` and ``events`` by the name of their Job. Gives what is new."""
    found: list[Finding] = []
    for job in sorted(jobs, key=lambda one: one.name):
        if job.told:
            continue
        mine, about = pods.get(job.name, ()), events.get(job.name, ())
        if job.failed:
            found.append(Finding(job.name, job, _failed(job, mine, about)))
        elif job.active and (stuck := _stuck(job, mine, about, now)):
            found.append(Finding(job.name, job, stuck))
    return found + [Finding(_last(one), None, _missed(one)) for one in cronjobs if is_missed(one, jobs, now)]


def _failed(job: Job, pods: Sequence[Pod], events: Sequence[Event]) -> MartsError | None:
    """Say why a Job failed, unless its last pod ended by itself: then it has said so."""
    last = max(pods, key=lambda pod: str(pod.created_at), default=None)
    code = _exit_code(last) if last else None
    if job.failed == _DEADLINE:
        return diagnose.late(f"Job {job.name}")
    if job.command == BUILD and code in EXIT_CODES:
        return None
    starved = diagnose.out_of_memory(pods)
    if starved:
        return starved
    how = diagnose.ended(last) if last else "; ".join(event.message for event in events if event.warning)
    what = how or ": ".join(filter(None, (job.failed, job.message))) or "nobody knows why"
    hint = f"`kubectl describe job {job.name}`; the live marts are untouched, and a build goes on from what is done"
    return ServiceError(f"it failed: {what}", f"Job {job.name}", hint)


def _stuck(job: Job, pods: Sequence[Pod], events: Sequence[Event], now: datetime) -> MartsError | None:
    """Say what a Job waits for, if it has waited for long."""
    alive = [pod for pod in pods if pod.phase in ("Pending", "Running", "")]
    old = [pod for pod in alive if pod.phase != "Running" and _since(pod.created_at, now) > PATIENCE]
    if alive and not old:
        return None
    if not alive and _since(job.created_at, now) <= PATIENCE:
        return None
    reasons = [*diagnose.waiting(old), *diagnose.warnings(events)]
    what = "; ".join(dict.fromkeys(reasons)) or ("it has no pod" if not alive else "no reason is given")
    hint = f"`kubectl describe job {job.name}` and its pods; the live marts are untouched"
    return ServiceError(f"it does not start: {what}", f"Job {job.name}", hint)


def is_missed(cron: CronJob, jobs: Iterable[Job], now: datetime) -> bool:
    """Tell whether a CronJob has begun nothing for too long. What it began and failed is told as that."""
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


def _exit_code(pod: Pod) -> int | None:
    return next((one.exit_code for one in pod.containers if one.state == "terminated"), None)


def _since(then: datetime | None, now: datetime) -> timedelta:
    return now - then if then else timedelta(0)
