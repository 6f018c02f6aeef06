"""Identity of the rows of a fact: the key of a transaction, and the rows that may have been delivered twice.

Candidates are found here by hash. identity.sql compares them and decides, so false candidates do no harm.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.compute.engine import named_in
from marts.pack import EXTRA, IDS, Kind, Pack
from marts.policy import Policy
from marts.rows.cast import clean_schema
from marts.rows.hashing import among, hash_rows, mix, repeated

NAMES = ("t_shard", "t_id", "t_line", "id_key", "day_key", "more_key")
"""Columns that name a transaction: what its rows share, its id, the number of a row, and the key of the policy."""


@dataclass(frozen=True)
class Identity:
    """The settings of policy and pack about the transactions of a fact."""

    key: tuple[str, ...]
    no_ids: tuple[str, ...]
    redelivered: str
    equal_lines: str
    fact: Kind
    used: tuple[str, ...] = ()
    """Columns of clean rows that the pack's SQL of months names."""

    @classmethod
    def of(cls, policy: Policy, pack: Pack, fact: Kind) -> "Identity":
        tables = [table for table in pack.months.values() if fact.name in table.reads]
        texts = [fact.across, *(text for table in tables for text in (table.sql, *table.prepare))]
        used = tuple(named_in(clean_schema(fact).names, *texts))
        if fact.once_per_id:
            return cls(fact.transaction_key, policy.no_ids, "line", policy.equal_lines, fact, used)
        key = fact.transaction_key if policy.transaction_key is None else policy.transaction_key
        return cls(key, policy.no_ids, policy.redelivered, policy.equal_lines, fact, used)

    @classmethod
    def of_all(cls, policy: Policy, pack: Pack) -> "Identities":
        """Return the identity of the rows of each fact, by its name."""
        return {fact.name: cls.of(policy, pack, fact) for fact in pack.facts}

    @property
    def name(self) -> tuple[object, ...]:
        """Return what distinguishes its settings from others."""
        fact = self.fact
        of_pack = (fact.name, fact.at, fact.shard, fact.id, fact.number, fact.item, fact.sign, fact.across)
        return self.key, self.no_ids, self.redelivered, self.equal_lines, of_pack

    @property
    def known(self) -> set[str]:
        """Return the columns of the fact; others are among the additional ones."""
        return {column.name for column in self.fact.columns}

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of the clean rows of the fact."""
        return clean_schema(self.fact)

    def clean(self, name: str) -> str:
        """Return the name of a column of the fact in clean rows."""
        return self.fact.column(name).clean_name

    @property
    def hashed(self) -> list[str]:
        """Return the columns of `NAMES` that are hashed to find candidates: those with values, each once."""
        by_id = bool(self._first_id) and self._first_id != self.fact.shard
        used = {"t_shard": bool(self.fact.shard), "id_key": by_id, "day_key": "day" in self.key, "t_id": True}
        return [name for name, is_used in used.items() if is_used]

    @property
    def narrow(self) -> "Identity":
        """Return it without the columns that the pack's SQL reads, if the others settle which rows count."""
        return replace(self, used=()) if self.fact.once_per_id and not self.fact.across else self

    @property
    def signs(self) -> list[str]:
        """Return the columns whose sign says whether a row adds or takes back."""
        return [self.clean(name) for name in self.fact.sign]

    @property
    def within_month(self) -> bool:
        """Return whether all rows of a transaction are in one month."""
        return "day" in self.key or "month" in self.key or not self.fact.id

    @property
    def within_day(self) -> bool:
        """Return whether all rows of a transaction are of one day."""
        return "day" in self.key or not self.fact.id

    @property
    def more(self) -> tuple[str, ...]:
        """Return the key columns other than the first id, the day and the month."""
        return tuple(name for name in self.key if name not in (self._first_id, "day", "month"))

    @property
    def owners(self) -> tuple[str, ...]:
        """Return the columns of ids that a transaction has one value of: the shard, and the first id of its key."""
        return tuple(dict.fromkeys(name for name in (self.fact.shard, self._first_id) if name))

    @property
    def _first_id(self) -> str:
        return next((name for name in self.key if name in self.known and self.fact.column(name).type in IDS), "")

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of clean rows that identify them, or that the pack's SQL reads."""
        fact = self.fact
        needed = (fact.id, fact.number, fact.shard, self._first_id, fact.at, fact.control, *self.used)
        more = (self.clean(name) if name in self.known else EXTRA for name in self.more)
        return tuple(dict.fromkeys(name for name in (*needed, *more) if name))

    def empty(self) -> pa.Table:
        """Return no rows, as `named` names them."""
        rows = self.schema.empty_table()
        for name in ("delivery", "position"):
            rows = rows.append_column(name, pa.array([], pa.int64()))
        return self.named(rows)

    def named(self, rows: pa.Table) -> pa.Table:
        """Add the columns of `NAMES` to rows; ids listed in ``no_ids`` become null."""
        fact, count = self.fact, rows.num_rows
        ids = pa.nulls(count, pa.string())
        if fact.id:
            ids = rows[fact.id]
            if pa.types.is_string(ids.type):
                ids = _without_words(ids, self.no_ids)
                rows = rows.set_column(rows.schema.get_field_index(fact.id), fact.id, ids)
        numbers = rows[fact.number] if fact.number else pa.nulls(count, pa.int64())
        if fact.once_per_id:
            numbers = pa.array(np.zeros(count, np.int64))
        values = {
            "t_shard": rows[fact.shard] if fact.shard else pa.array(np.zeros(count, np.int64)),
            "t_id": ids,
            "t_line": numbers,
            "id_key": rows[self._first_id] if self._first_id else pa.nulls(count, pa.int64()),
            "day_key": rows[fact.at] if "day" in self.key else pa.nulls(count, pa.date32()),
            "more_key": self._more_of(rows),
        }
        for name, column in values.items():
            rows = rows.append_column(name, column)
        return rows

    def _more_of(self, lines: pa.Table) -> pa.Array:
        """Join the values of the columns ``more`` to one text per line."""
        if not self.more:
            return pa.nulls(lines.num_rows, pa.string())
        values = [lines[self.clean(n)] if n in self.known else _of_extra(lines[EXTRA], n) for n in self.more]
        texts = [pc.utf8_trim_whitespace(pc.fill_null(pc.cast(value, pa.string()), "")) for value in values]
        return pc.binary_join_element_wise(*texts, "\x1f")

    def compared(self, rows: pa.Table) -> list[str]:
        """Return the columns of rows, read in part, that equal rows have in common: numbers and dates."""
        others = {*NAMES, "delivery", "position", self.fact.shard, self.fact.number}
        fields = (field for field in rows.schema if field.name not in others)
        return [field.name for field in fields if pa.types.is_integer(field.type) or pa.types.is_date(field.type)]


Identities = Mapping[str, Identity]
"""By the name of the fact."""


def _without_words(ids: pa.ChunkedArray, words: Sequence[str]) -> pa.ChunkedArray:
    # An upper-case letter may have more bytes than its lower-case one.
    longest = max((3 * len(word.encode()) for word in words), default=0)
    short = pc.fill_null(pc.less_equal(pc.binary_length(ids), longest), False)
    if not pc.any(short).as_py():
        return ids
    is_word = pc.is_in(pc.utf8_lower(ids), pa.array(words, pa.string()))
    return pc.if_else(pc.and_(short, is_word), pa.scalar(None, pa.string()), ids)


def _of_extra(extra: pa.ChunkedArray, name: str) -> pa.Array:
    """Return the values of a column that is not in the schema. JSON is parsed once per distinct text."""
    encoded = extra.combine_chunks().dictionary_encode()
    values = [json.loads(text).get(name) for text in encoded.dictionary.to_pylist()]
    return pa.array(values, pa.string()).take(encoded.indices)


def suspects(lines: pa.Table, identity: Identity) -> np.ndarray:
    """Return a mask of the lines that may not count, or that may count beside an equal line.

    These are lines of transactions in several deliveries, lines that look alike within one delivery, and lines without
    an id that look alike in several. ``lines`` has the columns of `Identity.named`, and ``delivery``; columns that are
    not needed for sums may be missing.
    """
    delivery = lines["delivery"].to_numpy()
    has_id = lines["t_id"].is_valid().to_numpy()
    baskets = hash_of_key(lines, identity)
    if identity.fact.once_per_id:
        result = among(baskets, repeated(baskets[has_id])) & has_id
    else:
        result = among(baskets, _in_several(baskets[has_id], delivery[has_id])) & has_id
        unnumbered = lines["t_line"].is_null().to_numpy()
        keys = mix(mix(baskets, delivery), hash_rows(lines.select(["t_line"])))
        if unnumbered.any():
            alike = hash_rows(lines.filter(pa.array(unnumbered)).select(identity.compared(lines)))
            keys[unnumbered] = mix(keys[unnumbered], alike)
        result |= among(keys, repeated(keys[has_id])) & has_id
    if not has_id.all():
        of_nobody = lines.filter(pa.array(~has_id))
        loose = mix(hash_rows(of_nobody.select(identity.compared(lines))), hash_rows(of_nobody.select(["t_shard"])))
        result[~has_id] = among(loose, _in_several(loose, delivery[~has_id]))
    return np.asarray(result)


def hash_of_key(lines: pa.Table, identity: Identity) -> np.ndarray:
    """Hash the key of the transaction of each line, without the columns that are compared later."""
    return hash_rows(lines.select(identity.hashed))


def in_several_months(lines: pa.Table, identity: Identity) -> np.ndarray:
    """Return a mask of the lines that may belong to transactions in several months."""
    has_id = lines["t_id"].is_valid().to_numpy()
    baskets = hash_of_key(lines, identity)
    months = lines[identity.fact.at].to_numpy().astype("datetime64[M]").astype(np.int64)
    return np.asarray(among(baskets, _in_several(baskets[has_id], months[has_id])) & has_id)


def _in_several(hashes: np.ndarray, delivery: np.ndarray) -> np.ndarray:
    """Return the hashes that occur in several deliveries; lines are grouped by delivery."""
    if not len(hashes):
        return hashes
    # Most lines of a transaction are adjacent in one delivery: keep one hash of each run.
    first = np.ones(len(hashes), bool)
    first[1:] = (hashes[1:] != hashes[:-1]) | (delivery[1:] != delivery[:-1])
    hashes, delivery = hashes[first], delivery[first]
    again = repeated(hashes)
    if not len(again):
        return again
    maybe = among(hashes, again)
    hashes, delivery = hashes[maybe], delivery[maybe]
    order = np.lexsort((delivery, hashes))
    hashes, delivery = hashes[order], delivery[order]
    several = (hashes[1:] == hashes[:-1]) & (delivery[1:] != delivery[:-1])
    return np.unique(hashes[1:][several])
