"""The business numbers of a pack, which a policy may set."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

UNITS = {2: "cents", 4: "ten_thousandths", 6: "millionths"}
"""Name of the unit by number of digits."""


@dataclass(frozen=True)
class Number:
    """A business number that a policy may set; the SQL of the pack reads it as a variable."""

    name: str
    default: int | Decimal | str | bool
    help: str
    digits: int = 0
    """Digits after the point, of a decimal."""
    least: Decimal | None = None
    most: Decimal | None = None
    choices: tuple[str, ...] = ()
    """Values of a text."""
    group: str = ""
    """The table of the policy file that has it; its name begins with it. Empty: it is in none."""
    same_as: str = ""
    """Number whose value it has unless it is set."""

    @property
    def key(self) -> str:
        """Return its name in the policy file."""
        return self.name.removeprefix(f"{self.group}_")

    @property
    def variable(self) -> str:
        """Return its name in SQL, where a decimal is a whole number of its last digit."""
        return f"{self.name}_{UNITS[self.digits]}" if self.digits else self.name


@dataclass(frozen=True)
class NumberColumn:
    """A column of a table of business numbers; without a value it is NULL in SQL."""

    name: str
    type: Literal["text", "count", "money", "flag", "date"]
    help: str
    nullable: bool = False
    max_length: int = 255

    @property
    def stored_as(self) -> str:
        return f"{self.name}_{UNITS[2]}" if self.type == "money" else self.name


@dataclass(frozen=True)
class NumberTable:
    """Rows of business numbers that a policy may set; SQL reads them as a table of this name, with ``place``."""

    name: str
    help: str
    columns: tuple[NumberColumn, ...]
    default: tuple[tuple[str | int | Decimal | bool | date | None, ...], ...]
    last_has_no_condition: bool = False
    """Whether the last row must leave every column empty that may be: it is that of all others."""
    group: str = ""
    """The table of the policy file that has it; its name begins with it. Empty: it is in none."""

    @property
    def key(self) -> str:
        """Return its name in the policy file."""
        return self.name.removeprefix(f"{self.group}_")
