"""State of cluster objects: Ray jobs, RayJobs of KubeRay, and pods, events, Jobs and CronJobs of Kubernetes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

DISRUPTED = "DisruptionTarget"
"""Condition of a pod that the cluster removes: by a drain, a preemption or a node shutdown."""


@dataclass(frozen=True)
class RayJobRun:
    """A job of Ray's Jobs API."""

    name: str
    """Submission id."""
    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED."""
    exit_code: int | None = None
    """Exit code of the driver, if it ended by itself."""
    message: str = ""
    entrypoint: str = ""

    @property
    def over(self) -> bool:
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class RayJob:
    """A RayJob of KubeRay, which creates a cluster for one job."""

    name: str
    uid: str
    owner_uid: str = ""
    """UID of the Job that owns it."""
    deleting: bool = False
    deployment: str = ""
    """Empty until an operator has seen it; then Initializing, Running, Retrying, Suspended, Complete, Failed, …"""
    status: str = ""
    """Status of its Ray job."""
    job_id: str = ""
    """Submission id of its Ray job; a new one for each attempt."""
    dashboard: str = ""
    """host:port of the head's service."""
    cluster: str = ""
    """Name of its RayCluster; a new one for each attempt."""
    reason: str = ""
    message: str = ""
    failed: int = 0
    """Number of failed attempts."""

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
    """Reason of its last termination, if it was restarted: OOMKilled, Error, …"""
    last_line: str = ""
    """Last log line before it ended."""
    ended_at: datetime | None = None
    init: bool = False
    """Whether it is an init container, which ends before the others start."""


@dataclass(frozen=True)
class Pod:
    """A pod."""

    name: str
    owner_uid: str = ""
    """UID of the Job or RayCluster that owns it."""
    role: str = ""
    """head or worker, for a pod of Ray."""
    group: str = ""
    """Worker group."""
    phase: str = ""
    reason: str = ""
    message: str = ""
    created_at: datetime | None = None
    deleting: bool = False
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Reason and message of each true condition, by type."""
    unscheduled: str = ""
    """Why no node can run it."""
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
    """Command of Martwright: build, vacuum, …"""
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
    """Announced state: ``waits`` or ``failed``."""


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
    """Seconds after which the last success is too old."""
