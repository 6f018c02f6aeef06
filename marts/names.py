"""Names of columns, and what SQL asks of them."""

import re
from collections.abc import Sequence

_IGNORED = re.compile(r"[\s_\ufeff]+")


def plain_name(name: str) -> str:
    """Return the name of a column without case, blanks and underscores: names are compared so."""
    return _IGNORED.sub("", name).lower()


def first_is_positive(columns: Sequence[str]) -> str:
    """Return the SQL of whether the first column that is not 0 is above 0; without columns, of TRUE."""
    if not columns:
        return "TRUE"
    first, *rest = columns
    return f"CASE WHEN {first} = 0 THEN {first_is_positive(rest)} ELSE {first} > 0 END" if rest else f"{first} > 0"
