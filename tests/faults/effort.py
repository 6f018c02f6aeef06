"""How far the tests under faults/ go: a few minutes with `make test`, everything with `make faults`."""

import os
from collections.abc import Sequence
from typing import TypeVar

Value = TypeVar("Value")

LONG = bool(os.environ.get("FAULTS_LONG"))


def some(values: Sequence[Value], every: int = 3) -> Sequence[Value]:
    """Return all values in the long run, else each third, from the second on."""
    return values if LONG else values[1::every]
