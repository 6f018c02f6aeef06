"""List the objects of a source by kind of drop, and say which are drops."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from jobs.ports.store import ObjectVersion, Store, at_once
from marts.errors import ServiceError
from marts.pack import Pack
from marts.rows.source_block import DEFAULT, SourceBlock, block_of, literal_folder

_FORMATS = (
    *(".tsv", ".txt", ".psv", ".dat", ".json", ".jsonl", ".ndjson", ".xml", ".xls", ".xlsx", ".xlsb", ".ods"),
    *(".parquet", ".avro", ".orc", ".feather", ".arrow"),
    *(".zip", ".gz", ".bz2", ".zst", ".xz", ".lz4", ".snappy", ".7z", ".tar", ".tgz"),
)
"""Suffixes of objects that may contain rows but are read only if a block says how."""
_TEXT = ("", ".csv", ".tsv", ".txt", ".psv", ".dat", ".gz", ".zip")
"""Suffixes of objects that a block may say are read as CSV."""


@dataclass(frozen=True)
class Listing:
    """The objects of a source, by kind."""

    drops: Mapping[str, Sequence[ObjectVersion]]
    others: Mapping[str, Sequence[ObjectVersion]]
    """Objects that are no drops by their format."""
    no_data: int
    """Objects that are no data by their names."""

    def has(self, kind: str) -> bool:
        """Return whether there is any object of a kind."""
        return bool(self.drops[kind] or self.others[kind])


def list_source(source: Store, pack: Pack, blocks: Sequence[SourceBlock]) -> Listing:
    """List the objects of each kind: those of its folder, in any case of letters, and those that blocks name."""
    folders = _folders(source)
    named = {literal_folder(block.match) for block in blocks if block.kind and not block.ignore}
    prefixes = {*pack.kinds, *(name for name in folders if name.lower() in pack.kinds), *named}
    # A pattern fits keys in any case of letters, but stores list only the folder that they are asked for.
    prefixes |= {name for name in folders for other in named if _is_other_spelling(name, other)}
    by_prefix = dict(zip(tops := _tops(prefixes), at_once(source.versions, tops), strict=True))
    empty = {name.partition("/")[0] for name in named if "/" in name and not by_prefix.get(name, True)}
    by_prefix |= {name: source.versions(name) for name in empty & set(folders)}
    listed = {version.key: version for versions in by_prefix.values() for version in versions}.values()
    drops: dict[str, list[ObjectVersion]] = {kind: [] for kind in pack.kinds}
    others: dict[str, list[ObjectVersion]] = {kind: [] for kind in pack.kinds}
    no_data = 0
    for version in listed:
        block = block_of(version.key, blocks)
        kind = block.kind or version.key.partition("/")[0].lower()
        if kind not in pack.kinds:
            continue
        if block.ignore or is_no_data(version):
            no_data += 1
        elif _is_drop(version.key, block):
            drops[kind].append(version)
        else:
            others[kind].append(version)
    return Listing(drops, others, no_data)


def _folders(source: Store) -> list[str]:
    """Return the folders of a source; none if only its known folders may be listed."""
    try:
        return source.folders()
    except ServiceError:
        return []  # the listing of the known folders reports what is wrong


def _is_other_spelling(folder: str, named: str) -> bool:
    """Return whether a folder at the top is that of a folder that a block names, in other letters."""
    top = named.partition("/")[0]
    return folder.lower() == top.lower() and folder != top


def _tops(prefixes: Collection[str]) -> list[str]:
    """Return the folders that are below no other of them, in order: listing those lists all."""
    return sorted(name for name in prefixes if not any(_is_below(name, other) for other in prefixes))


def _is_below(name: str, other: str) -> bool:
    return name != other and (not other or name.startswith(f"{other}/"))


def _is_drop(key: str, block: SourceBlock) -> bool:
    """Return whether an object is a drop: a CSV file by its name, or a file that its block says how to read."""
    name = key.lower()
    if block.format != "csv" or name.endswith((".csv", ".csv.gz")):
        return True
    return block is not DEFAULT and PurePosixPath(name).suffix in _TEXT


def is_no_data(version: ObjectVersion) -> bool:
    """Return whether an object is no data by its name: hidden, temporary, a checksum, a folder."""
    parts = version.key.split("/")
    hidden = any(part.startswith(("_", ".")) or part.upper() == "__MACOSX" for part in parts)
    folder = version.key.endswith("/") and not version.size
    return hidden or folder or version.key.lower().endswith((".crc", ".part", ".tmp"))


def unread_format(key: str) -> str:
    """Return why an object that may contain rows is not read; empty for one that hardly contains rows."""
    if key.endswith("(unreadable name)"):
        return "its name is not UTF-8"
    suffix = PurePosixPath(key.lower()).suffix
    if suffix and suffix not in _FORMATS:
        return ""
    return f"its format is not read: {suffix or 'no suffix'}"
