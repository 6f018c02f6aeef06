"""Columns of a block of rows, as typed values and as text."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from marts.privacy.masking import mask_value

_SHOWN, _LOOKED_AT = 80, 1000
"""Maximum characters of a value to show, and to mask before that."""
_CARD = 10**12
"""Numbers of at least this size may be card numbers."""
Mask = np.ndarray
Value = int | str | None


@dataclass(frozen=True)
class Column:
    """One column of a block."""

    values: pa.Array
    """Typed values, null if empty or unfit: int64 (in units of the last digit if ``scale``), date32, timestamp, string
    or bool."""
    scale: int = 0
    """Digits after the point."""
    text: pa.Array | None = None
    """Text in the file; derived from the values if None."""
    unfit: Mask | None = None
    """Values that do not fit the schema."""
    personal: bool = False

    @property
    def written(self) -> pa.Array:
        if self.text is not None:
            return self.text
        if pa.types.is_string(self.values.type):
            return self.values
        values = [None if v is None else str(_as_written(v, self.scale)) for v in self.values.to_pylist()]
        return pa.array(values, pa.string())

    @cached_property
    def numbers(self) -> np.ndarray:
        """Numbers, or days or microseconds since 1970; 0 where null."""
        values = self.values.cast(pa.int32()) if pa.types.is_date32(self.values.type) else self.values
        filled = values.cast(pa.int64()).fill_null(0) if values.null_count else values.cast(pa.int64())
        return np.asarray(filled.to_numpy(zero_copy_only=False))

    @cached_property
    def null(self) -> Mask | None:
        """Where there is no typed value."""
        return mask_of(self.values.is_null()) if self.values.null_count else None

    @cached_property
    def missing(self) -> Mask | None:
        """Where the field is empty. An unfit value is not missing: it breaks its own rule."""
        null = self.null
        if null is None or self.unfit is None:
            return null
        left = null & ~self.unfit
        return left if left.any() else None

    def show(self, row: int) -> Value:
        """Return the value of a row for display: masked, and as in the file if it could not be parsed."""
        value = self.values[row].as_py()
        if value is None and self.text is not None:
            value = self.text[row].as_py()
        if isinstance(value, int) and not isinstance(value, bool) and self.scale:
            return str(_as_written(value, self.scale))
        if value is None:
            return None
        if type(value) is int and abs(value) < _CARD:
            return int(value)
        return mask_value(str(value)[:_LOOKED_AT], self.personal)[:_SHOWN]

    def written_at(self, row: int) -> str:
        """Return the text of a row in the file, masked; an empty string if it is empty."""
        text = self.text[row].as_py() if self.text is not None else None
        return mask_value(text[:_LOOKED_AT], self.personal)[:_SHOWN] if text else ""


@dataclass(frozen=True)
class Frame:
    """A block of rows, by column."""

    rows: int
    columns: Mapping[str, Column]
    header: tuple[str, ...] = ()


def last_digits(values: pa.Array) -> pa.Array:
    """View decimals of at most 18 digits as whole numbers of the last digit: the low 8 of their 16 bytes."""
    low = np.frombuffer(values.buffers()[1], np.int64)[::2][values.offset : values.offset + len(values)]
    return pa.array(low, mask=mask_of(values.is_null()) if values.null_count else None)


def mask_of(values: pa.Array) -> Mask:
    return np.asarray(values.to_numpy(zero_copy_only=False), bool)


def _as_written(value: Any, scale: int) -> Any:
    if not scale or not isinstance(value, int):
        return value
    while scale > 2 and value % 10 == 0:  # trailing zeros beyond cents have no meaning
        value, scale = value // 10, scale - 1
    return Decimal(value).scaleb(-scale)
