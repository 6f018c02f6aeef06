"""Translate Ray's errors into errors with hints."""

import re
from collections.abc import Iterator

from marts.errors import ServiceError

WITHOUT_WARRANTY = (
    ImportError,
    AttributeError,
    AssertionError,
    LookupError,
    TypeError,
    ValueError,
    RuntimeError,
)
"""Errors that internal APIs of Ray may raise in another version or through the Ray client."""
_USED = re.compile(r"was ([0-9.]+ ?[KMG]?B) used / ([0-9.]+ ?[KMG]?B) limit")


def lost(step: str, error: BaseException) -> ServiceError:
    """Describe why Ray lost tasks: out of memory, or a node or worker that died."""
    from ray.exceptions import OutOfMemoryError

    safe = "the live marts are untouched, and a run continues from what is done"
    causes = list(_causes(error))
    starved = next((item for item in causes if isinstance(item, OutOfMemoryError)), None)
    if starved:
        used = _USED.search(str(starved))
        what = f"a worker ran out of memory in {step}" + (f": the node used {used[1]} of {used[2]}" if used else "")
        hint = "give the workers more memory, fewer parallel tasks (ray.cpus) or smaller tasks"
        smaller = "limits.split_bytes, limits.rollup_lines, limits.finish_rows"
        return ServiceError(what, "Ray", f"{hint} ({smaller}), then run again; {safe}")
    hint = f"check the Ray dashboard for a node that is lost, frozen or out of memory; {safe}"
    return ServiceError(f"Ray lost the tasks of {step}: {cause_of(causes[-1])}", "Ray", hint)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and its chain of causes, down to the first cause."""
    while error is not None:
        yield error
        error = error.__cause__


def cause_of(error: BaseException) -> str:
    """Return the line with the error of a task: Ray passes on its whole traceback as text."""
    cause = getattr(error, "cause", None) or error.__cause__ or error
    name = type(cause).__name__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(f"{name}:")]
    return named[-1] if named else f"{name}: {lines[0] if lines else ''}"
