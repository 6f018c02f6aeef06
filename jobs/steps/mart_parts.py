"""Parts of a mart: files of rows, patches over them, and the tasks that compute them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from jobs.adapters.store.open import StoreAddress
from marts.compute.highlights import Figures, together
from marts.compute.numbers import Numbers
from marts.compute.patch import Calculation
from marts.pack import Mart, Pack
from marts.policy import Policy

Key = int | str
"""First column of a mart's key: a whole number, or a text."""
_FEWEST = 50_000
"""Lines that a task of a mart counts for at least: it reads, writes and reports files."""
_ALL_NUMBERS: tuple[Key, Key] = (-(2**63), 2**63 - 1)


def all_keys(mart: Mart) -> tuple[Key, Key]:
    """Return the range of all keys of a mart, from low (included) to high (excluded)."""
    first = next(column for column in mart.columns if column.name == mart.key[0])
    is_text = first.type in ("text_id", "text", "month")
    return ("", chr(0x10FFFF) * (first.max_length + 1)) if is_text else _ALL_NUMBERS


@dataclass(frozen=True)
class Part:
    """A file of rows: keys from low (included) to high (excluded), or all rows of a mart."""

    path: str
    low: Key
    high: Key


@dataclass(frozen=True)
class Patch:
    """Differences from the rows in some files."""

    rows: str
    """File with the new rows of changed customers."""
    instead_of: str
    """File with the ids of changed customers; a removed customer has no row."""


@dataclass(frozen=True)
class Change:
    """Rows that differ from those of an earlier build. A row that changed is in both files."""

    removed: str
    """File of rows that only the earlier build has; empty if there are none."""
    added: str
    """File of rows that only this build has; empty if there are none."""
    removed_rows: int
    added_rows: int
    added_cents: int
    """Sum of the control column of the added rows."""

    @property
    def paths(self) -> set[str]:
        return {self.removed, self.added} - {""}


@dataclass(frozen=True)
class MartPart:
    """Rows that one task computed or patched, and their statistics."""

    parts: tuple[Part, ...]
    """In key order, without gaps."""
    rows: int
    cents: int
    """Sum of the control column."""
    unknown: tuple[tuple[str, int], ...]
    """Lines without a dimension row, by kind."""
    figures: Figures
    erased_cents: int = 0
    """Sum left out because the people were erased."""
    guest_cents: int = 0
    """Sum left out because the rows belong to guests."""
    patch: Patch | None = None

    @property
    def paths(self) -> set[str]:
        files = (self.patch.rows, self.patch.instead_of) if self.patch else ()
        return {*(part.path for part in self.parts), *files}


@dataclass(frozen=True)
class Finished:
    """Result of a task: its rows, and the difference from an earlier build if there was one."""

    part: MartPart
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Previous:
    """Result of an earlier build for the same range and rules, and its inputs."""

    parts: tuple[MartPart, ...]
    facts: tuple[str, ...]
    dimensions: tuple[tuple[str, tuple[str, ...]], ...]
    as_of: date
    months: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Files of the other month tables."""
    is_comparable: bool = True
    """Whether only its keys can differ: the tables that the mart reads as a whole are the same."""


@dataclass(frozen=True)
class MartTask:
    """A task: the rows of a mart whose first key is from low (included) to high (excluded)."""

    pack: Pack
    mart: Mart
    number: int
    """Number of its first part."""
    low: Key
    high: Key
    folder: str
    facts: tuple[str, ...]
    dimensions: tuple[tuple[str, tuple[str, ...]], ...]
    """Clean files of each dimension."""
    policy: Policy
    as_of: date
    state: StoreAddress
    last_counts: tuple[str, ...] = ()
    """Dimensions of which the last row of a key counts."""
    previous: Previous | None = None
    earlier: tuple[tuple[Part, Patch | None], ...] | None = None
    """Files of the rows of an earlier build, to compare those that are computed with."""
    months: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Files of the other month tables that it reads: rows of its keys, if the mart is per key."""
    marts: tuple[tuple[str, tuple[tuple[Part, Patch | None], ...]], ...] = ()
    """Files of the marts that it reads, with the patches over them."""

    @property
    def place(self) -> tuple[str, int]:
        """Return what distinguishes it from the other tasks of a build."""
        return self.mart.name, self.number

    @property
    def part(self) -> Part:
        return Part(f"{self.folder}/part-{self.number:05d}.parquet", self.low, self.high)

    @property
    def patch(self) -> Patch:
        name = f"{self.number:05d}.parquet"
        return Patch(f"{self.folder}/patch-{name}", f"{self.folder}/instead-{name}")

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """Return the files of the month tables that it reads, by table."""
        return {**({self.mart.reads: self.facts} if self.mart.reads else {}), **dict(self.months)}

    def size(self, lines: Mapping[str, int]) -> int:
        """Return about how many lines it reads the facts of; ``lines`` are by file."""
        paths = [path for files in self.files.values() for path in files]
        return max(sum(lines.get(path, 0) for path in paths), _FEWEST)

    def change_path(self, side: str) -> str:
        """Return where the rows that differ from an earlier build are written."""
        return f"{self.folder}/{side}-{self.number:05d}.parquet"

    @property
    def calculation(self) -> Calculation:
        """Return how its rows are computed."""
        subject = self.pack.subject
        months = self.pack.months.get(self.mart.reads) if self.mart.per != "month" else None
        of_people = self.mart.per == "key" or self.mart.control  # others may have rows of nobody
        person = subject.column_in(self.mart.key) if subject and months and of_people else ""
        control = months.control if months else ""
        kinds = {item.kind: self.pack.kinds[item.kind] for item in self.mart.lookups}
        versioned = {name: kind for name, kind in kinds.items() if kind.versions}
        numbers = Numbers.of(self.pack, self.policy)
        return Calculation(self.mart, control, person, numbers, self.pack.highlights, versioned)


def added(parts: Sequence[MartPart]) -> MartPart:
    """Combine the results of several tasks of one mart, none of them a patch."""
    kinds = [kind for kind, _ in parts[0].unknown]
    return MartPart(
        parts=tuple(part for item in parts for part in item.parts),
        rows=sum(item.rows for item in parts),
        cents=sum(item.cents for item in parts),
        unknown=tuple((kind, sum(dict(item.unknown)[kind] for item in parts)) for kind in kinds),
        figures=together(item.figures for item in parts),
        erased_cents=sum(item.erased_cents for item in parts),
        guest_cents=sum(item.guest_cents for item in parts),
    )
