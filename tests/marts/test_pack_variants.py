"""A pack without some of its marts: what reads them goes, and what only they read."""

import pytest

from jobs.config.load import load
from marts.errors import UsageError
from marts.pack_variants import without, without_analytics
from marts.packs import shipped

RETAIL = shipped("retail")


def test_what_reads_a_mart_is_left_out_with_it_and_what_only_it_reads() -> None:
    pack = without(RETAIL, ["daily_sales"])
    assert {*RETAIL.tables} - {*pack.tables} == {"daily_sales", "stores", "daily_differences"}
    assert {*RETAIL.months} == {*pack.months}  # analytics reads the purchases, too
    pack = without(without_analytics(RETAIL), ["daily_sales", "sales_months"])
    assert [*pack.tables] == ["customers", "sales_team"]
    assert [*pack.months] == ["customer_months", "sales_team_months"]


def test_without_analytics_the_daily_mart_keeps_the_purchases_that_it_reads() -> None:
    pack = without_analytics(RETAIL)
    assert [*pack.months] == ["purchases", "customer_months", "sales_team_months"]
    assert not [number.name for number in pack.numbers if number.group]
    assert pack.analytics == frozenset()


def test_views_highlights_and_alerts_of_marts_that_are_left_out_go() -> None:
    pack = without(RETAIL, ["customer_analytics", "sales_anomalies"])
    tables = {item.table for some in (pack.views, pack.highlights, pack.alerts) for item in some}
    assert tables == {"customers", "sales_team", "analytics_calibration"}
    bank = without(shipped("banking"), ["dim_customer"])
    assert [view.name for view in bank.database_views] != [view.name for view in shipped("banking").database_views]
    assert all("dim_customer" not in view.reads for view in bank.database_views)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"leave_out": ["daily_sale"]}, "leave_out: unknown mart 'daily_sale'; did you mean 'daily_sales'?"),
        ({"leave_out": ["customers"], "mart": "customers"}, "'customers' is the only mart that is built"),
    ],
)
def test_a_wrong_name_is_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(None, given)
    assert message in str(caught.value)
