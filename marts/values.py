"""Amounts, and values of marts as messages write them."""

from decimal import Decimal
from typing import Any

from marts.pack import DIGITS, Mart


def amount_of(cents: int) -> Decimal:
    """Return an amount of money."""
    return Decimal(cents).scaleb(-DIGITS["money"])


def displayed(mart: Mart, row: dict[str, Any]) -> dict[str, str]:
    """Return the values of a row by column: amounts and counts, but no ids, with separators; NULL is empty."""
    counts = {column.name for column in mart.columns if column.type == "count"}
    return {name: _text(value, name in counts or isinstance(value, Decimal)) for name, value in row.items()}


def _text(value: object, is_number: bool) -> str:
    if value is None:
        return ""
    return f"{value:,}" if is_number else str(value)


def exact(value: Any) -> Any:
    """Return a value for JSON: a decimal stays exact, as text."""
    return str(value) if isinstance(value, Decimal) else value
