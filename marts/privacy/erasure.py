"""Erased people: how a task recognises them without knowing who they are, and what it writes instead."""

import csv
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.schema import CUSTOMERS, SALES, Kind

ERASED = "(erased)"
_KEY, _EXTRA = "customer_id", "additional_columns"
_LONGEST = 60
"""Maximum characters of an id, including quotes, zeros and white space."""
TELLING = 4
"""Minimum characters of a number that counts as an id at any position of a malformed line."""
_OFFSET = -1000
"""The id of an erased person is this value minus their number; no ``unknown_ids`` of guests is this low."""
_ID = re.compile(r"(?:[A-Za-z][^0-9.]{0,20})?0*([0-9]{1,18})(\.0*)?")
"""A number, perhaps with a prefix of letters, which a block may take off (id_prefix)."""


def id_of(written: str) -> int | None:
    """Parse an id as people or spreadsheets may write it: with quotes, a prefix, leading zeros, or ``.0``."""
    bare = written.strip().strip("\"'").strip()  # all Unicode white space, as when the columns are read
    result = _ID.fullmatch(bare) if len(bare) <= _LONGEST else None
    return int(result[1]) if result else None


def ids_in(raw: str, names: Sequence[str], delimiter: str) -> set[int]:
    """Return the customers that a line may belong to; ``names`` is the header.

    In a line that is not valid CSV, the field at the position of the id counts, and any number of at least ``TELLING``
    characters: shorter ones may be quantities or stores.
    """
    if _KEY not in names:
        return set()
    try:
        fields = next(csv.reader([raw], delimiter=delimiter, strict=True), [])
    except csv.Error:
        fields = []
    place = names.index(_KEY)
    if len(fields) == len(names):
        messages = [fields[place]]
    else:  # a quote is in the wrong place, or a field is missing
        parts = raw.split(delimiter)
        messages = [*parts[place : place + 1], *(part for part in parts if len(part.strip()) >= TELLING)]
    return {result for result in map(id_of, messages) if result is not None}


@dataclass(frozen=True)
class Erased:
    """Salted digests of the ids of erased customers; each has a number, and -1000 - number replaces the id."""

    salt: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict)

    def digest(self, customer: int) -> str:
        """Return a digest that identifies a customer without revealing the id: BLAKE2b keyed with the salt."""
        return self._named(str(customer))

    @property
    def name(self) -> str:
        """Return one digest of all erased people; empty if there are none."""
        return self._named(" ".join(sorted(self.numbers))) if self.numbers else ""

    @staticmethod
    def stand_in(number: int) -> int:
        """Return the id that replaces that of the person with this number."""
        return _OFFSET - number

    def number_of(self, written: str) -> int:
        """Return the number of the person with an id as written; 0 if they are not erased."""
        customer = id_of(written)
        return 0 if customer is None else self.numbers.get(self.digest(customer), 0)

    def numbers_of(self, written: pa.Array) -> np.ndarray | None:
        """Return the number of each row's person; None if no row is of an erased person, as in nearly every block."""
        if not self.numbers:
            return None
        encoded = written.dictionary_encode()
        numbers = np.array([self.number_of(text or "") for text in encoded.dictionary.to_pylist()] or [0], np.int64)
        if not numbers.any():
            return None
        places = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return np.where(encoded.indices.is_valid().to_numpy(zero_copy_only=False), numbers[places], 0)

    def is_in(self, raw: str, names: Sequence[str], delimiter: str) -> bool:
        """Return whether a line, which may be malformed CSV, is of an erased person; ``names`` is the header."""
        return bool(self.numbers) and any(self.digest(item) in self.numbers for item in ids_in(raw, names, delimiter))

    def without(self, kind: Kind, rows: pa.Table, numbers: Sequence[int]) -> pa.Table:
        """Remove the personal data of erased people from clean rows.

        Values that distinguish sales lines are kept, so that repeated lines are still detected. Each additional column
        becomes a digest of its own, because it may be part of the transaction key.
        """
        nobody = pa.array([self.stand_in(number) for number in numbers], pa.int64())
        rows = rows.set_column(rows.schema.get_field_index(_KEY), _KEY, nobody)
        if kind is CUSTOMERS:
            for column in kind.columns:
                if column.name != _KEY:
                    place = rows.schema.get_field_index(column.name)
                    blank = [None if column.nullable else ERASED] * rows.num_rows
                    rows = rows.set_column(place, column.name, pa.array(blank, rows.schema.field(place).type))
        if kind is SALES:
            messages = [self._hidden(text) for text in rows[_EXTRA].to_pylist()]
            rows = rows.set_column(rows.schema.get_field_index(_EXTRA), _EXTRA, pa.array(messages, pa.string()))
        return rows

    def _hidden(self, text: str | None) -> str | None:
        if text is None:
            return None
        return json.dumps(
            {name: self._named(f"{name}={str(value).strip()}") for name, value in json.loads(text).items()}
        )

    def _named(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), digest_size=16, key=bytes.fromhex(self.salt)).hexdigest()


def people(rows: pa.Table) -> pa.Table:
    """Exclude the rows of guests and of erased people, which have no row in the customers mart."""
    return rows.filter(pc.greater(rows[_KEY], 0))
