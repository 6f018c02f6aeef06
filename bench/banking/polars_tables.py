"""All tables of a bank in Polars, written as Parquet."""

import polars as pl

from bench.banking import polars_summaries as summaries
from bench.banking.polars_dimensions import dim_date, tables
from bench.banking.polars_facts import EXTRA, facts
from bench.banking.polars_history import KINDS, history
from bench.banking.polars_ledger import account_balances, ledger_checks
from bench.banking.polars_lines import booked, entries
from bench.banking.polars_report import monthly_financial_report
from bench.engines.contract import Order


def write(order: Order) -> None:
    """Compute and write the tables one after the other, so that what one needs is released before the next."""
    rows, ledger = booked(order), entries(order)
    histories = {kind.name: history(order, kind) for kind in KINDS}
    for name, table in tables(histories, rows, ledger).items():
        sink(order, name, table)
    sink(order, "account_balances", account_balances(ledger, histories["accounts"], order.as_of))
    done = facts(rows, histories)
    del rows
    sink(order, "fact_transactions", done.lazy().drop(EXTRA))
    sink(order, "ledger_checks", ledger_checks(done, ledger))
    del ledger
    days, sums = summaries.daily(done), summaries.kpis(done)
    sink(order, "daily_customer_summary", summaries.daily_customer_summary(days))
    for name, table in summaries.merchant_tables(done, histories["merchants"]).items():
        sink(order, name, table)
    sink(order, "channel_city_kpis", summaries.channel_city_kpis(sums))
    sink(order, "spending_patterns", summaries.spending_patterns(done))
    sink(order, "customer_metrics", summaries.customer_metrics(days, histories, order.as_of))
    sink(order, "monthly_financial_report", monthly_financial_report(sums, days, histories, order.as_of))
    sink(order, "dim_date", dim_date(pl.lit(done["month"].min()), pl.lit(order.as_of).dt.month_end()))


def sink(order: Order, name: str, table: pl.LazyFrame) -> None:
    table.sink_parquet(order.folder(name) / "part.parquet", compression="zstd")
