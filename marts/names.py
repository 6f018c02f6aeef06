"""Names of columns."""

import re

_IGNORED = re.compile(r"[\s_\ufeff]+")


def plain_name(name: str) -> str:
    """Return the name of a column without case, blanks and underscores: names are compared so."""
    return _IGNORED.sub("", name).lower()
