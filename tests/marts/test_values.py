"""Messages write amounts and counts with separators, and ids as they are."""

from datetime import date
from decimal import Decimal

from marts.packs import shipped
from marts.values import displayed


def test_numbers_have_separators_but_ids_have_none() -> None:
    mart = shipped("banking").marts["customer_metrics"]
    row = {
        "customer_key": 1000001,
        "full_name": "Ada",
        "transaction_count": 12345,
        "total_spent": Decimal("1234.50"),
        "max_amount": None,
        "is_at_risk": True,
        "first_transaction_date": date(2024, 1, 31),
    }
    assert list(displayed(mart, row).values()) == ["1000001", "Ada", "12,345", "1,234.50", "", "True", "2024-01-31"]
