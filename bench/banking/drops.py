"""How drops of a bank are read by engines that do not detect formats: in runs of files with the same header."""

import csv
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path


def runs_of_one_header(paths: Sequence[Path]) -> Iterator[tuple[list[str], list[Path]]]:
    """Yield the columns of drops that follow each other with the same header, and these drops."""
    for header, group in groupby(paths, _header):
        yield header, list(group)


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))
