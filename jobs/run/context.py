"""A run: its request and its resources."""

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
from jobs.run.stages import Live, Stages
from jobs.runtime.logs import within
from jobs.steps.scan_settings import ScanSettings
from marts.compute.identity import Identity
from marts.policy import Policy


class Progress(Protocol):
    """Observer of a run."""

    def begin(self, step: str, total: int) -> None:
        """Begin a step with ``total`` tasks."""

    def advance(self, rows: int = 0, drops: int = 0) -> None:
        """End one task of the step, with its rows and the number of drops that it completed."""


@dataclass(frozen=True)
class Request:
    """Request for a run, before anything is opened."""

    settings: Settings
    policy: Policy
    as_of: date
    run_id: str
    clock: Callable[[], datetime]
    submission: str = ""
    """Submission id of the Ray job, if the run is one."""
    rebuild: bool = False
    rescan: bool = False
    cluster: Cluster | None = None
    """Cluster that also gets the metrics, if it outlives the run."""


@dataclass
class Run:
    """One run: its request, its resources, the seconds of its steps, and the results of its stages so far."""

    request: Request
    runner: Runner
    warehouse: Warehouse
    progress: Progress
    start: Callable[[], None] = lambda: None
    """Starts the runner; called before the first task that needs it."""
    needs_start: Callable[[float], bool] = lambda _: True
    """Returns whether a step with the work of this number of full tasks needs the start."""
    seconds: dict[str, float] = field(default_factory=dict)
    stages: Stages = field(default_factory=Stages)
    live: Live = field(default_factory=lambda: Live({}, {}))
    """The live marts at the beginning: only a run that fences this one off can change them."""
    audit: str = ""
    """Hash of the last entry of the audit trail."""
    published: RunReport | None = None
    """Report that is published or about to be published."""
    before: RunHistory = field(default_factory=RunHistory)
    """Runs before this one."""
    notices: Sequence[Notice] = ()
    """Notices that are open or not sent to all."""
    unkept: Sequence[Notice] = ()
    """Notices that the database could not store."""
    unrecorded: bool = False
    """Whether the database could not record the end of the run."""
    failed: RunReport | None = None
    """Report of a defect."""

    def __post_init__(self) -> None:
        self.settings, self.policy = self.request.settings, self.request.policy
        self.as_of, self.run_id, self.clock = self.request.as_of, self.request.run_id, self.request.clock
        self.pack = self.settings.domain
        self.identities = Identity.of_all(self.policy, self.pack)
        self.settings.require("source", "target")
        self.started_at = self.clock()
        self.source = open_store(self.settings.source or "", self.settings.s3)
        self.state = open_store(self.settings.state_uri, self.settings.s3)
        self.scan_settings = ScanSettings.of(self.settings, self.policy, self.run_id)

    def ready(self, tasks: Sequence[Any], full: float | None = None) -> None:
        """Start the cluster if it has not started and the tasks, the work of ``full`` full tasks, need it."""
        if tasks and "start Ray" not in self.seconds and self.needs_start(len(tasks) if full is None else full):
            with self.step("start Ray"):
                self.start()

    @contextmanager
    def step(self, name: str, total: int = 0) -> Iterator[None]:
        """Time a step and report it to the observer."""
        self.progress.begin(name, total)
        before = time.perf_counter()
        try:
            with within(step=name):
                yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - before, 3)
