"""Rewrite numbers of other spellings as plain ones: decimal commas, groups of thousands, accounting signs."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marts.rows.buffers import letters
from marts.rows.source_block import SourceBlock

_UNFIT = ord("?")
"""A character that no number has: a decimal point is none where the decimal mark is a comma."""
_BLANKS = r"[ \x{00a0}\x{2009}\x{202f}]"
"""Blanks that separate thousands."""
_APOSTROPHES = r"['\x{2019}]"
_SIGN_BEFORE = rf"^([+-]?){_BLANKS}*\p{{Sc}}{_BLANKS}*"
_SIGN_AFTER = rf"{_BLANKS}*\p{{Sc}}$"
_NEGATIVE = (r"^\(([^()+-]+)\)$", r"^([^()+-]+)-$")


def is_plain(block: SourceBlock) -> bool:
    """Return whether numbers need no rewriting."""
    return block.decimal == "." and not block.thousands and not block.accounting


def plain_numbers(text: pa.Array, block: SourceBlock) -> pa.Array:
    """Return texts with a decimal point and no other marks; what fits no number of the block becomes no number."""
    if is_plain(block):
        return text
    if block.accounting:
        text = _without_signs(text)
    if block.thousands:
        text = _without_groups(text, block)
    return _with_point(text) if block.decimal == "," else text


def without_prefix(text: pa.Array, prefix: str) -> pa.Array:
    """Take a prefix off ids; an id without it, or a prefix alone, is no number, so that it breaks its rule."""
    if not prefix:
        return text
    trimmed = pc.utf8_trim_whitespace(text)
    bare = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(trimmed, len(prefix)))
    fits = pc.and_(pc.starts_with(trimmed, prefix), pc.not_equal(bare, ""))
    kept = pc.if_else(fits, bare, pc.binary_join_element_wise("?", text, ""))
    return pc.if_else(pc.equal(trimmed, ""), trimmed, kept)


def _without_signs(text: pa.Array) -> pa.Array:
    """Remove currency signs; read brackets, or a minus at the end, as accounting writes negative amounts."""
    text = pc.utf8_trim_whitespace(text)
    for pattern in _NEGATIVE:
        text = pc.replace_substring_regex(text, pattern, r"-\1")
    text = pc.replace_substring_regex(text, _SIGN_BEFORE, r"\1")
    text = pc.replace_substring_regex(text, _SIGN_AFTER, "")
    for pattern in _NEGATIVE:  # €(12.50)
        text = pc.replace_substring_regex(text, pattern, r"-\1")
    return text


def _without_groups(text: pa.Array, block: SourceBlock) -> pa.Array:
    """Remove the marks of well-formed groups; a text with other marks of thousands is no number."""
    mark = {" ": _BLANKS, "'": _APOSTROPHES}.get(block.thousands, re.escape(block.thousands))
    marked = pc.match_substring_regex(text, mark)
    if not pc.any(marked).as_py():
        return text
    trimmed = pc.utf8_trim_whitespace(text)
    grouped = pc.match_substring_regex(
        trimmed, rf"^[+-]?[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+(?:{re.escape(block.decimal)}[0-9]*)?$"
    )
    bare = pc.replace_substring_regex(trimmed, mark, "")
    inside = pc.match_substring_regex(trimmed, mark)
    unfit = pc.binary_join_element_wise("?", text, "")
    return pc.if_else(grouped, bare, pc.if_else(inside, unfit, text))


def _with_point(text: pa.Array) -> pa.Array:
    """Replace the decimal comma by a point; a point was no decimal mark."""
    codes, edges = letters(text)
    table = np.arange(256, dtype=np.uint8)
    table[ord(".")], table[ord(",")] = _UNFIT, ord(".")
    valid = None
    if text.null_count:
        valid = pa.py_buffer(np.packbits(text.is_valid().to_numpy(zero_copy_only=False), bitorder="little"))
    buffers = [valid, pa.py_buffer(edges.astype(np.int32, copy=False)), pa.py_buffer(table[codes])]
    return pa.Array.from_buffers(pa.string(), len(text), buffers, text.null_count)
