"""Interface of what runs the tasks of a step."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Runner(Protocol):
    """Run a function over items; yield each result with its item's index as it completes."""

    def __call__(
        self, step: str, function: Callable[[Item], Result], items: Sequence[Item], at_once: int | None = None
    ) -> Iterable[tuple[int, Result]]: ...
