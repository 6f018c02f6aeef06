"""A wrong report.toml is named with its key."""

import re
from pathlib import Path

import pytest

from jobs.pages.month_source import check_queries
from marts.dashboard import read_dashboard
from marts.errors import UsageError
from marts.monthly import MonthlyReport, read_report
from marts.packs import shipped

PACK = shipped("retail")
FOLDER = Path(__file__).parents[2] / "marts" / "retail"
BOARD = read_dashboard((FOLDER / "dashboard.toml").read_text(), PACK.marts, "dashboard.toml")
TEXT = (FOLDER / "report.toml").read_text()


def read(text: str) -> MonthlyReport:
    return read_report(text, BOARD, PACK.marts, "report.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Retail"', "title = Retail", "is not TOML"),
        ('figures = ["net_revenue", "purchases"', 'figures = ["net", "purchases"', "'net' is no figure"),
        (
            'by = ["store", "city"',
            'by = ["stores", "city"',
            "'stores' is no dimension",
        ),
        ('figure = "net_revenue"', 'figure = "return_rate"', "insights.figure: return_rate must be a sum of the cells"),
        ("sales_team = { columns", "sales_teams = { columns", "'sales_teams' is no mart; did you mean 'sales_team'?"),
        ('month = "sales_month", months = 13', 'month = "month", months = 13', "'month' is no column of sales_team"),
        (
            'columns = ["sales_month", "store_id", "sales_person_id"',
            'columns = ["full_name"',
            "full_name of sales_team",
        ),
        ('title = "{dimensions}: all"', 'title = "x"\nkind = "bars"', "is not TOML"),
        ("months = 13", "months = 25", "months"),
        ('["Weekday", "text"]', '["Weekday", "texts"]', "must be 'text'"),
        (
            'kind = "ranking"\ntitle = "{dimensions}: all"',
            'kind = "bars"\ntitle = "all"',
            "annex.panels: only rankings",
        ),
    ],
)
def test_a_wrong_entry_is_named(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(UsageError, match=re.escape(message)):
        read(TEXT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT 1", "report_weekdays.sql: has 1 columns where 5 are declared"),
        ("SELECT nothing FROM daily_sales", "report_weekdays.sql: fails: Binder Error"),
        ("SELECT * FROM read_csv('/etc/passwd')", "report_weekdays.sql: fails: Permission Error"),
    ],
)
def test_a_wrong_query_is_named(statement: str, message: str) -> None:
    sql = {path.name: path.read_text() for path in FOLDER.glob("report_*.sql")}
    check_queries(PACK, read(TEXT), sql)
    with pytest.raises(UsageError) as caught:
        check_queries(PACK, read(TEXT), {**sql, "report_weekdays.sql": statement})
    assert str(caught.value).startswith(message) or message in f"{caught.value.where}: {caught.value.what}"
