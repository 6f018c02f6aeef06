"""A wrong dashboard.toml is named with its key."""

import re
from pathlib import Path

import pytest

from marts.dashboard import read_dashboard
from marts.errors import UsageError
from marts.packs import shipped

MARTS = shipped("retail").marts
TEXT = (Path(__file__).parents[2] / "marts" / "retail" / "dashboard.toml").read_text()


def test_the_shipped_dashboard_is_valid_and_names_only_what_pages_may_show() -> None:
    dashboard = read_dashboard(TEXT, MARTS, "dashboard.toml")
    assert dashboard.tables == ("daily_sales", "stores", "sales_months", "sales_team")
    assert dashboard.above("store") == ["store", "city", "state", "region"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Retail"', "title = Retail", "is not TOML"),
        ('table = "daily_sales"', 'table = "daily_sale"', "date: 'daily_sale' is no mart; did you mean 'daily_sales'?"),
        ('date = "sales_date"', 'date = "store_id"', "date: store_id must be of type date"),
        ('count = "purchases"', 'count = "purchase"', "count: 'purchase' is no figure; did you mean 'purchases'?"),
        ('count = "purchases"', 'count = "return_rate"', "count: return_rate must be a sum of the cells"),
        ('below = "state"', 'below = "stat"', "dimensions.city.below: 'stat' is no dimension"),
        ('below = "region"', 'below = "store"', "is below it"),
        ('column = "region"', 'column = "opened"', "dimensions.region.column: opened must be of type"),
        ('sum = "returned"', 'sum = "channel"', "figures.returned: channel must be of type money or count"),
        ('figure = "return_rate"', 'figure = "customers"', "panels.6.by: customers is of a table by month"),
        ('"customers", "incentive"]', '"customers", "customers"]', "cards: customers is there twice"),
        ("negative = true", "of_last_month = true", "figures.returned: of_one_month and of_last_month are for"),
        ('by = ["segment"]', 'by = ["segments"]', "panels.5.by: 'segments' is no dimension; did you mean 'segment'?"),
        ('kind = "trend"', 'kind = "pie"', "kind"),
        ('unit = "percent"', 'unit = "percents"', "unit"),
        ('month = "sales_month", by = { store', 'month = "store_id", by = { store', "store_id must be of type month"),
        ('named_by = "name"', 'named_by = "is_known"', "named_by: is_known must be of type text"),
        ("[dimensions.region]", '[dimensions."re gion"]', "re gion"),
    ],
)
def test_a_wrong_entry_is_named(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(UsageError, match=re.escape(message)):
        read_dashboard(TEXT.replace(old, new, 1), MARTS, "dashboard.toml")


BANK = shipped("banking").marts
BANK_TEXT = (Path(__file__).parents[2] / "marts" / "banking" / "dashboard.toml").read_text()
DURING = 'during = ["covers_from", "covers_to"]\n'


def test_the_dashboard_of_the_bank_is_valid() -> None:
    dashboard = read_dashboard(BANK_TEXT, BANK, "dashboard.toml")
    assert dashboard.tables == (
        *("channel_city_kpis", "dim_channel", "dim_city"),
        *("spending_patterns", "monthly_financial_report"),
    )
    assert dashboard.figures["average_balance"].formula == (
        "SUM(value) where figure = 'balance_by_type' / SUM(value) where figure = 'accounts_by_type'"
    )
    assert dashboard.figures["failure_rate"].formula == "100 * SUM(failed_count) / SUM(transaction_count)"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (DURING, "", "dimensions.channel: dim_channel may have several rows of a channel_key: say with during"),
        (DURING, 'during = ["covers_from", "status"]\n', "dimensions.channel.during: 'status' is no column"),
        (DURING, 'during = ["covers_from", "channel_name"]\n', "during: channel_name must be of type date"),
        ('column = "customer_segment"', f'column = "customer_segment"\n{DURING}', "segment.during: it has no table"),
        (
            'where = { figure = "deposits" }',
            'where = { value = "deposits" }',
            "deposits.of.where: value must be of type text",
        ),
        ('split = { column = "label"', 'split = { column = "labels"', "of.split: 'labels' is no column"),
        ('per = "value"\n', "", "figures.average_balance.of.per_where: it is divided by nothing"),
        ('figure = "total_balance"', 'figure = "total"', "sections.0.panels.0.figure: 'total' is no figure"),
        ('figure = "average_balance"\n', 'figure = "deposits"\n', "sections.0.panels.1: by, or the split"),
        ('"deposits", "lending"', '"deposits", "amount"', "cards: amount is there twice"),
    ],
)
def test_a_wrong_entry_of_a_table_by_month_is_named(old: str, new: str, message: str) -> None:
    assert old in BANK_TEXT
    with pytest.raises(UsageError, match=re.escape(message)):
        read_dashboard(BANK_TEXT.replace(old, new, 1), BANK, "dashboard.toml")


def test_personal_columns_are_on_no_page() -> None:
    person = '[dimensions.person]\nlabel = "Person"\ntable = "sales_team"\non = "store_id"\ncolumn = "full_name"\n\n'
    with pytest.raises(UsageError, match="full_name is personal: pages show nobody"):
        read_dashboard(TEXT.replace("[dimensions.city]", f"{person}[dimensions.city]"), MARTS, "dashboard.toml")
