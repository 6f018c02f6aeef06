"""The launcher: run one build as a RayJob, wait for its end, report why it failed and return its exit code."""

import copy
import hashlib
import itertools
import logging
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from jobs.adapters.kubernetes import Exists
from jobs.launch import diagnose, submit
from jobs.launch.submit import Jobs, Tail, day_of, refuse_passwords, with_day
from jobs.ports.kubernetes import Pod, PodEvent, RayJob, RayJobRun
from marts.errors import MartsError, ServiceError, Stopped, TryLater, UsageError

_log = logging.getLogger("marts.launch")

_FOR_GOOD = (2, 65, 70)
"""Exit codes that a retry would end with, too."""
_NAME = 47
"""Maximum length of the name of a RayJob in KubeRay, in characters."""
_LAST = 30.0
"""Seconds that a build has to end after a stop request: the launcher's pod has twice as many."""
_PODS = 10
"""Maximum number of pods whose events are read: a hundred waiting pods share one reason."""
_GONE = 120.0
"""Seconds to wait for the deletion of an old RayJob."""
_MINUTES = re.compile(r"-([0-9]{7,9})$")
_AROUND = timedelta(days=7), timedelta(hours=1)


class Kube(Protocol):
    """Requests of a launcher to Kubernetes."""

    def create_rayjob(self, manifest: Mapping[str, Any]) -> RayJob: ...

    def rayjob(self, name: str) -> RayJob | None: ...

    def delete_rayjob(self, name: str, uid: str) -> None: ...

    def pod(self, name: str) -> Pod | None: ...

    def pods(self, selector: str) -> tuple[Pod, ...]: ...

    def events(self, about: Iterable[str]) -> tuple[PodEvent, ...]: ...

    def last_words(self, pod: Pod) -> Pod: ...


@dataclass(frozen=True)
class Timeouts:
    """Timeouts of a launcher, in seconds."""

    every: float = 2.0
    """Between two polls."""
    operator: float = 120.0
    """For a first status from KubeRay."""
    grace: float = 120.0
    """After a deadline of KubeRay, until the launcher acts itself; also for KubeRay to report the end of the job."""
    look: float = 10.0
    """Between two polls of pods while a cluster starts."""


@dataclass(frozen=True)
class LauncherPod:
    """The launcher's own pod."""

    pod: str
    namespace: str
    job: str
    """Name of the Job that it belongs to."""


@dataclass
class BuildOutcome:
    """How a build ended."""

    error: MartsError | None = None
    announced: bool = False
    """Whether the build has sent a notice itself."""
    submission: str = ""


def scheduled_day(job: str, now: datetime, zone: Any) -> date:
    """Return the business day of a scheduled run: a CronJob puts the scheduled minute at the end of the Job's name.

    A late run, or a retry after midnight, therefore keeps its day. A Job created by hand gets today.
    """
    result = _MINUTES.search(job)
    if result:
        meant = datetime.fromtimestamp(int(result[1]) * 60, now.tzinfo)
        if now - _AROUND[0] <= meant <= now + _AROUND[1]:
            return meant.astimezone(zone).date()
    return now.astimezone(zone).date()


def manifest_of(
    template: Mapping[str, Any], own: LauncherPod, owner_uid: str, as_of: date, today: date | None = None
) -> dict[str, Any]:
    """Return the RayJob of this Job, from the chart's template. The Job owns it: it is deleted with the Job.

    ``as_of`` is the day of the build unless the template names one; a word in it counts from ``today``.
    """
    try:
        built = copy.deepcopy(dict(template))
        meta, spec = built["metadata"], built["spec"]
        words = tuple(shlex.split(spec["entrypoint"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"is not a RayJob: {error!r}", "template", "use that of the chart's ConfigMap") from error
    meta.update(name=short_name(own.job), namespace=own.namespace)
    meta.pop("generateName", None)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": own.job, "uid": owner_uid}
    meta["ownerReferences"] = [{**owner, "controller": False, "blockOwnerDeletion": False}]
    refuse_passwords(words)
    words = with_day(words, as_of, today)
    spec["entrypoint"] = shlex.join(words)
    spec["metadata"] = {**(spec.get("metadata") or {}), "as_of": day_of(words), "job": own.job}
    return built


def short_name(job: str) -> str:
    """Return the name of the Job, shortened with a hash if it is too long for KubeRay."""
    if len(job) <= _NAME:
        return job
    digest = hashlib.blake2b(job.encode(), digest_size=4).hexdigest()
    return f"{job[: _NAME - 9].rstrip('-.')}-{digest}"


@dataclass
class _Watch:
    """What a launcher has observed so far."""

    job: RayJob
    begun: float
    """When it was claimed, or left a queue, on the monotonic clock."""
    blank_since: float = 0.0
    """Since when no operator has written a status; 0 if one has."""
    attempt: tuple[int, str] = (-1, "")
    attempt_begun: float = 0.0
    tail: Tail | None = None
    tail_of: str = ""
    pods: tuple[Pod, ...] = ()
    events: tuple[PodEvent, ...] = ()
    looked: float = -1e9
    silent_since: float = 0.0
    """Since when Ray has reported the end, but KubeRay has not; 0 otherwise."""
    warned: set[str] = field(default_factory=set)


class RayJobLauncher:
    """Run one build as a RayJob."""

    def __init__(
        self,
        kube: Kube,
        own: LauncherPod,
        manifest: Mapping[str, Any],
        jobs_of: Callable[[str], Jobs],
        say: Callable[[str], None],
        timeouts: Timeouts = Timeouts(),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """``jobs_of`` returns the jobs of the Ray cluster at a dashboard's address; ``say`` receives the build's log.

        ``check`` raises Stopped after a stop request.
        """
        self._kube, self._own, self._manifest, self._jobs_of = kube, own, manifest, jobs_of
        self._say, self._timeouts, self._check = say, timeouts, check
        self._name = str(manifest["metadata"]["name"])
        spec = manifest["spec"]
        self._start = float(spec.get("preRunningDeadlineSeconds") or 1e9)
        attempts = int(spec.get("backoffLimit") or 0) + 1
        self._whole = float(spec.get("activeDeadlineSeconds") or 1e9) * attempts

    def run(self) -> BuildOutcome:
        """Create the RayJob, or attach to the existing one, and wait for its end. Raises Stopped."""
        job: RayJob | None = None
        try:
            self._check()
            job = self._claim()
            return self._wait(_Watch(job, time.monotonic()))
        except Stopped:
            self._stopped(job)
            raise

    def _claim(self) -> RayJob:
        """Create the RayJob, or attach to an existing one. Replace one that has failed or belongs to another Job."""
        end = time.monotonic() + _GONE
        while True:
            try:
                job = self._kube.create_rayjob(self._manifest)
            except Exists:
                job_there = self._kube.rayjob(self._name)
            else:
                _log.info("RayJob %s is created", job.name, extra={"fields": {"event": "launched", "rayjob": job.name}})
                return job
            if job_there and self._is_ours(job_there):
                _log.info("RayJob %s exists already: attaching to it", job_there.name)
                return job_there
            if time.monotonic() > end:
                hint = f"`kubectl delete rayjob {self._name}`; check that the KubeRay operator runs: it must release it"
                raise ServiceError(f"an old RayJob was not deleted in {_GONE:.0f} s", self._where, hint)
            if job_there and not job_there.deleting:
                _log.info("RayJob %s has failed or belongs to another Job: deleting it", job_there.name)
                self._kube.delete_rayjob(job_there.name, job_there.uid)
            time.sleep(self._timeouts.every)
            self._check()

    def _is_ours(self, job: RayJob) -> bool:
        """Return whether a RayJob belongs to this Job and has not failed permanently."""
        own = {item["uid"] for item in self._manifest["metadata"]["ownerReferences"]}
        return not job.deleting and job.owner_uid in own and not (job.over and not job.good)

    @property
    def _where(self) -> str:
        """Name of the build in errors: the same in launcher and watchdog, and each night except for the number."""
        return f"Job {self._own.job}"

    def _wait(self, seen: _Watch) -> BuildOutcome:
        while True:
            self._check()
            try:
                job = self._kube.rayjob(self._name)
            except UsageError as error:  # it worked before, so it may pass: the next pod attaches to the RayJob
                raise ServiceError(error.what, error.where, error.hint) from error
            if job is None or job.uid != seen.job.uid or job.deleting:
                return self._end(seen, TryLater("its RayJob was deleted", self._where, "run the Job again"))
            self._notice(seen, job)
            ended = self._over(seen) or self._overdue(seen)
            if ended:
                return ended
            time.sleep(self._timeouts.every)

    def _notice(self, seen: _Watch, job: RayJob) -> None:
        """Process a new status: log changes, follow the log of a new attempt, inspect pods while they start."""
        if (job.deployment, job.status, job.reason) != (seen.job.deployment, seen.job.status, seen.job.reason):
            states = " ".join(filter(None, (job.deployment or "new", job.status, job.reason)))
            _log.info("RayJob %s: %s", job.name, states, extra={"fields": {"event": "rayjob", "state": job.deployment}})
        if (job.failed, job.job_id) != seen.attempt and job.deployment not in ("Retrying", "Failed"):
            seen.attempt, seen.attempt_begun = (job.failed, job.job_id), time.monotonic()
        if job.deployment == "Suspended":  # held in a queue, such as Kueue's; KubeRay restarts its clock, too
            seen.begun = seen.attempt_begun = time.monotonic()
        seen.job = job
        if job.job_id and job.dashboard and job.status and seen.tail_of != job.job_id:
            self._follow(seen)
        running = job.status == "RUNNING"
        if (
            job.cluster
            and not job.over
            and time.monotonic() - seen.looked >= self._timeouts.look * (3 if running else 1)
        ):
            self._look(seen)

    def _follow(self, seen: _Watch) -> None:
        if seen.tail:
            seen.tail.finish()
        try:
            jobs = self._jobs_of(f"http://{seen.job.dashboard.removeprefix('http://')}")
        except MartsError as error:
            if str(error) not in seen.warned:
                seen.warned.add(str(error))
                _log.warning("the log cannot be followed yet: %s", error)
            return
        seen.tail, seen.tail_of = Tail(jobs, seen.job.job_id, self._say), seen.job.job_id

    def _look(self, seen: _Watch) -> None:
        """Read pods and events now: KubeRay removes them at the end, and with them the reasons."""
        seen.looked = time.monotonic()
        pods = self._kube.pods(f"ray.io/cluster={seen.job.cluster}")
        if not pods and seen.job.over:
            return  # keep what was read before
        seen.pods = tuple(map(self._kube.last_words, pods))
        waiting = [pod.name for pod in pods if pod.phase != "Running"]
        seen.events = self._kube.events([seen.job.cluster, self._name, *waiting[:_PODS]])
        for reason in diagnose.waiting(seen.pods):
            if reason not in seen.warned:
                seen.warned.add(reason)
                _log.warning("%s", reason)

    def _over(self, seen: _Watch) -> BuildOutcome | None:
        job = seen.job
        if job.good:
            return self._end(seen, None)
        if job.deployment == "Complete":
            hint = "the live marts are untouched; run the Job again to continue"
            return self._end(seen, TryLater("its job on the cluster was stopped", self._where, hint))
        if job.over:
            self._look(seen)
            return self._end(seen, self._failure(seen))
        again = job.deployment == "Retrying" or (seen.tail_of and job.job_id != seen.tail_of)
        closing = seen.tail.closing if seen.tail else {}
        code = submit.exit_code_of(RayJobRun(job.job_id, "FAILED", None, job.message), closing)
        if again and code in _FOR_GOOD:
            _log.info("no further attempt: it would end with the same exit code %s", code)
            lines = seen.tail.lines if seen.tail else ()
            return self._give_up(seen, self._of_driver(seen, code, closing, lines), announced=bool(closing))
        return None

    def _failure(self, seen: _Watch) -> MartsError:
        """Return why the last attempt failed: as the driver reported it, else as the state of the cluster shows."""
        job = seen.job
        closing, lines = self._last_words(seen)
        code = submit.exit_code_of(RayJobRun(job.job_id, "FAILED", None, job.message), closing)
        announced = code in submit.FAILURES and (closing or job.reason == "AppFailed")
        if announced or (job.reason == "AppFailed" and not diagnose.out_of_memory(seen.pods)):
            return self._of_driver(seen, code, closing, lines)
        return diagnose.failure(job, self._where, seen.pods, seen.events)

    def _last_words(self, seen: _Watch) -> tuple[Mapping[str, Any], Sequence[str]]:
        """Return the closing record and the last log lines of the current attempt; nothing of an older one."""
        if not seen.tail or seen.tail_of != seen.job.job_id:
            return {}, ()
        seen.tail.finish()
        return seen.tail.closing, seen.tail.lines

    def _of_driver(
        self, seen: _Watch, code: int | None, closing: Mapping[str, Any], lines: Sequence[str]
    ) -> MartsError:
        run = RayJobRun(seen.job.job_id, "FAILED", code, seen.job.message)
        error = submit.ended(run, closing, lines or seen.job.message.splitlines())
        if error is None:
            return ServiceError("KubeRay reports a failure, but its driver succeeded", self._where)
        return error if closing else type(error)(error.what, self._where, error.hint)

    def _overdue(self, seen: _Watch) -> BuildOutcome | None:
        """Enforce the deadlines that KubeRay does not: its operator may be down."""
        job, now, timeouts = seen.job, time.monotonic(), self._timeouts
        seen.blank_since = (seen.blank_since or now) if not job.deployment else 0.0
        if seen.blank_since and now - seen.blank_since > timeouts.operator:
            return self._give_up(seen, diagnose.no_operator(self._where, timeouts.operator))
        starting = job.deployment == "Initializing"
        if starting and now - seen.attempt_begun > self._start + timeouts.grace:
            self._look(seen)
            return self._give_up(seen, diagnose.not_started(self._where, seen.pods, seen.events))
        if now - seen.begun > self._whole + timeouts.grace:
            return self._give_up(seen, diagnose.late(self._where))
        closing = seen.tail.closing if seen.tail and seen.tail_of == job.job_id else {}
        if not closing or job.deployment != "Running":
            seen.silent_since = 0.0
            return None
        seen.silent_since = seen.silent_since or now
        if now - seen.silent_since <= timeouts.grace:
            return None
        _log.warning("the build has ended, but KubeRay does not report it: check its operator")
        code = closing.get("exit_code")
        return self._give_up(seen, None if code == 0 else self._of_driver(seen, code, *self._last_words(seen)))

    def _give_up(self, seen: _Watch, error: MartsError | None, announced: bool = False) -> BuildOutcome:
        """End, and delete the RayJob, so that nothing keeps running unobserved."""
        ended = self._end(seen, error, announced)
        self._kube.delete_rayjob(self._name, seen.job.uid)
        return ended

    def _end(self, seen: _Watch, error: MartsError | None, announced: bool = False) -> BuildOutcome:
        closing, _ = self._last_words(seen)
        return BuildOutcome(error, announced or bool(closing.get("exit_code")), seen.job.job_id)

    def _stopped(self, job: RayJob | None) -> None:
        """Delete the RayJob if its Job ends. Keep it if only this pod is evicted: the next pod attaches to it."""
        if taken_away(self._kube, self._own):
            _log.warning("this pod is evicted; the build keeps running, and the next pod attaches to it")
            return
        job = job or self._kube.rayjob(self._name)
        if job:
            _log.warning("stopped: deleting RayJob %s", self._name)
            self._kube.delete_rayjob(self._name, job.uid)


def taken_away(kube: Kube, own: LauncherPod) -> bool:
    """Return whether only this pod is evicted (a drain, a preemption); if not, its Job was deleted."""
    try:
        pod = kube.pod(own.pod)
    except MartsError as error:
        _log.warning("cannot read why this pod is stopped, so the build is left running: %s", error)
        return True
    return pod is None or pod.disrupted or not pod.deleting


def launch_on(
    jobs: Jobs,
    build: submit.Submission,
    say: Callable[[str], None],
    away: Callable[[], bool],
    every: float,
    patience: float,
) -> BuildOutcome:
    """Submit a build to an existing cluster, or attach to it, and wait for its end. Raises Stopped.

    ``away`` returns, after a stop request, whether the build should keep running.
    """
    try:
        name, new = submit.submitted(jobs, build, rerun=False)
        _log.info("job %s %s", name, "is submitted" if new else "exists already: attaching to it")
        tail = Tail(jobs, name, say)
        try:
            run = submit.wait(jobs, name, every, patience)
        except ServiceError as error:
            tail.finish(0)
            return BuildOutcome(error, tail.announced, name)
    except Stopped:
        if not away():
            _stop(jobs, build, every)
        raise
    tail.finish()
    return BuildOutcome(submit.ended(run, tail.closing, tail.lines), tail.announced, name)


def _stop(jobs: Jobs, build: submit.Submission, every: float) -> None:
    """Stop this build. Poll for it: its submission may still be under way."""
    end = time.monotonic() + _LAST
    while time.monotonic() < end:
        with suppress(MartsError):
            existing = list(itertools.takewhile(bool, map(jobs.look, submit.names(build))))
            own = [run for run in existing if run and not run.over and run.entrypoint == build.entrypoint]
            for run in own:
                _log.warning("stopped: stopping job %s", run.name)
                jobs.stop(run.name)
            if existing and not own:
                return
        time.sleep(every)


def owner_uid(kube: Kube, own: LauncherPod) -> str:
    """Return the uid of the Job that owns this pod."""
    pod = kube.pod(own.pod)
    if pod is None or not pod.owner_uid:
        hint = "`marts launch rayjob` runs in a pod of a Job of the chart; to submit by hand, use `marts submit`"
        raise UsageError("this pod belongs to no Job", f"pod {own.pod}", hint)
    return pod.owner_uid
