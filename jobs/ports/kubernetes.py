"""What a cluster shows of its objects: Ray jobs, KubeRay's RayJobs, pods, events, Jobs and CronJobs of Kubernetes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

DISRUPTED = "DisruptionTarget"
"""The condition of a pod that the cluster takes away: by a drain, a preemption, a node that shuts down."""


@dataclass(frozen=True)
class RayJobRun:
    """A job of Ray's Jobs API."""

    name: str
    """Its submission id."""
    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED."""
    exit_code: int | None = None
    """Of the driver, if it ended by itself."""
    message: str = ""
    entrypoint: str = ""

    @property
    def over(self) -> bool:
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class RayJob:
    """A RayJob of KubeRay, which makes a cluster for one job."""

    name: str
    uid: str
    owner_uid: str = ""
    """Of the Job that it belongs to."""
    deleting: bool = False
    deployment: str = ""
    """"" while no operator has seen it, Initializing, Running, Retrying, Suspended, Complete, Failed, …"""
    status: str = ""
    """Of its Ray job."""
    job_id: str = ""
    """Submission id of its Ray job; another one for each attempt."""
    dashboard: str = ""
    """host:port of the head's service."""
    cluster: str = ""
    """Name of its RayCluster; another one for each attempt."""
    reason: str = ""
    message: str = ""
    failed: int = 0
    """Attempts that failed."""

    @property
    def over(self) -> bool:
        return self.deployment in ("Complete", "Failed", "ValidationFailed")

    @property
    def good(self) -> bool:
        return self.deployment == "Complete" and self.status == "SUCCEEDED"


@dataclass(frozen=True)
class Container:
    """A container of a pod."""

    name: str
    state: Literal["waiting", "running", "terminated", ""] = ""
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    ended: str = ""
    """Why the one before it ended, if it was started again: OOMKilled, Error, …"""
    last_line: str = ""
    """Its last line before it ended."""
    ended_at: datetime | None = None
    init: bool = False
    """It prepares the pod, and ends before the others begin."""


@dataclass(frozen=True)
class Pod:
    """A pod."""

    name: str
    owner_uid: str = ""
    """Of the Job, or RayCluster, that it belongs to."""
    role: str = ""
    """head or worker, if it is one of Ray."""
    group: str = ""
    """Of workers."""
    phase: str = ""
    reason: str = ""
    message: str = ""
    created_at: datetime | None = None
    deleting: bool = False
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Reason and message of each that is true, by type; ``unscheduled`` says why no node takes it."""
    unscheduled: str = ""
    containers: tuple[Container, ...] = ()

    @property
    def disrupted(self) -> bool:
        return DISRUPTED in self.conditions or self.reason == "Evicted"


@dataclass(frozen=True)
class PodEvent:
    """An event of Kubernetes."""

    about: str
    """Kind and name of the object."""
    reason: str
    message: str
    warning: bool
    at: datetime | None = None


@dataclass(frozen=True)
class Job:
    """A Job of Kubernetes."""

    name: str
    uid: str
    command: str
    """Of Martwright: build, vacuum, …"""
    owner: str = ""
    """Name of its CronJob."""
    created_at: datetime | None = None
    active: bool = False
    suspended: bool = False
    failed: str = ""
    """Reason of its failure."""
    failed_at: datetime | None = None
    message: str = ""
    announced: str = ""
    """What people have been told: that it ``waits``, that it ``failed``."""


@dataclass(frozen=True)
class CronJob:
    """A CronJob of Kubernetes."""

    name: str
    command: str
    created_at: datetime | None
    suspended: bool
    schedule: str
    last_success: datetime | None
    max_age: float | None
    """Seconds after which the last success is too long ago."""
