"""The ledger in Polars: transactions whose entries are wrong, and accounts month by month."""

from datetime import date

import polars as pl

from bench.banking.polars_history import FOREVER, History
from bench.banking.polars_values import money

DEBIT, CREDIT = pl.col("debit"), pl.col("credit")


def ledger_checks(facts: pl.DataFrame, entries: pl.DataFrame) -> pl.LazyFrame:
    """Join entries with their transactions once; then the number of the row stands for the text id."""
    rows = facts.lazy().with_row_index("line")
    asked = rows.select("line", "transaction_id", own_account="account_id", is_done="is_done")
    joined = entries.lazy().join(asked, on="transaction_id", how="left").collect()
    is_own = pl.col("account_id") == pl.col("own_account")
    sums = {
        "entries": pl.len().cast(pl.Int64),
        "first_date": pl.col("day").min(),
        "debits": DEBIT.sum(),
        "credits": CREDIT.sum(),
    }
    known = joined.lazy().filter(pl.col("line").is_not_null())
    booked = known.group_by("line").agg(**sums, net=(CREDIT - DEBIT).filter(is_own).sum())
    nets = known.filter(~pl.col("is_done")).group_by("line", "account_id").agg(net=(CREDIT - DEBIT).sum())
    moved = nets.filter(pl.col("net") != 0).select("line").unique().with_columns(is_moved=pl.lit(value=True))
    is_done, has_none = pl.col("is_done"), pl.col("entries").is_null()
    wanted = pl.when(pl.col("direction") == "CREDIT").then("cents").otherwise(-pl.col("cents"))
    lacks = is_done & has_none & pl.col("account_id").is_not_null() & pl.lit(value=entries.height > 0)
    judged = (
        rows.join(booked, on="line", how="left")
        .join(moved, on="line", how="left")
        .select(
            "transaction_id",
            pl.coalesce("first_date", "transaction_date").alias("first_date"),
            *(pl.col(name).fill_null(0) for name in ("entries", "debits", "credits")),
            pl.col("cents"),
            problem=pl.when(lacks).then(pl.lit("NO_ENTRIES"))
            .when(is_done & ~has_none & (pl.col("net") != wanted)).then(pl.lit("AMOUNT_DIFFERS"))
            .when(~is_done & pl.col("is_moved").fill_null(value=False)).then(pl.lit("NOT_COMPLETED")),
        )
    )  # fmt: skip
    orphans = joined.lazy().filter(pl.col("line").is_null()).group_by("transaction_id").agg(**sums)
    orphans = orphans.with_columns(cents=pl.lit(None, dtype=pl.Int64), problem=pl.lit("NO_TRANSACTION"))
    columns = ("transaction_id", "first_date", "entries", "debits", "credits", "cents", "problem")
    debits, credits_ = pl.col("debits"), pl.col("credits")
    side = pl.when((debits == 0) | (credits_ == 0)).then(pl.lit("ONE_SIDED")).otherwise(pl.lit("UNBALANCED"))
    problems = pl.concat_str(pl.when(debits != credits_).then(side), "problem", separator=";", ignore_nulls=True)
    wrong = pl.concat([judged, orphans.select(columns)]).filter((debits != credits_) | pl.col("problem").is_not_null())
    return wrong.select(
        "transaction_id",
        "first_date",
        "entries",
        money("debits").alias("debit_amount"),
        money("credits").alias("credit_amount"),
        money(debits - credits_).alias("difference"),
        money("cents").alias("transaction_amount"),
        problems.alias("problems"),
    )


def account_balances(entries: pl.DataFrame, accounts: History, as_of: date) -> pl.LazyFrame:
    """Return accounts by month, from entries added up between the days on which a balance is asked for."""
    reported = accounts.reports.lazy().select("account_id", "day", reported="balance")
    latest = latest_of(accounts)
    moves = moves_of(entries, accounts, as_of)
    step = pl.when(pl.col("is_debit").fill_null(value=False)).then(DEBIT - CREDIT).otherwise(CREDIT - DEBIT)
    running = (
        moves.join(latest, on="account_id", how="left")
        .sort("account_id", "day")
        .select("account_id", "day", moved=step.cum_sum().over("account_id"))
    )
    known = before(reported, running, "moved").with_columns(pl.col("moved").fill_null(0)).collect().lazy()
    anchor = (pl.col("reported") - pl.col("moved")).sort_by("day").first()
    anchors = known.group_by("account_id").agg(anchor=anchor)
    months = months_of(moves, reported, latest, as_of)
    month = pl.col("month")
    ends = months.with_columns(day=pl.min_horizontal(month.dt.month_end(), pl.lit(as_of)))
    sums = moves.group_by("account_id", month=pl.col("day").dt.truncate("1mo")).agg(DEBIT.sum(), CREDIT.sum())
    closed = (
        before(ends, running, "moved")
        .join(anchors, on="account_id", how="left")
        .join(sums, on=["account_id", "month"], how="left")
        .join(latest.select("account_id", "is_debit"), on="account_id", how="left")
        .with_columns(pl.col("moved", "anchor", "debit", "credit").fill_null(0))
    )
    reports = known.select("account_id", "reported", "day", reported_on="day", known_moved="moved")
    reckoned = before(closed, reports, "reported", "reported_on", "known_moved").with_columns(
        closing=pl.col("anchor") + pl.col("moved"),
        step=step,
        difference=pl.col("reported") - pl.col("anchor") - pl.col("known_moved"),
    )
    return reckoned.select(
        pl.col("account_id").alias("account_key"),
        month.dt.strftime("%Y-%m"),
        money(pl.col("closing") - pl.col("step")).alias("opening_balance"),
        money("debit").alias("debits"),
        money("credit").alias("credits"),
        money("closing").alias("closing_balance"),
        "reported_on",
        money("reported").alias("reported_balance"),
        money("difference"),
        (pl.col("difference") == 0).alias("is_reconciled"),
    )


def latest_of(accounts: History) -> pl.LazyFrame:
    """Return the side of each account in its last version, and its last day if it was deleted."""
    last_day = pl.when(pl.col("end_reason") == "DELETED").then(pl.col("valid_to").dt.offset_by("-1d"))
    return (
        accounts.versions.lazy()
        .filter(pl.col("covers_to") == FOREVER)
        .select("account_id", is_debit=pl.col("account_type").is_in(["CREDIT", "LOAN", "INTERNAL"]), last_day=last_day)
    )


def moves_of(entries: pl.DataFrame, accounts: History, as_of: date) -> pl.LazyFrame:
    """Add up entries by account and the next day on which a balance is asked for."""
    days = entries.lazy().select("day").unique().sort("day").collect()
    ends = days.select(pl.min_horizontal(pl.col("day").dt.month_end(), pl.lit(as_of)))
    asked = pl.concat([accounts.reports.select("day"), ends]).unique().sort("day").with_columns(asked="day")
    periods = days.join_asof(asked, on="day", strategy="forward")
    first, last = pl.col("day").min(), pl.col("day").max()
    return (
        entries.lazy()
        .join(periods.lazy(), on="day")
        .group_by("account_id", "asked")
        .agg(DEBIT.sum(), CREDIT.sum(), first_entry=first, last_entry=last)
        .rename({"asked": "day"})
        .collect()
        .lazy()
    )


def before(left: pl.LazyFrame, right: pl.LazyFrame, *columns: str) -> pl.LazyFrame:
    """Join each row of an account with the last row of the other side up to its day."""
    right = right.sort("account_id", "day").select("account_id", "day", *columns)
    ordered = left.sort("account_id", "day")
    return ordered.join_asof(right, on="day", by="account_id", strategy="backward", check_sortedness=False)


def months_of(moves: pl.LazyFrame, reported: pl.LazyFrame, latest: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Return the months of each account: to as_of, or to its end or last entry if it was deleted."""
    days = pl.concat(
        [
            moves.select("account_id", first="first_entry", last_entry="last_entry"),
            reported.select("account_id", first="day", last_entry=pl.lit(None, dtype=pl.Date)),
        ]
    )
    spans = days.group_by("account_id").agg(pl.col("first").min(), pl.col("last_entry").max())
    last_day = pl.col("last_day")
    until = pl.when(last_day.is_null()).then(pl.lit(as_of)).otherwise(pl.max_horizontal(last_day, "last_entry"))
    return (
        spans.join(latest.select("account_id", "last_day"), on="account_id", how="left")
        .select("account_id", month=pl.date_ranges(pl.col("first").dt.truncate("1mo"), until, interval="1mo"))
        .explode("month")
    )
