"""A run: its request, and what it works with."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

from jobs.adapters.ray.cluster import Cluster
from jobs.adapters.store.open import open_store
from jobs.config.settings import Settings
from jobs.ports.notices import Notice
from jobs.ports.runner import Runner
from jobs.ports.warehouse import Warehouse
from jobs.report.notices import RunHistory
from jobs.report.run_report import RunReport
from jobs.run.stages import Stages
from jobs.runtime.logs import within
from jobs.steps.scan_settings import ScanSettings
from marts.compute.identity import Identity
from marts.policy import Policy


class Progress(Protocol):
    """Somebody who watches a run."""

    def begin(self, step: str, total: int) -> None:
        """A step with so many tasks begins."""

    def advance(self, rows: int = 0, drops: int = 0) -> None:
        """One task of the step is done, with so many rows, and the last part of so many drops."""


@dataclass(frozen=True)
class Request:
    """What is asked for before anything is opened."""

    settings: Settings
    policy: Policy
    as_of: date
    run_id: str
    clock: Callable[[], datetime]
    submission: str = ""
    """Submission id of the Ray job, if this is one."""
    rebuild: bool = False
    rescan: bool = False
    cluster: Cluster | None = None
    """Where metrics go, too, if it outlives the run."""


@dataclass
class Run:
    """One run: its request, what it works with, the seconds of its steps, and what its stages have made so far."""

    request: Request
    runner: Runner
    warehouse: Warehouse
    progress: Progress
    start: Callable[[], None] = lambda: None
    """Makes the runner ready; called when the first task is at hand that needs it."""
    needs_start: Callable[[float], bool] = lambda _: True
    """Returns whether a step that is the work of so many full tasks needs that."""
    seconds: dict[str, float] = field(default_factory=dict)
    stages: Stages = field(default_factory=Stages)
    audit: str = ""
    """Hash of the end of the audit trail."""
    published: RunReport | None = None
    """The report of what is published, or about to be."""
    before: RunHistory = field(default_factory=RunHistory)
    """The runs before this one."""
    notices: Sequence[Notice] = ()
    """Notices that are open, or not sent to all."""
    unkept: Sequence[Notice] = ()
    """Notices that the database could not keep."""
    unrecorded: bool = False
    """The database could not record how the run ended."""
    failed: RunReport | None = None
    """The report of a defect."""

    def __post_init__(self) -> None:
        self.settings, self.policy = self.request.settings, self.request.policy
        self.as_of, self.run_id, self.clock = self.request.as_of, self.request.run_id, self.request.clock
        self.identity = Identity.of(self.policy)
        self.settings.require("source", "target")
        self.started_at = self.clock()
        self.source = open_store(self.settings.source or "", self.settings.s3)
        self.state = open_store(self.settings.state_uri, self.settings.s3)
        self.scan_settings = ScanSettings.of(self.settings, self.policy, self.run_id)

    def ready(self, tasks: Sequence[Any], full: float | None = None) -> None:
        """Start the cluster if it has not started yet, and the tasks are the work of many ``full`` ones."""
        if tasks and "start Ray" not in self.seconds and self.needs_start(len(tasks) if full is None else full):
            with self.step("start Ray"):
                self.start()

    @contextmanager
    def step(self, name: str, total: int = 0) -> Iterator[None]:
        """Time a step, and tell whoever watches."""
        self.progress.begin(name, total)
        before = time.perf_counter()
        try:
            with within(step=name):
                yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - before, 3)
