"""Alerts of a pack: rows of a mart that somebody is told about when they are new."""

from pydantic import BaseModel, ConfigDict, Field

from marts.highlights import ListedColumn
from marts.views import ORDERED, Types

EVERY_ALERT = "alert"
"""Event that stands for all alerts of a pack."""
EVENTS = ("failed", "held", "withdrawn", "fall", "unknown", "quality", EVERY_ALERT, "recovered", "success")
"""Events of notices that runs of every pack may have. Each alert of a pack is one more, by its name."""
_RESERVED = (*EVENTS, "test")


class Alert(BaseModel):
    """New rows of a mart, in one notice per publication."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    """Its key in pack.toml, and the event of its notices."""
    table: str
    """The mart."""
    title: str
    """Subject of the notice; ``{count}`` is the number of new rows."""
    where: dict[str, int | str | bool] = Field(default_factory=dict)
    """Values that columns of such a row have."""
    at_least: dict[str, str] = Field(default_factory=dict)
    """Numbers of the policy, by name, that columns of such a row have at least."""
    order: str
    """Column by which rows are listed, largest first, whatever the sign; then by ``then`` and their key."""
    then: str = ""
    """Column by which rows of equal order are listed, largest first."""
    columns: tuple[ListedColumn, ...] = Field(min_length=1)
    limit: int = Field(20, ge=1, le=100)
    """Rows that are listed."""
    hint: str
    """What to do."""

    @property
    def ordered_by(self) -> tuple[str, ...]:
        """Return the columns by which rows are listed."""
        return tuple(filter(None, (self.order, self.then)))

    @property
    def columns_used(self) -> Types:
        """Return the types that each column may have."""
        used: Types = dict.fromkeys([*self.where, *(column.name for column in self.columns)], ())
        return {**used, **dict.fromkeys((*self.at_least, *self.ordered_by), ORDERED)}


def require_free(name: str) -> None:
    """Raise ValueError for an alert with the name of an event."""
    if name in _RESERVED:
        raise ValueError(f"alerts: {name!r} is an event of every run: choose another name")
