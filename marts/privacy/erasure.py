"""Erased people: how a task recognises them without knowing who they are, and what it writes instead."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.dialect import LineFormat
from marts.pack import GUEST, ID_LENGTH, TEXT_GUEST, Kind, PersonId

ERASED = "(erased)"
_EXTRA = "additional_columns"
_LONGEST = 60
"""Maximum characters of an id, including quotes, zeros and white space."""
TELLING = 4
"""Minimum characters of a number that counts as an id at any position of a malformed line."""
_OFFSET = -1000
"""The id of an erased person is this value minus their number; no ``unknown_ids`` of guests is this low."""
_TEXT_STAND_IN = "erased-"
"""Begin of the id of an erased person where ids are texts."""
_JSON_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s,:{}\[\]"]+)')
_ID = re.compile(r"(?:[^\s0-9.+-][^0-9.]{0,20})?0*([0-9]{1,18})(\.0*)?")
"""A number, perhaps with a prefix without digits, which a block may take off (id_prefix)."""
_GROUPS = re.compile(r"(?<![0-9])[0-9]{1,3}(?:[.,' _\u00a0\u2009\u202f\u2019][0-9]{3})+(?![0-9])")
"""A number with marks between its thousands."""
_RUN = re.compile(r"(?<![0-9])0*([0-9]{1,18})(?![0-9])")


def id_of(written: str, prefix: str = "") -> int | None:
    """Parse an id as people or spreadsheets may write it: with quotes, a prefix, leading zeros, or ``.0``."""
    bare = written.strip().strip("\"'").strip()  # all Unicode white space, as when the columns are read
    result = _ID.fullmatch(bare.removeprefix(prefix)) if len(bare) <= _LONGEST else None
    return int(result[1]) if result else None


def text_id_of(written: str, prefix: str = "") -> str | None:
    """Parse an id that is a text: without quotes, surrounding white space and a prefix."""
    bare = written.strip().strip("\"'").strip().removeprefix(prefix)
    return bare if 0 < len(bare) <= ID_LENGTH else None


def ids_in(raw: str, form: LineFormat, person: str, text: bool = False) -> set[PersonId]:
    """Return the people that a row may belong to; ``person`` is the column of their ids.

    In a row that is not valid CSV, the field at the position of the id counts, and any number of at least ``TELLING``
    characters: shorter ones may be quantities or stores. In JSON that cannot be read, every number counts.
    """
    if text:
        return set(filter(None, (text_id_of(item, form.id_prefix) for item in _texts_in(raw, form, person))))
    if form.owner:
        texts = [form.owner]
    elif person not in form.names:
        return set()
    elif raw.lstrip().startswith("{"):
        bare = raw.replace(form.id_prefix, " ") if form.id_prefix else raw
        spelled = {text for written in (raw, bare) for text in _spellings(written)}
        return {int(run[1]) for text in spelled for run in _RUN.finditer(text)}
    elif fields := form.values(raw):
        texts = [fields[form.names.index(person)]]
    else:  # a quote is in the wrong place, or a field is missing
        place, parts = form.names.index(person), raw.split(form.dialect.delimiter)
        texts = [*parts[place : place + 1], *(part for part in parts if len(part.strip()) >= TELLING)]
    ids = (id_of(spelled, form.id_prefix) for text in texts for spelled in _spellings(text))
    return {number for number in ids if number is not None}


def _texts_in(raw: str, form: LineFormat, person: str) -> list[str]:
    """Return the texts of a row that may be the id of its person, where ids are texts."""
    if form.owner:
        return [form.owner]
    if person not in form.names:
        return []
    if raw.lstrip().startswith("{"):
        return ["".join(groups) for groups in _JSON_TEXT.findall(raw)]
    if fields := form.values(raw):
        return [fields[form.names.index(person)]]
    return raw.split(form.dialect.delimiter)


def _spellings(text: str) -> Iterator[str]:
    """Yield a text as it is, and without the marks of thousands or a decimal comma, which a block may allow."""
    yield text
    if _GROUPS.search(text):
        yield _GROUPS.sub(lambda group: re.sub(r"[^0-9]", "", group[0]), text)
    yield re.sub(r",0*(?=\W*$)", "", text)


@dataclass(frozen=True)
class Erased:
    """Salted digests of the ids of erased customers; each has a number, and -1000 - number replaces the id."""

    salt: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict)
    person: str = ""
    """Column of the ids of people."""
    has_text_ids: bool = False

    def digest(self, customer: PersonId) -> str:
        """Return a digest that identifies a customer without revealing the id: BLAKE2b keyed with the salt."""
        return self._named(str(customer))

    @property
    def name(self) -> str:
        """Return one digest of all erased people; empty if there are none."""
        return self._named(" ".join(sorted(self.numbers))) if self.numbers else ""

    def stand_in(self, number: int) -> PersonId:
        """Return the id that replaces that of the person with this number."""
        return f"{_TEXT_STAND_IN}{number}" if self.has_text_ids else _OFFSET - number

    def number_of(self, written: str) -> int:
        """Return the number of the person with an id as written; 0 if they are not erased."""
        customer = text_id_of(written) if self.has_text_ids else id_of(written)
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

    def is_in(self, raw: str, form: LineFormat) -> bool:
        """Return whether a row, which may be malformed, is of an erased person."""
        return bool(self.numbers) and any(
            self.digest(item) in self.numbers for item in ids_in(raw, form, self.person, self.has_text_ids)
        )

    def without(self, kind: Kind, rows: pa.Table, numbers: Sequence[int], from_id: Collection[str] = ()) -> pa.Table:
        """Remove the personal data of erased people from clean rows.

        Values that distinguish sales lines are kept, so that repeated lines are still detected. Each additional column
        becomes a digest of its own, because it may be part of the transaction key; so does each text in ``from_id``,
        the columns that are computed from the id. Of a dimension with versions, columns without personal data are kept:
        tables count who worked where.
        """
        type_ = rows.schema.field(kind.person).type
        nobody = pa.array([self.stand_in(number) for number in numbers], type_)
        rows = rows.set_column(rows.schema.get_field_index(kind.person), kind.person, nobody)
        if kind.is_subject:
            for column in kind.columns:
                if column.name == kind.person or (kind.versions and not column.personal):
                    continue
                place = rows.schema.get_field_index(column.clean_name)
                word = ERASED if column.type == "text" and not column.nullable else None
                blank = pa.array([word] * rows.num_rows, rows.schema.field(place).type)
                rows = rows.set_column(place, column.clean_name, blank)
        if kind.is_fact:
            messages = [self._hidden(text) for text in rows[_EXTRA].to_pylist()]
            rows = rows.set_column(rows.schema.get_field_index(_EXTRA), _EXTRA, pa.array(messages, pa.string()))
            for name in {column.name for column in kind.columns if column.type == "text"} & set(from_id):
                hidden = [None if text is None else self._named(f"{name}={text}") for text in rows[name].to_pylist()]
                rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(hidden, pa.string()))
        return rows

    def _hidden(self, text: str | None) -> str | None:
        if text is None:
            return None
        return json.dumps(
            {name: self._named(f"{name}={str(value).strip()}") for name, value in json.loads(text).items()}
        )

    def _named(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), digest_size=16, key=bytes.fromhex(self.salt)).hexdigest()


def is_guest(rows: pa.Table, person: str) -> pa.ChunkedArray:
    """Return a mask of the rows of guests."""
    return pc.equal(rows[person], TEXT_GUEST if pa.types.is_string(rows[person].type) else GUEST)


def is_erased(rows: pa.Table, person: str) -> pa.ChunkedArray:
    """Return a mask of the rows of erased people."""
    if pa.types.is_string(rows[person].type):
        return pc.match_substring_regex(rows[person], f"^{_TEXT_STAND_IN}[0-9]+$")
    return pc.less(rows[person], _OFFSET)


def people(rows: pa.Table, person: str) -> pa.Table:
    """Exclude the rows of guests and of erased people, which have no row in a mart of people."""
    if pa.types.is_string(rows[person].type):
        return rows.filter(pc.invert(pc.or_(is_guest(rows, person), is_erased(rows, person))))
    return rows.filter(pc.greater(rows[person], 0))
