"""Whose data can be erased."""

from collections.abc import Container
from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """Whose data can be erased: the people of a dimension, and the columns that name them."""

    kind: str
    key: str
    """In drops, and in tables."""
    also: tuple[str, ...] = ()
    """Other names of this column in tables."""
    has_text_ids: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.key, *self.also)

    def column_in(self, names: Container[str]) -> str:
        """Return the column among some that names a person; empty if none does."""
        return next((name for name in self.columns if name in names), "")
