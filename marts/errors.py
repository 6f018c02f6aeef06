"""The error tree. Every error states what happened, where, and what to do next.

::

    MartsError
    ├── UsageError        exit 2    arguments or configuration; nothing was changed
    ├── DataError         exit 65   the data cannot be published; the live marts are untouched
    │   ├── DropRejected            one drop is unusable; the others are processed
    │   ├── SqlFailed               the SQL of a pack fails on the rows that it reads, or gives what is not declared
    │   ├── DuplicateKeys           rows of a dimension have the same key and differ
    │   ├── UnknownPeople           too many lines have no dimension row
    │   ├── TotalFell               the total of the past is lower than what was published
    │   └── QualityBroken           a critical expectation of a mart does not hold
    ├── ServiceError      exit 69   a service failed or refused access: a retry would not help
    │   ├── Transient               a temporary failure: retried until a deadline
    │   │   └── Busy      exit 75   another session holds a lock
    │   ├── NotShown                published, but readers see something else
    │   ├── OutcomeUnknown          the answer to a COMMIT is lost and the ledger cannot be read: nothing is repeated
    │   ├── StateDamaged            a file of the state is missing or damaged: it is built again
    │   ├── ObjectChanged           a drop changed or vanished while it was read
    │   └── ObjectUnreadable        one object is refused or damaged; the others are processed
    ├── Defect            exit 70   a bug in Martwright; please report it
    └── TryLater          exit 75   a lock is held; run again
        ├── DeadlinePassed          a deadline has passed
        └── Fenced                  another run has taken over

Schedulers read only the exit codes. Errors cross process borders (Ray pickles them), so every argument goes to
``Exception.__init__``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

EXIT_DATA = 65
SHOWN_KEYS = 5
"""Keys that an error names."""
_NO_PLACES: Mapping[Any, str] = {}


class MartsError(Exception):
    """Base of all errors that Martwright raises on purpose."""

    exit_code = 70
    announced = False
    """Whether the error was already reported: in the log, as JSON, or in a notice."""

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
    """A whole drop is unusable (missing column, not text, truncated, …)."""


class SqlFailed(DataError):
    """The SQL of a pack fails on the rows that it reads, or gives what its table does not declare."""


class DuplicateKeys(DataError):
    """Rows of a dimension have the same key and differ."""

    ids: Sequence[Any] = ()
    """All such keys, sorted."""

    @classmethod
    def of(cls, kind: str, key: str, ids: Sequence[Any], places: Mapping[Any, str] = _NO_PLACES) -> "DuplicateKeys":
        """Return the error for the keys of a dimension; ``places`` says, by key, where its rows are."""
        named = [f"{item} ({places[item]})" if item in places else str(item) for item in ids[:SHOWN_KEYS]]
        listed = ", ".join(named) + (f" and {len(ids) - SHOWN_KEYS} more" if len(ids) > SHOWN_KEYS else "")
        block = f'write a [[source]] block with match = "{kind}/**" and duplicates = "last", if the last row is right'
        hint = f"deliver {kind}/ again with each {key} once, or {block}; the live marts are untouched"
        error = cls(f"duplicate {key}: {listed}", kind, hint)
        error.ids = tuple(ids)
        return error


class UnknownPeople(DataError):
    """More lines than the policy allows have no row in a dimension."""


class TotalFell(DataError):
    """The total of the past is lower than what was published, by more than the policy allows."""


class QualityBroken(DataError):
    """A critical expectation of a mart does not hold."""


class ServiceError(MartsError):
    """Storage, database or cluster failed or refused access. Permanent, unless a subclass states otherwise."""

    exit_code = 69


class Transient(ServiceError):
    """A temporary failure (timeout, lost connection, throttling). Callers that can repeat the work retry it."""


class Busy(Transient):
    """Another session holds a lock of the database, or a deadlock was broken."""

    exit_code = 75


class NotShown(ServiceError):
    """A run has published, but the public names show other numbers than it staged."""


class OutcomeUnknown(ServiceError):
    """The answer to a COMMIT is lost, and the database does not come back, so it is unknown whether it took place."""


class StateDamaged(ServiceError):
    """A file of the state is missing or damaged; ``where`` is its key."""


class ObjectChanged(ServiceError):
    """The object is no longer the version that was planned."""


class ObjectUnreadable(ServiceError):
    """One object cannot be read, although its bucket or folder can."""


class Defect(MartsError):
    """An invariant of Martwright is broken; nothing is published."""

    exit_code = 70


class TryLater(MartsError):
    """Another build holds the lock, or this one was stopped."""

    exit_code = 75


class DeadlinePassed(TryLater):
    """A deadline has passed."""


class Fenced(TryLater):
    """Another run, or a rollback, has acquired the right to publish since this run began."""


class Stopped(BaseException):
    """A stop request to this process; ``args`` is the name of the signal.

    Not an Exception: a library that swallows exceptions must not swallow this.
    """

    def as_error(self) -> TryLater:
        hint = "the live marts are untouched; run again to continue"
        return TryLater(f"stopped by {self.args[0]}", "marts", hint)
