"""fact_transactions in Polars: rows in order of their customer, so that what came before a row is a sum so far."""

from collections.abc import Mapping
from math import isqrt

import polars as pl

from bench.banking.polars_history import History
from bench.banking.polars_values import half_up, key_of, money

WEIGHTS = {
    "CONFIRMED": 100,
    "AMOUNT_UNUSUAL": 35,
    "VELOCITY": 35,
    "AMOUNT_HIGH": 30,
    "FAILED_THEN_SUCCESS": 30,
    "DAILY_COUNT": 30,
    "NEW_CITY": 20,
    "HIGH_RISK_CATEGORY": 20,
    "BALANCE_DRAINED": 20,
    "NEW_MERCHANT": 15,
    "NIGHT": 10,
    "ROUND_AMOUNT": 5,
}
RISKY_CATEGORIES = ("Gambling", "Money Transfer", "Quasi Cash", "Cryptocurrency")
RISKY_CODES = ("4829", "6051", "7801", "7802", "7995")
THRESHOLD, MIN_HISTORY, MONTHS = 70, 5, 3


def facts(booked: pl.DataFrame, histories: Mapping[str, History]) -> pl.DataFrame:
    """Return the columns of fact_transactions, and those that the summaries need."""
    rows = in_order(booked)
    rows = with_recent(rows)
    limits = habits(rows)
    rows = rows.join(limits, on=["customer_id", "month_number"], how="left", maintain_order="left")
    rows = with_known(rows, limits, "city_id", "knows_city")
    rows = with_known(rows, limits, "merchant_id", "knows_merchant")
    rows = with_dimensions(rows, histories)
    return written(scored(rows.lazy())).collect()


def in_order(booked: pl.DataFrame) -> pl.DataFrame:
    """Sort by customer and time, and add each row's place among those of its customer and day."""
    rows = booked.sort("customer_id", "moment", "transaction_id").with_row_index("place")
    person, day = pl.col("customer_id"), pl.col("day")
    rows = rows.with_columns(
        group=((person != person.shift(1)) | (day != day.shift(1))).fill_null(value=True).cum_sum() - 1,
        done_cents=pl.when("is_done").then("cents").otherwise(0),
    ).with_columns(so_far=pl.col("done_cents").cum_sum())
    days = rows.lazy().select("place", "group", before=pl.col("so_far") - pl.col("done_cents"))
    starts = days.group_by("group", maintain_order=True).first().collect()
    ends = starts["place"].shift(-1, fill_value=rows.height)
    group = rows["group"]
    first = starts["place"].gather(group)
    return rows.with_columns(
        daily_transaction_count=(ends - starts["place"]).cast(pl.Int64).gather(group),
        daily_sequence=(rows["place"] - first).cast(pl.Int64) + 1,
        daily_cents=rows["so_far"] - starts["before"].gather(group),
    ).drop("group", "so_far", "done_cents")


def with_recent(rows: pl.DataFrame) -> pl.DataFrame:
    """Count the rows of the last minutes: sums so far, less those at the last row that is too long ago."""
    is_failed = pl.col("status") == "FAILED"
    timed = (
        rows.lazy()
        .filter("is_timed")
        .select(
            "place",
            "customer_id",
            "moment",
            is_failed.cast(pl.Int64).alias("failed"),
            count=pl.int_range(1, pl.len() + 1),
        )
    )
    timed = timed.with_columns(failures=pl.col("failed").cum_sum()).collect().lazy()
    # Before the first row of a customer lie the rows of others.
    firsts = timed.group_by("customer_id").agg(
        base=pl.col("count").first() - 1, base_failures=pl.col("failures").first() - pl.col("failed").first()
    )
    counted = timed.join(firsts, on="customer_id")
    for minutes, so_far, name in ((10, "count", "velocity"), (60, "failures", "failing")):
        earlier = timed.select("customer_id", "moment", pl.col(so_far).alias(name))
        asked = timed.select("place", "customer_id", cutoff=pl.col("moment").dt.offset_by(f"-{minutes}m"))
        joined = asked.join_asof(
            earlier, left_on="cutoff", right_on="moment", by="customer_id", strategy="backward", check_sortedness=False
        )
        counted = counted.join(joined.select("place", name), on="place", how="left")
    counted = counted.select(
        "place",
        velocity_count=pl.col("count") - pl.coalesce("velocity", "base"),
        failed_before=pl.col("failures") - pl.col("failed") - pl.coalesce("failing", "base_failures"),
    )
    return (
        rows.lazy()
        .join(counted, on="place", how="left", maintain_order="left")
        .with_columns(pl.col("velocity_count", "failed_before").fill_null(0))
        .collect()
    )


def habits(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the usual limit by customer and month, of those with enough rows in the months before."""
    cents = pl.col("cents").cast(pl.Int128)
    spent = (
        rows.lazy()
        .filter("is_spent")
        .group_by("customer_id", "month_number")
        .agg(n=pl.len().cast(pl.Int128), total=cents.sum(), squares=(cents * cents).sum())
        .collect()
    )
    before = (
        pl.concat(spent.with_columns(pl.col("month_number") + later) for later in range(1, MONTHS + 1))
        .group_by("customer_id", "month_number")
        .sum()
        .filter(pl.col("n") >= MIN_HISTORY)
    )
    asked = rows.lazy().select("customer_id", "month_number").unique().collect()
    before = before.join(asked, on=["customer_id", "month_number"], how="semi")
    columns = (before[name].to_list() for name in ("n", "total", "squares"))
    limits = [max((s + isqrt(9 * (n * q - s * s))) // n, 2 * s // n) for n, s, q in zip(*columns, strict=True)]
    return before.select("customer_id", "month_number").with_columns(limit_cents=pl.Series(limits, dtype=pl.Int64))


def with_known(rows: pl.DataFrame, limits: pl.DataFrame, column: str, name: str) -> pl.DataFrame:
    """Add whether the customer of a debit spent there in the months before, or before it in its month."""
    people = limits.lazy().select("customer_id").unique()
    keys = ["customer_id", column]
    spent = (
        rows.lazy().filter(pl.col("is_spent") & pl.col(column).is_not_null()).join(people, on="customer_id", how="semi")
    )
    firsts = spent.group_by(*keys, "month_number").agg(first_place=pl.col("place").min())
    debits = (
        rows.lazy()
        .filter((pl.col("side") == "DEBIT") & pl.col("limit_cents").is_not_null())
        .select("place", *keys, month=pl.col("month_number"))
    )
    months = pl.col("month") - pl.col("month_number")
    is_known = months.is_between(1, MONTHS) | (months == 0) & (pl.col("first_place") < pl.col("place"))
    known = (
        debits.join(firsts, on=keys)
        .filter(is_known)
        .select("place")
        .unique()
        .with_columns(pl.lit(value=True).alias(name))
    )
    joined = rows.lazy().join(known, on="place", how="left", maintain_order="left")
    return joined.with_columns(pl.col(name).fill_null(value=False)).collect()


def with_dimensions(rows: pl.DataFrame, histories: Mapping[str, History]) -> pl.DataFrame:
    """Add the fee, category and code, and segment of the day."""
    days = rows.lazy().select("day").unique()

    def of_day(kind: str, *names: str) -> pl.LazyFrame:
        is_covered = (pl.col("day") >= pl.col("covers_from")) & (pl.col("day") < pl.col("covers_to"))
        versions = histories[kind].versions.lazy().select(*names, "covers_from", "covers_to")
        return versions.join(days, how="cross").filter(is_covered).select(*names, "day")

    people = histories["customers"].versions.lazy().sort("customer_id", "covers_from")
    return (
        rows.lazy()
        .join(
            of_day("channels", "channel_id", "fee_percent"), on=["channel_id", "day"], how="left", maintain_order="left"
        )
        .join(
            of_day("merchants", "merchant_id", "category", "mcc"),
            on=["merchant_id", "day"],
            how="left",
            suffix="_of_merchant",
            maintain_order="left",
        )
        .join_asof(
            people.select("customer_id", "covers_from", "segment"),
            left_on="day",
            right_on="covers_from",
            by="customer_id",
            check_sortedness=False,
        )
        .collect()
    )


def scored(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Add the risk: the rules that hold are bits of a number, of which few differ."""
    cents, limit, hour = pl.col("cents"), pl.col("limit_cents"), pl.col("hour")
    is_debit, balance = pl.col("side") == "DEBIT", pl.col("balance_cents")
    rows = rows.with_columns(
        hour=pl.when("is_timed").then(pl.col("moment").dt.hour().cast(pl.Int64)),
        category=pl.coalesce("category", "category_of_merchant", pl.lit("UNKNOWN")),
    )
    part = (
        pl.when(hour.is_null()).then(pl.lit("UNKNOWN"))
        .when(hour.is_between(6, 11)).then(pl.lit("MORNING"))
        .when(hour.is_between(12, 17)).then(pl.lit("AFTERNOON"))
        .when(hour.is_between(18, 21)).then(pl.lit("EVENING"))
        .otherwise(pl.lit("NIGHT"))
    )  # fmt: skip
    holds = {
        "CONFIRMED": pl.col("is_fraudulent"),
        "AMOUNT_UNUSUAL": is_debit & (cents > limit),
        "VELOCITY": pl.col("velocity_count") >= 5,
        "AMOUNT_HIGH": is_debit & (cents > 500_000),
        "FAILED_THEN_SUCCESS": pl.col("is_done") & (pl.col("failed_before") >= 2),
        "DAILY_COUNT": pl.col("daily_sequence") > 20,
        "NEW_CITY": is_debit & limit.is_not_null() & pl.col("city_id").is_not_null() & ~pl.col("knows_city"),
        "HIGH_RISK_CATEGORY": pl.col("category").is_in(RISKY_CATEGORIES)
        | pl.col("mcc").is_in(RISKY_CODES).fill_null(value=False),
        "BALANCE_DRAINED": is_debit & pl.col("is_done") & (cents >= 10_000) & (20 * balance <= balance + cents),
        "NEW_MERCHANT": is_debit
        & limit.is_not_null()
        & pl.col("merchant_id").is_not_null()
        & ~pl.col("knows_merchant"),
        "NIGHT": part == "NIGHT",
        "ROUND_AMOUNT": is_debit & (cents >= 100_000) & (cents % 10_000 == 0),
    }
    bits = [rule.fill_null(value=False).cast(pl.Int16) * 2**bit for bit, rule in enumerate(holds.values())]
    return rows.with_columns(time_of_day=part, rules=pl.sum_horizontal(bits)).join(
        _reasons(), on="rules", how="left", maintain_order="left"
    )


def _reasons() -> pl.LazyFrame:
    """Return the score and the reasons of each number of rules."""
    numbers = range(2 ** len(WEIGHTS))
    held = [[name for bit, name in enumerate(WEIGHTS) if number >> bit & 1] for number in numbers]
    return pl.LazyFrame(
        {
            "rules": pl.Series(numbers, dtype=pl.Int16),
            "score": [min(100, sum(WEIGHTS[name] for name in names)) for names in held],
            "risk_reasons": [";".join(names) or None for names in held],
        }
    )


def written(rows: pl.LazyFrame) -> pl.LazyFrame:
    cents, fee, ms = pl.col("cents"), pl.col("fee_percent"), pl.col("processing_ms")
    type_, is_done = pl.col("transaction_type").cast(pl.String), pl.col("is_done")
    size = pl.lit("VERY_LARGE")
    for name, top in (("LARGE", 1_000_000), ("MEDIUM", 100_000), ("SMALL", 10_000), ("MICRO", 1_000)):
        size = pl.when(cents < top).then(pl.lit(name)).otherwise(size)
    signed = pl.when(~is_done).then(0).when(pl.col("side") == "DEBIT").then(-cents).otherwise(cents)
    revenue = pl.when(is_done & fee.is_not_null()).then(half_up(cents * fee, pl.lit(10_000))).otherwise(0)
    partner_less = pl.when(type_ == "TRANSFER").then(-1).otherwise(-2)
    merchant_less = pl.when(type_.is_in(["PAYMENT", "ONLINE_PURCHASE"])).then(-1).otherwise(-2)
    return rows.select(
        "transaction_id",
        pl.col("day").alias("transaction_date"),
        key_of(pl.col("day")).alias("date_key"),
        key_of(pl.col("posted_date")).fill_null(-1).alias("posted_date_key"),
        pl.when("is_timed").then("moment").alias("transaction_time"),
        pl.col("customer_id").alias("customer_key"),
        pl.col("account_id").fill_null(-1).alias("account_key"),
        pl.coalesce("related_account_id", partner_less).alias("related_account_key"),
        pl.coalesce("merchant_id", merchant_less).alias("merchant_key"),
        pl.col("channel_id").fill_null(-1).alias("channel_key"),
        pl.col("city_id").fill_null(-1).alias("city_key"),
        type_.alias("transaction_type"),
        pl.col("side").cast(pl.String).alias("direction"),
        pl.col("status").cast(pl.String),
        "currency",
        "card_type",
        money(cents).alias("amount"),
        money(signed).alias("signed_amount"),
        money(fee, 5).alias("fee_percent"),
        money(revenue).alias("revenue"),
        "processing_ms",
        pl.when(ms.is_null()).then(pl.lit("unknown")).when(ms < 1_000).then(pl.lit("fast"))
        .when(ms < 3_000).then(pl.lit("medium")).otherwise(pl.lit("slow")).alias("processing_delay_bucket"),
        "hour",
        size.alias("amount_category"),
        "time_of_day",
        "category",
        "daily_transaction_count",
        "daily_sequence",
        money("daily_cents").alias("daily_cumulative_amount"),
        "velocity_count",
        "failed_before",
        money("limit_cents").alias("usual_limit"),
        money("score", 5).alias("risk_score"),
        (pl.col("score") > THRESHOLD).alias("is_high_risk"),
        "risk_reasons",
        "is_fraudulent",
        cents=cents,
        signed=signed,
        revenue_cents=revenue,
        is_done=is_done,
        is_failed=pl.col("status") == "FAILED",
        month=pl.col("day").dt.truncate("1mo"),
        customer_segment=pl.col("segment").fill_null("UNKNOWN"),
        account_id=pl.col("account_id"),
    )  # fmt: skip


EXTRA = (*("cents", "signed", "revenue_cents", "is_done", "is_failed", "month", "customer_segment", "account_id"),)
"""Columns that are not published."""
