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
        ('sum = "returned"', 'sum = "channel"', "figures.return_rate: channel must be of type money or count"),
        ('figure = "return_rate"', 'figure = "customers"', "panels show figures of cells"),
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


def test_personal_columns_are_on_no_page() -> None:
    person = '[dimensions.person]\nlabel = "Person"\ntable = "sales_team"\non = "store_id"\ncolumn = "full_name"\n\n'
    with pytest.raises(UsageError, match="full_name is personal: pages show nobody"):
        read_dashboard(TEXT.replace("[dimensions.city]", f"{person}[dimensions.city]"), MARTS, "dashboard.toml")
