"""Rewrite drops that still count although their objects are missing: the state is the only copy of their lines.

To erase a person, the files of a drop are written again with the person's rows made anonymous, as a scan of the object
would write them now.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.ports.store import Store
from jobs.state.manifest import LinesFile, Manifest, MonthLines, Reason, name_of
from jobs.state.parquet import read_parquet, read_quarantine, write_parquet
from jobs.steps.quarantine_files import KEY
from jobs.steps.row_files import summed, write_lines
from marts.pack import Kind, Pack, PersonId
from marts.privacy.erasure import ERASED, Erased
from marts.quality.findings import without_samples


@dataclass(frozen=True)
class Person:
    """A person to erase."""

    customer: PersonId
    number: int
    erased: Erased
    """All erased people, including this one."""


IsOf = Callable[[str], bool]
"""Predicate: whether a raw row belongs to the person."""


def rewrite(store: Store, pack: Pack, manifest: Manifest, person: Person, is_of: IsOf) -> Manifest:
    """Write the files of a drop again without the person. Return its manifest, which has a new name.

    Nothing is removed. A repetition writes the same files. Raise StateDamaged if a file cannot be read.
    """
    name = name_of(manifest.scan, person.erased.name)
    kind = pack.kinds[manifest.delivery.kind]
    months: dict[str, MonthLines] = {}
    others_part = 0
    for month, lines in manifest.months.items():
        folder = f"lines/month={month}/drop={name}"
        written = [_rewrite_rows(store, kind, file, folder, person, manifest.from_id) for file in lines.files]
        months[month] = lines.model_copy(update={"files": tuple(file for file, _ in written)})
        others_part += sum(rows for _, rows in written)
    folder = f"dimensions/{manifest.delivery.kind}/drop={name}"
    files = [_rewrite_rows(store, kind, file, folder, person, ())[0] for file in manifest.files]
    reasons = (_without(reason, is_of(reason.raw)) for reason in manifest.reasons)
    return manifest.model_copy(
        update={
            "scan": name,
            "origin": name_of(manifest.origin, person.erased.name),
            "months": months,
            "files": tuple(files),
            "quarantine": _rewrite_quarantine(store, manifest, name, person, is_of),
            "reasons": tuple(reasons),
            "measured": without_samples(manifest.measured),
            "sums": _with_person(manifest.sums, kind, others_part, person),
            "rows_hash": "",
        }
    )


def _rewrite_rows(
    store: Store, kind: Kind, file: LinesFile, folder: str, person: Person, from_id: Sequence[str]
) -> tuple[LinesFile, int]:
    """Write a file of clean rows, in its order, with the person's rows made anonymous. Return it and their number.

    A file without rows of the person is kept. ``from_id`` are the columns that are computed from the id.
    """
    rows = read_parquet(store, file.path)
    others_part = pc.equal(rows[kind.person], person.customer)
    number = int(pc.sum(others_part).as_py() or 0)
    if not number:
        return file, 0
    nobodys = person.erased.without(kind, rows.filter(others_part), [person.number] * number, from_id)
    both = pa.concat_tables([rows.filter(pc.invert(others_part)), nobodys])
    places = others_part.to_numpy()
    both = both.take(pa.array(np.argsort(np.concatenate([np.flatnonzero(~places), np.flatnonzero(places)]))))
    moved = LinesFile(path=f"{folder}/{file.path.rpartition('/')[2]}", rows=file.rows)
    if kind.is_fact:
        write_lines(store, kind, moved.path, both)
    else:
        write_parquet(store, moved.path, both, by=kind.key or "")
    return moved, number


def _rewrite_quarantine(store: Store, manifest: Manifest, name: str, person: Person, is_of: IsOf) -> tuple[str, ...]:
    """Write the drop's rows in quarantine to its own files: drops that were read together share files."""
    rules = [reason.rule for reason in manifest.reasons]
    written = []
    for number, path in enumerate(manifest.quarantine):
        own = read_quarantine(store, manifest, path)
        named = {KEY: str(person.erased.stand_in(person.number))} if KEY in own.column_names else {}
        bare = [
            {**row, **named, "raw": ERASED, "reasons": [_rule(message, rules) for message in row["reasons"]]}
            if is_of(row["raw"])
            else row
            for row in own.to_pylist()
        ]
        written.append(f"quarantine/{manifest.delivery.kind}/pack={name}/{number:05d}.parquet")
        write_parquet(store, written[-1], pa.Table.from_pylist(bare, own.schema))
    return tuple(written)


def _rule(message: str, rules: Sequence[str]) -> str:
    """Return a reason without the value that broke the rule."""
    return next(
        (rule for rule in rules if message == rule or message.startswith(f"{rule}: ")), message.partition(": ")[0]
    )


def _without(reason: Reason, others_part: bool) -> Reason:
    return reason.model_copy(update={"raw": ERASED, "example": ""}) if others_part else reason


def _with_person(sums: tuple[int, ...], kind: Kind, rows: int, person: Person) -> tuple[int, ...]:
    """Change the sum of people's ids, if they are numbers: drops with equal rows are found by their sums."""
    if isinstance(person.customer, str):
        return sums
    change = rows * (int(person.erased.stand_in(person.number)) - person.customer)
    index = 1 + summed(kind).index(kind.person)
    return tuple((value + change * (place == index)) % 2**64 for place, value in enumerate(sums))
