"""The launcher: makes a Ray cluster for one build, waits for its end, says why if it fails, and ends as it ends."""

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
"""Exit codes that another attempt would end with, too."""
_NAME = 47
"""Characters that KubeRay lets the name of a RayJob have."""
_LAST = 30.0
"""Seconds that a build has to end after it was told to: our pod has twice as many."""
_PODS = 10
"""Pods whose events are read: a hundred that wait do so for one reason."""
_GONE = 120.0
"""Seconds that an old RayJob has to go away."""
_MINUTES = re.compile(r"-([0-9]{7,9})$")
_AROUND = timedelta(days=7), timedelta(hours=1)


class Kube(Protocol):
    """What a launcher asks of Kubernetes."""

    def create_rayjob(self, manifest: Mapping[str, Any]) -> RayJob: ...

    def rayjob(self, name: str) -> RayJob | None: ...

    def delete_rayjob(self, name: str, uid: str) -> None: ...

    def pod(self, name: str) -> Pod | None: ...

    def pods(self, selector: str) -> tuple[Pod, ...]: ...

    def events(self, about: Iterable[str]) -> tuple[PodEvent, ...]: ...

    def last_words(self, pod: Pod) -> Pod: ...


@dataclass(frozen=True)
class Timeouts:
    """How long a launcher waits for what; seconds."""

    every: float = 2.0
    """Between two looks."""
    operator: float = 120.0
    """For a sign of life from KubeRay."""
    grace: float = 120.0
    """After a deadline of KubeRay's, until we act ourselves; and for Ray's word to reach it."""
    look: float = 10.0
    """Between two looks at pods while a cluster starts."""


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
    """The build has told people itself."""
    submission: str = ""


def scheduled_day(job: str, now: datetime, zone: Any) -> date:
    """Return the business day of a scheduled run: a CronJob writes the minute it meant at the end of the Job's name.

    So a run that is late, or tried again after midnight, is still that of its day. A Job by hand is of today.
    """
    result = _MINUTES.search(job)
    if result:
        meant = datetime.fromtimestamp(int(result[1]) * 60, now.tzinfo)
        if now - _AROUND[0] <= meant <= now + _AROUND[1]:
            return meant.astimezone(zone).date()
    return now.astimezone(zone).date()


def manifest_of(template: Mapping[str, Any], own: LauncherPod, owner_uid: str, as_of: date) -> dict[str, Any]:
    """Make the RayJob of this Job from the chart's template: it belongs to the Job, and goes when that goes."""
    try:
        built = copy.deepcopy(dict(template))
        meta, spec = built["metadata"], built["spec"]
        words = tuple(shlex.split(spec["entrypoint"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"is no RayJob: {error!r}", "template", "it comes from the chart's ConfigMap") from error
    meta.update(name=short_name(own.job), namespace=own.namespace)
    meta.pop("generateName", None)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": own.job, "uid": owner_uid}
    meta["ownerReferences"] = [{**owner, "controller": False, "blockOwnerDeletion": False}]
    refuse_passwords(words)
    words = with_day(words, as_of)
    spec["entrypoint"] = shlex.join(words)
    spec["metadata"] = {**(spec.get("metadata") or {}), "as_of": day_of(words), "job": own.job}
    return built


def short_name(job: str) -> str:
    """Return a name that KubeRay takes: that of the Job, unless somebody chose a long one."""
    if len(job) <= _NAME:
        return job
    digest = hashlib.blake2b(job.encode(), digest_size=4).hexdigest()
    return f"{job[: _NAME - 9].rstrip('-.')}-{digest}"


@dataclass
class _Watch:
    """What a launcher has seen so far."""

    job: RayJob
    begun: float
    """When it was claimed, on our clock, or came out of a queue."""
    blank_since: float = 0.0
    """Since when no operator has written anything."""
    attempt: tuple[int, str] = (-1, "")
    attempt_begun: float = 0.0
    tail: Tail | None = None
    tail_of: str = ""
    pods: tuple[Pod, ...] = ()
    events: tuple[PodEvent, ...] = ()
    looked: float = -1e9
    silent_since: float = 0.0
    """Since when Ray has known the end, and KubeRay has not."""
    warned: set[str] = field(default_factory=set)


class RayJobLauncher:
    """Runs one build as a RayJob."""

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
        """``jobs_of`` gives the jobs of the Ray cluster at a dashboard's address; ``say`` gets the build's log.

        ``check`` raises Stopped if somebody has told us to stop.
        """
        self._kube, self._own, self._manifest, self._jobs_of = kube, own, manifest, jobs_of
        self._say, self._timeouts, self._check = say, timeouts, check
        self._name = str(manifest["metadata"]["name"])
        spec = manifest["spec"]
        self._start = float(spec.get("preRunningDeadlineSeconds") or 1e9)
        attempts = int(spec.get("backoffLimit") or 0) + 1
        self._whole = float(spec.get("activeDeadlineSeconds") or 1e9) * attempts

    def run(self) -> BuildOutcome:
        """Create the RayJob, or go on with the one that is there, and wait for its end. Raises Stopped."""
        job: RayJob | None = None
        try:
            self._check()
            job = self._claim()
            return self._wait(_Watch(job, time.monotonic()))
        except Stopped:
            self._stopped(job)
            raise

    def _claim(self) -> RayJob:
        """Create the RayJob. If there is one: go on with it, unless it has failed for good, or is another's."""
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
                _log.info("RayJob %s is there already: going on with it", job_there.name)
                return job_there
            if time.monotonic() > end:
                hint = f"`kubectl delete rayjob {self._name}`; is the KubeRay operator there to let it go?"
                raise ServiceError(f"an old RayJob does not go away for {_GONE:.0f} s", self._where, hint)
            if job_there and not job_there.deleting:
                _log.info("RayJob %s is an old one that failed, or another's: it makes way", job_there.name)
                self._kube.delete_rayjob(job_there.name, job_there.uid)
            time.sleep(self._timeouts.every)
            self._check()

    def _is_ours(self, job: RayJob) -> bool:
        """Return whether a RayJob belongs to our Job, and has not failed for good."""
        own = {item["uid"] for item in self._manifest["metadata"]["ownerReferences"]}
        return not job.deleting and job.owner_uid in own and not (job.over and not job.good)

    @property
    def _where(self) -> str:
        """What people know the build by: the same for whoever tells of it, and each night but for the number."""
        return f"Job {self._own.job}"

    def _wait(self, seen: _Watch) -> BuildOutcome:
        while True:
            self._check()
            try:
                job = self._kube.rayjob(self._name)
            except UsageError as error:  # we could before: it may pass, and the next pod goes on with the RayJob
                raise ServiceError(error.what, error.where, error.hint) from error
            if job is None or job.uid != seen.job.uid or job.deleting:
                return self._end(seen, TryLater("somebody deleted its RayJob", self._where, "run the Job again"))
            self._notice(seen, job)
            ended = self._over(seen) or self._overdue(seen)
            if ended:
                return ended
            time.sleep(self._timeouts.every)

    def _notice(self, seen: _Watch, job: RayJob) -> None:
        """Take in what has changed: say it, follow the log of a new attempt, look at pods while they start."""
        if (job.deployment, job.status, job.reason) != (seen.job.deployment, seen.job.status, seen.job.reason):
            states = " ".join(filter(None, (job.deployment or "new", job.status, job.reason)))
            _log.info("RayJob %s: %s", job.name, states, extra={"fields": {"event": "rayjob", "state": job.deployment}})
        if (job.failed, job.job_id) != seen.attempt and job.deployment not in ("Retrying", "Failed"):
            seen.attempt, seen.attempt_begun = (job.failed, job.job_id), time.monotonic()
        if job.deployment == "Suspended":  # somebody lets it wait, such as Kueue; KubeRay's clock begins anew, too
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
        """Look at pods and events: KubeRay removes them at the end, and with them the reasons."""
        seen.looked = time.monotonic()
        pods = self._kube.pods(f"ray.io/cluster={seen.job.cluster}")
        if not pods and seen.job.over:
            return  # what was seen before says more
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
            hint = "the live marts are untouched; run the Job again, it goes on from what is done"
            return self._end(seen, TryLater("somebody stopped its job on the cluster", self._where, hint))
        if job.over:
            self._look(seen)
            return self._end(seen, self._failure(seen))
        again = job.deployment == "Retrying" or (seen.tail_of and job.job_id != seen.tail_of)
        closing = seen.tail.closing if seen.tail else {}
        code = submit.exit_code_of(RayJobRun(job.job_id, "FAILED", None, job.message), closing)
        if again and code in _FOR_GOOD:
            _log.info("another attempt would end as this one did (exit code %s)", code)
            lines = seen.tail.lines if seen.tail else ()
            return self._give_up(seen, self._of_driver(seen, code, closing, lines), announced=bool(closing))
        return None

    def _failure(self, seen: _Watch) -> MartsError:
        """Describe why the last attempt failed: the driver's own word, if it has one; else what the cluster shows."""
        job = seen.job
        closing, lines = self._last_words(seen)
        code = submit.exit_code_of(RayJobRun(job.job_id, "FAILED", None, job.message), closing)
        announced = code in submit.FAILURES and (closing or job.reason == "AppFailed")
        if announced or (job.reason == "AppFailed" and not diagnose.out_of_memory(seen.pods)):
            return self._of_driver(seen, code, closing, lines)
        return diagnose.failure(job, self._where, seen.pods, seen.events)

    def _last_words(self, seen: _Watch) -> tuple[Mapping[str, Any], Sequence[str]]:
        """Return what the build of the present attempt said at last; an older one has nothing to do with it."""
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
            return ServiceError("KubeRay says that it failed, and its driver that it did not", self._where)
        return error if closing else type(error)(error.what, self._where, error.hint)

    def _overdue(self, seen: _Watch) -> BuildOutcome | None:
        """Act ourselves if KubeRay does not: it may be gone, too."""
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
        _log.warning("the build has ended, and KubeRay does not notice: is its operator gone?")
        code = closing.get("exit_code")
        return self._give_up(seen, None if code == 0 else self._of_driver(seen, code, *self._last_words(seen)))

    def _give_up(self, seen: _Watch, error: MartsError | None, announced: bool = False) -> BuildOutcome:
        """End, and leave nothing behind that would go on unseen."""
        ended = self._end(seen, error, announced)
        self._kube.delete_rayjob(self._name, seen.job.uid)
        return ended

    def _end(self, seen: _Watch, error: MartsError | None, announced: bool = False) -> BuildOutcome:
        closing, _ = self._last_words(seen)
        return BuildOutcome(error, announced or bool(closing.get("exit_code")), seen.job.job_id)

    def _stopped(self, job: RayJob | None) -> None:
        """Delete the RayJob if its Job is to end; leave it if only our pod has to go: the next one goes on with it."""
        if taken_away(self._kube, self._own):
            _log.warning("this pod is taken away; the build goes on, and the next pod with it")
            return
        job = job or self._kube.rayjob(self._name)
        if job:
            _log.warning("stopped: RayJob %s is deleted", self._name)
            self._kube.delete_rayjob(self._name, job.uid)


def taken_away(kube: Kube, own: LauncherPod) -> bool:
    """Return whether the cluster needs the place of our pod (a drain, a preemption), or somebody ends its Job."""
    try:
        pod = kube.pod(own.pod)
    except MartsError as error:
        _log.warning("nobody says why we are stopped, so the build is left alone: %s", error)
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
    """Hand a build to a cluster that is there, or go on with it, and wait for its end. Raises Stopped.

    ``away`` tells, when we are stopped, whether the build is to go on without us.
    """
    try:
        name, new = submit.submitted(jobs, build, rerun=False)
        _log.info("job %s is %s", name, "submitted" if new else "there already: going on with it")
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
    """Stop our build, wherever it is: its submission may be on the way."""
    end = time.monotonic() + _LAST
    while time.monotonic() < end:
        with suppress(MartsError):
            existing = list(itertools.takewhile(bool, map(jobs.look, submit.names(build))))
            own = [run for run in existing if run and not run.over and run.entrypoint == build.entrypoint]
            for run in own:
                _log.warning("stopped: job %s is stopped, too", run.name)
                jobs.stop(run.name)
            if existing and not own:
                return
        time.sleep(every)


def owner_uid(kube: Kube, own: LauncherPod) -> str:
    """Return the uid of our Job."""
    pod = kube.pod(own.pod)
    if pod is None or not pod.owner_uid:
        hint = "`marts launch rayjob` runs in a pod of a Job, as the chart makes it; by hand there is `marts submit`"
        raise UsageError("this pod belongs to no Job", f"pod {own.pod}", hint)
    return pod.owner_uid
