"""Hash rows to 64 bits, to find the few that may be duplicates. Whether they are is decided by comparison.

Uses numpy only: calling a database engine costs more than hashing a drop.
"""

import numpy as np
import pyarrow as pa

from marts.rows.buffers import letters

_ODD, _ODD2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_HALF, _LESS = np.uint64(32), np.uint64(29)
_NOTHING = np.uint64(0x27D4EB2F165667C5)
_FEWEST, _MOST = 16, 22
"""Bits of a hash that rule out others: as many as keep the table in the cache of a processor."""
_ROWS = 1 << 16
"""Rows of text hashed at a time: each byte of text needs eight bytes or more of memory."""


def hash_rows(rows: pa.Table) -> np.ndarray:
    """Hash the rows of a table: equal rows have equal hashes, in any block and process."""
    hashes = np.zeros(rows.num_rows, np.uint64)
    for column in rows.columns:
        hashes = mix(hashes, _hash_values(column.combine_chunks()))
    return hashes


def mix(hashes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mix values into hashes."""
    mixed = hashes * _ODD + values.astype(np.uint64, copy=False)
    mixed ^= mixed >> _HALF
    mixed *= _ODD2
    mixed ^= mixed >> _LESS
    return mixed


def repeated(hashes: np.ndarray) -> np.ndarray:
    """Return the hashes that occur more than once."""
    ordered = np.sort(hashes)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def among(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return which hashes are among the known ones. The last bits rule out nearly all others quickly."""
    bits = min(max(len(known).bit_length() + 5, _FEWEST), _MOST)
    last, mask = np.zeros(1 << bits, bool), np.uint64((1 << bits) - 1)
    last[(known & mask).astype(np.int64)] = True
    result = last[(hashes & mask).astype(np.int64)]
    result[result] = np.isin(hashes[result], known)
    return np.asarray(result)


def _hash_values(values: pa.Array) -> np.ndarray:
    if pa.types.is_string(values.type):
        pieces = [_hash_texts(values.slice(start, _ROWS)) for start in range(0, len(values), _ROWS)]
        hashed = np.concatenate(pieces) if pieces else np.empty(0, np.uint64)
    else:
        whole = values.cast(pa.int32()) if pa.types.is_date32(values.type) else values
        filled = whole.cast(pa.int64()).fill_null(0) if values.null_count else whole.cast(pa.int64())
        hashed = filled.to_numpy(zero_copy_only=False).view(np.uint64)
    if values.null_count:
        null = values.is_null().to_numpy(zero_copy_only=False)
        hashed = np.where(null, _NOTHING, hashed)
    return hashed


def _hash_texts(texts: pa.Array) -> np.ndarray:
    """Hash texts, eight bytes at a time; a null is hashed as an empty text."""
    codes, narrow = letters(texts)
    edges = narrow.astype(np.int64)
    sizes = np.diff(edges)
    longest = int(sizes.max())
    if longest * len(texts) <= 2 * len(codes):  # about the same length, as transaction ids are
        sums = _sum_even(codes, sizes, longest)
    else:
        sums = _sum_uneven(codes, edges[:-1], sizes)
    return mix(sums, sizes)


def _powers(count: int) -> np.ndarray:
    return np.cumprod(np.full(count, _ODD, np.uint64))


def _sum_even(codes: np.ndarray, sizes: np.ndarray, longest: int) -> np.ndarray:
    """Add up the 8-byte words of texts of about the same length, each times a power for its position."""
    width = -(-longest // 8) * 8
    padded = np.zeros((len(sizes), width), np.uint8)
    if int(sizes.min()) == longest:
        padded[:, :longest] = codes.reshape(len(sizes), longest)
    else:
        padded[np.arange(width) < sizes[:, None]] = codes
    words = padded.view("<u8")
    sums = np.zeros(len(sizes), np.uint64)
    for place, power in enumerate(_powers(words.shape[1])):
        sums += words[:, place] * power
    return sums


def _sum_uneven(codes: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Add up the 8-byte words of texts of any length, each times a power for its position."""
    counts = -(-sizes // 8)
    first = np.cumsum(counts) - counts
    padded = np.zeros(int(counts.sum()) * 8, np.uint8)
    padded[np.arange(len(codes)) + np.repeat(first * 8 - starts, sizes)] = codes
    places = np.arange(len(padded) // 8) - np.repeat(first, counts)
    terms = np.append(padded.view("<u8") * _powers(int(counts.max()))[places], np.uint64(0))
    return np.where(counts, np.add.reduceat(terms, first), np.uint64(0))
