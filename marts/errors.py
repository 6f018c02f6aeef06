"""The error tree. Every error says what happened, where, and what to do next.

::

    MartsError
    ├── UsageError        exit 2    arguments or configuration; nothing was touched
    ├── DataError         exit 65   the data said no; the live marts are untouched
    │   ├── DropRejected            one drop is unusable; the others go on
    │   ├── UnknownPeople           too many lines have no dimension row
    │   ├── TotalFell               the total of the past is lower than what was published
    │   └── QualityBroken           a critical expectation of a mart does not hold
    ├── ServiceError      exit 69   a service refused us: trying again would not help
    │   ├── Transient               it may pass by itself: tried again until a deadline
    │   │   └── Busy      exit 75   others hold what we need
    │   ├── NotShown                it is published, and readers see something else
    │   ├── OutcomeUnknown          the answer to a COMMIT is lost: the ledger is asked, nothing is repeated
    │   ├── StateDamaged            a file of ours is gone or damaged: it is made again
    │   ├── ObjectChanged           a drop changed or vanished while it was read
    │   └── ObjectUnreadable        one object is refused or damaged; the others go on
    ├── Defect            exit 70   our own mistake; please report it
    └── TryLater          exit 75   a lock is held; run again
        ├── DeadlinePassed          it took longer than it may
        └── Fenced                  another run has taken over

The exit codes are the one table that schedulers read. Errors cross process borders
(Ray pickles them), so every argument goes to ``Exception.__init__``.
"""

EXIT_DATA = 65


class MartsError(Exception):
    """Base of all errors that Martwright raises on purpose."""

    exit_code = 70
    announced = False
    """The log has it already, as JSON."""

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what, self.where, self.hint = what, where, hint

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class UsageError(MartsError):
    """Wrong arguments or configuration."""

    exit_code = 2


class DataError(MartsError):
    """The data itself does not allow the run to publish."""

    exit_code = EXIT_DATA


class DropRejected(DataError):
    """A whole drop cannot be used (missing column, not text, truncated, …)."""


class UnknownPeople(DataError):
    """More lines than the policy allows have no row in a dimension."""


class TotalFell(DataError):
    """The total of the past is lower than what was published, by more than the policy allows."""


class QualityBroken(DataError):
    """A critical expectation of a mart does not hold."""


class ServiceError(MartsError):
    """Storage, database or cluster failed or refused us. Permanent, unless a subclass says otherwise."""

    exit_code = 69


class Transient(ServiceError):
    """It may pass by itself (timeout, lost connection, throttling): whoever can repeat the work tries again."""


class Busy(Transient):
    """Others hold what we need (a lock of the database, a deadlock)."""

    exit_code = 75


class NotShown(ServiceError):
    """A run has published, but the public names show readers other numbers than it staged."""


class OutcomeUnknown(ServiceError):
    """The answer to a COMMIT is lost, and the database does not come back to tell whether it happened."""


class StateDamaged(ServiceError):
    """A file of the state is gone or damaged; ``where`` is its key."""


class ObjectChanged(ServiceError):
    """The object is no longer the version that was planned."""


class ObjectUnreadable(ServiceError):
    """One object cannot be read, although its place can."""


class Defect(MartsError):
    """An invariant of ours is broken; nothing is published."""

    exit_code = 70


class TryLater(MartsError):
    """Another build holds the lock, or somebody stopped this one."""

    exit_code = 75


class DeadlinePassed(TryLater):
    """It took longer than it may."""


class Fenced(TryLater):
    """Another run, or a rollback, has taken the right to publish since this run began."""


class Stopped(BaseException):
    """Somebody told this process to stop; ``args`` is the name of the signal.

    No Exception: a library that swallows those must not swallow this.
    """

    def as_error(self) -> TryLater:
        hint = "the live marts are untouched; run again, it goes on from what is done"
        return TryLater(f"stopped by {self.args[0]}", "marts", hint)
