"""Texts of a column: trimmed, and viewed as one array of bytes."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def letters(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of all texts, and the offsets of the texts in them; the bytes are not copied."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return np.empty(0, np.uint8), np.zeros(len(texts) + 1, np.int32)
    edges = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8)[edges[0] : edges[-1]], edges - edges[0]


def stripped(texts: pa.Array) -> pa.Array:
    """Trim texts; null where nothing is left."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def may_be_padded(text: pa.Array) -> np.ndarray:
    """Return which texts are empty, or begin or end with a byte that may be white space."""
    codes, edges = letters(text)
    if not len(codes):
        return np.ones(len(edges) - 1, bool)
    ends = [codes[np.minimum(edges[:-1], len(codes) - 1)], codes[np.maximum(edges[1:] - 1, 0)]]
    may_be_space = [(end <= ord(" ")) | (end >= 0x80) for end in ends]
    return np.asarray((edges[:-1] == edges[1:]) | may_be_space[0] | may_be_space[1])
