"""Line identity: the key of a transaction, and the lines that may have been delivered twice.

Candidates are found here by hash. identity.sql compares them and decides, so false candidates do no harm.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.policy import Policy
from marts.rows.hashing import among, hash_rows, mix, repeated
from marts.schema import EXTRA, SALES

NAMES = ("store_key", "day_key", "more_key")
"""Columns of the transaction key besides customer_id and transaction_id; null where the policy leaves them out."""
_COLUMNS = {column.name for column in SALES.columns}


@dataclass(frozen=True)
class Identity:
    """The policy's settings about transactions."""

    key: tuple[str, ...]
    no_ids: tuple[str, ...]
    redelivered: str
    equal_lines: str

    @classmethod
    def of(cls, policy: Policy) -> "Identity":
        return cls(policy.transaction_key, policy.no_ids, policy.redelivered, policy.equal_lines)

    @property
    def within_month(self) -> bool:
        """Return whether all lines of a transaction are in one month."""
        return "day" in self.key

    @property
    def more(self) -> tuple[str, ...]:
        """Return the key columns other than store and day."""
        return tuple(name for name in self.key if name not in ("store_id", "day"))

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of clean lines that contain the values of ``more``."""
        return tuple(dict.fromkeys(name if name in _COLUMNS else EXTRA for name in self.more))

    def named(self, lines: pa.Table) -> pa.Table:
        """Add the columns of the transaction key to lines; transaction ids listed in ``no_ids`` become null."""
        ids = _without_words(lines["transaction_id"], self.no_ids)
        lines = lines.set_column(lines.schema.get_field_index("transaction_id"), "transaction_id", ids)
        stores = lines["store_id"] if "store_id" in self.key else pa.nulls(lines.num_rows, pa.int64())
        days = lines["sales_date"] if "day" in self.key else pa.nulls(lines.num_rows, pa.date32())
        for name, values in zip(NAMES, (stores, days, self._more_of(lines)), strict=True):
            lines = lines.append_column(name, values)
        return lines

    def _more_of(self, lines: pa.Table) -> pa.Array:
        """Join the values of the columns ``more`` to one text per line."""
        if not self.more:
            return pa.nulls(lines.num_rows, pa.string())
        values = [lines[name] if name in _COLUMNS else _of_extra(lines[EXTRA], name) for name in self.more]
        texts = [pc.utf8_trim_whitespace(pc.fill_null(pc.cast(value, pa.string()), "")) for value in values]
        return pc.binary_join_element_wise(*texts, "\x1f")


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


def suspects(lines: pa.Table) -> np.ndarray:
    """Return a mask of the lines that may not count, or that may count beside an equal line.

    These are lines of transactions in several deliveries, lines that look alike within one delivery, and lines without
    an id that look alike in several. ``lines`` has the columns of `Identity.named`, and ``delivery``; columns that are
    not needed for sums may be missing.
    """
    delivery = lines["delivery"].to_numpy()
    has_id = lines["transaction_id"].is_valid().to_numpy()
    baskets = hash_rows(lines.select(["customer_id", *NAMES[:2], "transaction_id"]))
    result = among(baskets, _in_several(baskets[has_id], delivery[has_id]))
    result &= has_id
    unnumbered = lines["line_no"].is_null().to_numpy()
    keys = mix(mix(baskets, delivery), hash_rows(lines.select(["line_no"])))
    alike = hash_rows(
        lines.select(["store_id", "sales_person_id", "sales_date", "quantity_ten_thousandths", "total_cents"])
    )
    keys[unnumbered] = mix(keys[unnumbered], alike[unnumbered])
    repeats = among(keys, repeated(keys[has_id])) & has_id
    if not has_id.all():
        loose = mix(alike, lines["customer_id"].to_numpy())
        result |= among(loose, _in_several(loose[~has_id], delivery[~has_id])) & ~has_id
    return np.asarray(result | repeats)


def in_several_months(lines: pa.Table) -> np.ndarray:
    """Return a mask of the lines that may belong to transactions in several months."""
    has_id = lines["transaction_id"].is_valid().to_numpy()
    baskets = hash_rows(lines.select(["customer_id", *NAMES[:2], "transaction_id"]))
    months = lines["sales_date"].to_numpy().astype("datetime64[M]").astype(np.int64)
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
