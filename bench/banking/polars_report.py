"""monthly_financial_report: sums by Polars, figures by whole numbers of Python. Amounts are in cents."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import polars as pl

from bench.banking.polars_history import History
from bench.banking.polars_values import half_up, money

LENDING = ("CREDIT", "LOAN")


def rounded(amount: int | None, number: int | None) -> int | None:
    """Divide and round half away from zero; None unless the divisor is positive."""
    if amount is None or number is None or number <= 0:
        return None
    size = (2 * abs(amount) + number) // (2 * number)
    return size if amount >= 0 else -size


def share(part: int, whole: int | None) -> int | None:
    """Return a percentage in hundredths."""
    return rounded(part * 10_000, whole)


def monthly_financial_report(
    kpis: pl.DataFrame, days: pl.DataFrame, histories: Mapping[str, History], as_of: date
) -> pl.LazyFrame:
    sums = kpis.with_columns(month=pl.col("transaction_date").dt.truncate("1mo"))
    done = days.filter(pl.col("completed_count") > 0)
    active = dict(done.group_by("month").agg(pl.col("customer_key").n_unique()).iter_rows())
    rows: list[tuple[date, str, str, str, int | None, str]] = []
    before: int | None = None
    first = sums["month"].min()
    for month in pl.select(pl.date_range(pl.lit(first), pl.lit(as_of), interval="1mo")).to_series().to_list():
        of_month = sums.filter(pl.col("month") == month)
        people, held = standing(histories, month, as_of)
        context = figures(of_month, active.get(month, 0), people, held, before)
        before = context.pop("total_revenue_now")
        rows += [(month, *row) for row in [*context["rows"], *labelled(of_month, held)]]
    columns = {"month": pl.Date, "section": pl.String, "figure": pl.String, "label": pl.String, "value": pl.Int64}
    table = pl.DataFrame(rows, schema={**columns, "unit": pl.String}, orient="row").lazy()
    return table.with_columns(pl.col("month").dt.strftime("%Y-%m"), money("value"))


def standing(histories: Mapping[str, History], month: date, as_of: date) -> tuple[tuple[int, int], pl.DataFrame]:
    """Return the customers, new ones, and accounts in force at the end of a month, with their last balance."""
    end = min(pl.select(pl.lit(month).dt.month_end()).item(), as_of)
    in_force = (pl.col("valid_from") <= end) & (pl.col("valid_to") > end)
    people = histories["customers"].versions.filter(in_force)
    joined = (people["registration_date"].dt.truncate("1mo") == month).sum()
    accounts = histories["accounts"]
    newest = accounts.reports.filter(pl.col("day") <= end).sort("day").unique("account_id", keep="last")
    held = accounts.versions.filter(in_force & (pl.col("account_type") != "INTERNAL")).drop("balance")
    held = held.join(newest.select("account_id", cents="balance"), on="account_id")
    rate = pl.col("interest_rate").fill_null(0)
    return (people.height, int(joined)), held.with_columns(
        interest=half_up(pl.col("cents") * rate, pl.lit(120_000)), is_lending=pl.col("account_type").is_in(LENDING)
    )


def figures(
    sums: pl.DataFrame, active: int, people: tuple[int, int], held: pl.DataFrame, before: int | None
) -> dict[str, Any]:
    """Return the rows without a label, and the revenue."""
    of = {name: int(sums[name].sum()) for name in sums.columns if sums[name].dtype.is_integer()}
    owned = held.filter(pl.col("status") != "CLOSED").sort("cents", descending=True)
    n, balance = owned.height, int(owned["cents"].sum())
    lent = owned.filter("is_lending")
    lending, earned = int(lent["cents"].sum()), int(lent["interest"].sum())
    deposits, paid = balance - lending, int(owned["interest"].sum()) - earned
    revenue = of["revenue"] + earned
    costs = paid + of["fraud_losses"]
    owners = owned.group_by("customer_id").agg(pl.col("cents").sum()).sort("cents", descending=True)
    top_owners = int(owners["cents"].head((owners.height + 9) // 10).sum())
    middle = int(owned["cents"].slice((n - 1) // 2, 2 - n % 2).sum()) if n else None
    growth = share(revenue - before, before) if before is not None else None

    def rows() -> Iterator[tuple[str, str, str, int | None, str]]:
        kpi = {
            "transactions": (of["transaction_count"] * 100, "count"),
            "completed": (of["completed_count"] * 100, "count"),
            "failed": (of["failed_count"] * 100, "count"),
            "failure_rate": (share(of["failed_count"], of["transaction_count"]), "percent"),
            "volume": (of["total"], "money"),
            "average_transaction": (rounded(of["total"], of["completed_count"]), "money"),
            "active_customers": (active * 100, "count"),
            "transactions_per_active_customer": (rounded(of["completed_count"] * 100, active), "ratio"),
            "average_processing_ms": (rounded(of["processing_ms_total"] * 100, of["processing_count"]), "ms"),
            "high_risk_transactions": (of["high_risk_count"] * 100, "count"),
            "high_risk_amount": (of["high_risk_cents"], "money"),
            "customers": (people[0] * 100, "count"),
            "new_customers": (people[1] * 100, "count"),
            "accounts": (n * 100, "count"),
            "active_account_rate": (share(int((held["status"] == "ACTIVE").sum()), held.height), "percent"),
            "total_balance": (balance, "money"),
            "average_balance": (rounded(balance, n), "money"),
            "median_balance": (rounded(middle, 2 - n % 2), "money"),
            "low_balance_accounts": (int((owned["cents"] < 10_000).sum()) * 100, "count"),
        }
        sections = {
            "kpi": kpi,
            "revenue": {
                "fee_revenue": (of["revenue"], "money"),
                "interest_income": (earned, "money"),
                "total_revenue": (revenue, "money"),
                "revenue_growth_rate": (growth, "percent"),
                "revenue_per_active_customer": (rounded(revenue, active), "money"),
            },
            "profitability": {
                "interest_expense": (paid, "money"),
                "fraud_losses": (of["fraud_losses"], "money"),
                "costs": (costs, "money"),
                "profit": (revenue - costs, "money"),
                "profit_margin": (share(revenue - costs, revenue), "percent"),
            },
            "portfolio": {
                "deposits": (deposits, "money"),
                "lending": (lending, "money"),
                "loan_to_deposit_ratio": (share(lending, deposits), "percent"),
                "top_10_accounts_share": (share(int(owned["cents"].head(10).sum()), balance), "percent"),
                "top_tenth_of_customers_share": (share(top_owners, balance), "percent"),
            },
        }
        for section, values in sections.items():
            for figure, (value, unit) in values.items():
                yield section, figure, "", value, unit

    return {"rows": list(rows()), "total_revenue_now": revenue}


def labelled(sums: pl.DataFrame, held: pl.DataFrame) -> Iterator[tuple[str, str, str, int | None, str]]:
    """Yield the rows of channels and of types of accounts."""
    fees = sums.group_by("channel_key").agg(pl.col("revenue").sum()).filter(pl.col("revenue") > 0)
    for channel, cents in fees.iter_rows():
        yield "revenue", "fee_revenue_by_channel", str(channel), cents, "money"
    owned = held.filter(pl.col("status") != "CLOSED")
    balance = int(owned["cents"].sum())
    for type_, number, cents in owned.group_by("account_type").agg(pl.len(), pl.col("cents").sum()).iter_rows():
        yield "portfolio", "accounts_by_type", type_, number * 100, "count"
        yield "portfolio", "balance_by_type", type_, cents, "money"
        yield "portfolio", "average_balance_by_type", type_, rounded(cents, number), "money"
        yield "portfolio", "share_by_type", type_, share(cents, balance), "percent"
