"""The summaries of fact_transactions in Polars: by customer, merchant, channel and city, and pattern."""

from collections.abc import Mapping
from datetime import date

import polars as pl

from bench.banking.polars_history import FOREVER, History
from bench.banking.polars_values import half_up, money

DONE = pl.col("is_done")
CENTS = pl.col("cents").filter(DONE)


def counted(condition: str | pl.Expr) -> pl.Expr:
    expression = pl.col(condition) if isinstance(condition, str) else condition
    return expression.sum().cast(pl.Int64)


COUNTS = {
    "transaction_count": pl.len().cast(pl.Int64),
    "completed_count": counted("is_done"),
    "failed_count": counted("is_failed"),
}
SUMS = {
    **COUNTS,
    "total": CENTS.sum(),
    "revenue": pl.col("revenue_cents").sum(),
    "high_risk_count": counted("is_high_risk"),
}


def daily(facts: pl.DataFrame) -> pl.DataFrame:
    """Return the sums of a customer and day, in cents."""
    key, day = ["customer_key", "transaction_date"], pl.col("transaction_date")
    sums = (
        facts.lazy()
        .group_by(key)
        .agg(
            **SUMS,
            debit=-pl.col("signed").filter(pl.col("signed") < 0).sum(),
            credit=pl.col("signed").filter(pl.col("signed") > 0).sum(),
            least=CENTS.min(),
            most=CENTS.max(),
            fraud_count=counted(pl.col("is_fraudulent").fill_null(value=False)),
        )
    )
    pairs = facts.lazy().filter(DONE & (pl.col("merchant_key") > 0)).select(*key, "merchant_key").unique()
    merchants = pairs.group_by(key).agg(unique_merchants=pl.len().cast(pl.Int64))
    return (
        sums.join(merchants, on=key, how="left")
        .with_columns(pl.col("unique_merchants").fill_null(0), month=day.dt.truncate("1mo"))
        .collect()
    )


def daily_customer_summary(days: pl.DataFrame) -> pl.LazyFrame:
    return days.lazy().select(
        "customer_key",
        "transaction_date",
        *COUNTS,
        money("total").alias("total_amount"),
        money("debit").alias("debit_amount"),
        money("credit").alias("credit_amount"),
        money(half_up(pl.col("total"), pl.col("completed_count"))).alias("avg_amount"),
        money("least").alias("min_amount"),
        money("most").alias("max_amount"),
        "unique_merchants",
        money("revenue"),
        "high_risk_count",
        "fraud_count",
    )


def merchant_tables(facts: pl.DataFrame, merchants: History) -> dict[str, pl.LazyFrame]:
    """Return the tables of merchants: customers are counted from rows of a merchant, day and customer."""
    day, done = pl.col("transaction_date"), pl.col("completed_count") > 0
    cells = facts.lazy().filter(pl.col("merchant_key") != -2)
    cells = cells.group_by("merchant_key", "transaction_date", "customer_key").agg(**SUMS).collect().lazy()
    sums = [pl.col(name).sum() for name in SUMS]
    days = cells.group_by("merchant_key", "transaction_date").agg(*sums, unique_customers=counted(done))
    pairs = cells.group_by("merchant_key", "customer_key").agg(
        *sums, first_date=day.filter(done).min(), last_date=day.filter(done).max()
    )
    totals = pairs.group_by("merchant_key").agg(
        *sums, pl.col("first_date").min(), pl.col("last_date").max(), unique_customers=counted(done)
    )
    names = merchants.versions.lazy().filter(pl.col("covers_to") == FOREVER)
    totals = totals.join(
        names.select("merchant_name", "category", merchant_key="merchant_id"), on="merchant_key", how="left"
    )
    shared = (
        *COUNTS,
        money("total").alias("total_amount"),
        money(half_up(pl.col("total"), pl.col("completed_count"))).alias("avg_transaction"),
        "unique_customers",
        money("revenue"),
        "high_risk_count",
    )
    return {
        "merchant_daily_summary": days.select("merchant_key", "transaction_date", *shared),
        "merchant_summary": totals.select(
            "merchant_key", pl.col("merchant_name", "category").fill_null("UNKNOWN"), *shared, "first_date", "last_date"
        ),
    }


def kpis(facts: pl.DataFrame) -> pl.DataFrame:
    """Return the sums of a day, channel, city and segment, in cents, which the report adds up, too."""
    bucket, ms = pl.col("processing_delay_bucket"), pl.col("processing_ms")
    fraud = pl.col("is_fraudulent").fill_null(value=False) & (pl.col("signed") < 0)
    return (
        facts.lazy()
        .group_by("transaction_date", "channel_key", "city_key", "customer_segment")
        .agg(
            **SUMS,
            processing_ms_total=ms.sum(),
            processing_count=ms.count().cast(pl.Int64),
            fast_count=counted(bucket == "fast"),
            medium_count=counted(bucket == "medium"),
            slow_count=counted(bucket == "slow"),
            high_risk_cents=pl.col("cents").filter(pl.col("is_high_risk") & DONE).sum(),
            fraud_losses=pl.col("cents").filter(fraud).sum(),
        )
        .collect()
    )


def channel_city_kpis(sums: pl.DataFrame) -> pl.LazyFrame:
    return sums.lazy().select(
        *("transaction_date", "channel_key", "city_key", "customer_segment"),
        *COUNTS,
        money(half_up(pl.col("failed_count") * 10_000, pl.col("transaction_count")), 14).alias("failure_rate"),
        money("total").alias("volume"),
        money("revenue"),
        "processing_ms_total",
        "processing_count",
        money(half_up(pl.col("processing_ms_total") * 100, pl.col("processing_count")), 14).alias("avg_processing_ms"),
        *("fast_count", "medium_count", "slow_count"),
    )


def spending_patterns(facts: pl.DataFrame) -> pl.LazyFrame:
    hour = pl.col("hour").cast(pl.String).str.zfill(2).fill_null("UNKNOWN")
    names = ("transaction_type", "category", "amount_category", "time_of_day", "hour", "day_of_week")
    cells = (
        facts.lazy()
        .with_columns(day_of_week=pl.col("transaction_date").dt.weekday())
        .group_by("month", *names)
        .agg(transaction_count=pl.len().cast(pl.Int64), completed_count=counted("is_done"), total=CENTS.sum())
        .with_columns(hour=hour, day_of_week=pl.col("day_of_week").cast(pl.String))
        .collect()
        .lazy()
    )
    parts = [
        cells.group_by("month", pl.col(name).alias("label"))
        .agg(pl.col("transaction_count", "completed_count", "total").sum())
        .with_columns(breakdown=pl.lit(name))
        for name in names
    ]
    return pl.concat(parts).select(
        pl.col("month").dt.strftime("%Y-%m"),
        "breakdown",
        "label",
        "transaction_count",
        "completed_count",
        money("total").alias("volume"),
        money(half_up(pl.col("total"), pl.col("completed_count"))).alias("avg_amount"),
    )


def by_border(column: str, borders: tuple[int, ...], is_up: bool) -> pl.Expr:
    """Return the score 5 to 2 of the first border that a value reaches, else 1."""
    score: pl.Expr = pl.lit(1)
    value = pl.col(column)
    for points, border in zip((2, 3, 4, 5), reversed(borders), strict=True):
        score = pl.when(value >= border if is_up else value <= border).then(points).otherwise(score)
    return score.cast(pl.Int64)


def customer_metrics(days: pl.DataFrame, histories: Mapping[str, History], as_of: date) -> pl.LazyFrame:
    done, day = pl.col("completed_count") > 0, pl.col("transaction_date")
    totals = (
        days.lazy()
        .group_by(customer_id="customer_key")
        .agg(
            *(pl.col(name).sum() for name in (*COUNTS, "total", "debit", "credit", "revenue", "high_risk_count")),
            pl.col("most").max(),
            first=day.filter(done).min(),
            last=day.filter(done).max(),
            active_months=pl.col("month").filter(done).n_unique().cast(pl.Int64),
        )
    )
    versions = histories["customers"].versions.lazy().filter(pl.col("covers_to") == FOREVER)
    is_lending = pl.col("account_type").is_in(["CREDIT", "LOAN"])
    held = (
        histories["accounts"].versions.lazy()
        .filter(pl.col("is_current") & (pl.col("account_type") != "INTERNAL") & (pl.col("status") != "CLOSED"))
        .group_by("customer_id")
        .agg(
            accounts=pl.len().cast(pl.Int64),
            deposits=pl.col("balance").filter(~is_lending).sum(),
            lending=pl.col("balance").filter(is_lending).sum(),
        )
    )  # fmt: skip
    zeros = (
        *COUNTS,
        "total",
        "debit",
        "credit",
        "revenue",
        "high_risk_count",
        "active_months",
        "accounts",
        "deposits",
        "lending",
    )
    recency = (as_of - pl.col("last")).dt.total_days()
    figures = (
        totals.join(versions.select("customer_id", "full_name"), on="customer_id", how="full", coalesce=True)
        .join(held, on="customer_id", how="left")
        .with_columns(pl.col(zeros).fill_null(0), pl.col("full_name").fill_null("UNKNOWN"), recency=recency)
        .with_columns(
            r=by_border("recency", (7, 30, 60, 90), is_up=False),
            f=by_border("completed_count", (50, 20, 10, 3), is_up=True),
            m=by_border("debit", (5_000_000, 1_000_000, 100_000, 10_000), is_up=True),
            churn=pl.min_horizontal(100, half_up(pl.col("recency") * 100, pl.lit(90))).fill_null(100),
        )
    )
    churn = pl.col("churn")
    return figures.select(
        pl.col("customer_id").alias("customer_key"),
        "full_name",
        pl.col("first").alias("first_transaction_date"),
        pl.col("last").alias("last_transaction_date"),
        *COUNTS,
        money(half_up(pl.col("failed_count") * 10_000, pl.col("transaction_count")), 14).alias("failure_rate"),
        money("debit").alias("total_spent"),
        money("credit").alias("total_received"),
        money(half_up(pl.col("total"), pl.col("completed_count"))).alias("avg_amount"),
        money("most").alias("max_amount"),
        "active_months",
        money("revenue").alias("lifetime_revenue"),
        pl.col("recency").alias("recency_days"),
        *(pl.col(name).alias(f"{name}_score") for name in ("r", "f", "m")),
        pl.concat_str("r", "f", "m").alias("rfm_score"),
        segment().alias("segment"),
        money(churn, 5).alias("churn_risk"),
        pl.when(churn <= 33).then(pl.lit("Low")).when(churn <= 66).then(pl.lit("Medium")).otherwise(pl.lit("High"))
        .alias("churn_category"),
        (churn > 50).alias("is_at_risk"),
        "accounts",
        money("deposits"),
        money("lending"),
        "high_risk_count",
    )  # fmt: skip


def segment() -> pl.Expr:
    """Return the first segment whose rule holds."""
    r, f, m = pl.col("r"), pl.col("f"), pl.col("m")
    return (
        pl.when((r >= 4) & (f >= 4) & (m >= 4)).then(pl.lit("Champions"))
        .when((r >= 3) & (f >= 3) & (m >= 3)).then(pl.lit("Loyal Customers"))
        .when((r >= 4) & (f <= 2)).then(pl.lit("New Customers"))
        .when((r <= 2) & (f >= 4)).then(pl.lit("At Risk"))
        .when((r <= 2) & (f <= 2) & (m >= 4)).then(pl.lit("Cant Lose Them"))
        .when(r <= 2).then(pl.lit("Lost"))
        .otherwise(pl.lit("Regular"))
    )  # fmt: skip
