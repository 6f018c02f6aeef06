"""Polars, streaming: one pass over the drops writes the clean lines in parts; the marts are computed from the parts.

Lines are partitioned by a hash of their transaction, so that duplicates and baskets are computed part by part. Memory
is that of one part and of small sums, every hash table stays small, and money is whole cents in Int64.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.engines.contract import HIGH_VALUE, INACTIVE_AFTER_DAYS, INCENTIVE_PERCENT, LOYAL_PURCHASES, Order, main

if TYPE_CHECKING:
    import polars as pl  # noqa: TC004 - `ready` imports it

NAMES = (
    "transaction_id",
    "line_no",
    "customer_id",
    "store_id",
    "product_name",
    "sales_date",
    "sales_person_id",
    "price",
    "quantity",
    "total_cost",
    "payment_mode",
)
WHOLE = ("line_no", "customer_id", "store_id", "sales_person_id", "quantity")
AMOUNTS = ("price", "total_cost")
LINE = ["transaction_id", "line_no"]
PER_CENT = 100
"""Units per cent: amounts are parsed as whole numbers with four digits after the point."""
PART_BYTES = 64 << 20
"""Approximate bytes of drops per part."""
ROW_GROUP = 1 << 16
"""Rows per row group. Every part has one in memory while the drops are read."""


@dataclass(frozen=True)
class Sums:
    """Sums over baskets that the marts need. They add up over parts, because a transaction is in one part only."""

    months: pl.LazyFrame
    """Cents by customer and month."""
    days: pl.LazyFrame
    """Purchases by customer and day."""
    people: pl.LazyFrame
    """Cents and purchases by store, sales person and month."""

    def frames(self) -> list[pl.LazyFrame]:
        return [self.months, self.days, self.people]


@contextmanager
def ready(order: Order) -> Iterator[None]:
    """Import Polars after setting its number of threads: it starts them on import."""
    global pl
    os.environ["POLARS_MAX_THREADS"] = str(order.cores)
    import polars as pl

    warnings.filterwarnings("ignore", message="`PartitionBy`")
    assert pl.thread_pool_size() == order.cores
    yield


def job(order: Order, _: None) -> None:
    parts = write_lines(order)
    sums = added([sums_of(part, order.as_of) for part in parts])
    marts = {"customers": customers_mart(order, sums), "sales_team": sales_team_mart(order, sums)}
    run([mart.sink_parquet(order.folder(name) / "part.parquet", lazy=True) for name, mart in marts.items()])


def run(frames: list[pl.LazyFrame]) -> list[pl.DataFrame]:
    """Run lazy frames together, so that common parts run once."""
    return pl.collect_all(frames, engine="streaming")


# ------------------------------------------------------------------------------------------------ lines


def write_lines(order: Order) -> list[pl.LazyFrame]:
    """Read the drops once; write clean lines and quarantine. Return the parts of the clean lines."""
    drops = newest_first(order)
    count = 1 + sum(drop.stat().st_size for drop in drops) // PART_BYTES
    paths = [order.folder("lines") / f"part-{number:03d}.parquet" for number in range(count)]
    judged_ = judged(drops)
    part = pl.PartitionBy(
        order.folder("lines"),
        key={"part": pl.col("transaction_id").hash() % count},
        include_key=False,
        file_path_provider=lambda file: paths[file.partition_keys.item()].name,
        approximate_bytes_per_file=None,
    )
    clean = clean_lines(judged_).sink_parquet(part, compression="zstd", row_group_size=ROW_GROUP, lazy=True)
    run([clean, quarantine(judged_).sink_parquet(order.folder("quarantine") / "part.parquet", lazy=True)])
    return [pl.scan_parquet(path) for path in paths if path.exists()]


def newest_first(order: Order) -> list[Path]:
    """List the drops by name, descending, so that the first of equal lines is the one that counts."""
    return sorted((order.drops / "sales").rglob("*.csv"), key=str, reverse=True)


def read(drops: list[Path], **options: Any) -> pl.LazyFrame:
    """Read CSV files as text; an empty field, quoted or not, is a missing value."""
    return pl.scan_csv(drops, infer_schema=False, null_values="", **options)


def judged(drops: list[Path]) -> pl.LazyFrame:
    """Read drops; return their text, which the quarantine needs, the typed values, and whether all rules hold."""
    typed = read(drops, include_file_paths="drop_name").select(
        "drop_name",
        "transaction_id",
        "product_name",
        "payment_mode",
        *(pl.col(name).cast(pl.Int64, strict=False) for name in WHOLE),
        *(amount(name) for name in AMOUNTS),
        pl.col("sales_date").str.to_date("%Y-%m-%d", strict=False),
        *(pl.col(name).alias(f"text_{name}") for name in NAMES),
    )
    return typed.with_columns(good=pl.all_horizontal(rules().values()))


def amount(name: str) -> pl.Expr:
    """Parse an amount as a whole number with four digits after the point, the internal form of a decimal."""
    decimal = pl.col(name).cast(pl.Decimal(18, 4), strict=False)
    return decimal.reinterpret(dtype=pl.Int128).cast(pl.Int64)


def rules() -> dict[str, pl.Expr]:
    """Return the rules; the first broken one in this order is reported. An invalid value breaks its rule."""
    price, quantity = pl.col("price"), pl.col("quantity")
    hold = {
        "customer_id": pl.col("customer_id") >= 1,
        "store_id": pl.col("store_id") >= 1,
        "sales_person_id": pl.col("sales_person_id") >= 1,
        "product_name": pl.col("product_name").str.strip_chars(" ") != "",
        "sales_date": pl.col("sales_date") >= date(2000, 1, 1),
        "price": (price >= 0) & (price % PER_CENT == 0),
        "quantity": quantity != 0,
        "total_cost": pl.col("total_cost") == price * quantity,
    }
    return {name: rule.fill_null(value=False) for name, rule in hold.items()}


def clean_lines(judged_: pl.LazyFrame) -> pl.LazyFrame:
    return judged_.filter("good").select(
        "drop_name",
        "transaction_id",
        "line_no",
        "customer_id",
        "store_id",
        "product_name",
        "sales_date",
        "sales_person_id",
        (pl.col("price") // PER_CENT).alias("price_cents"),
        "quantity",
        (pl.col("total_cost") // PER_CENT).alias("total_cents"),
        "payment_mode",
    )


def quarantine(judged_: pl.LazyFrame) -> pl.LazyFrame:
    text = pl.concat_str([f"text_{name}" for name in NAMES], separator=",", ignore_nulls=True)
    broken = pl.coalesce(pl.when(~rule).then(pl.lit(name)) for name, rule in rules().items())
    return judged_.filter(~pl.col("good")).select("drop_name", text.alias("row_text"), broken.alias("broken"))


# ------------------------------------------------------------------------------------------------ sums


def sums_of(part: pl.LazyFrame, as_of: date) -> Sums:
    """Sum up a part. Its baskets are released before the next part is read."""
    sold = baskets(delivered_last(part), as_of).collect(engine="streaming").lazy()
    return Sums(*(frame.lazy() for frame in run([months_of(sold), days_of(sold), people_of(sold)])))


def delivered_last(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Keep the latest delivery of the lines with the same key; a line without a key has no duplicates."""
    keyless = pl.any_horizontal(pl.col(LINE).is_null())
    return pl.concat([lines.filter(~keyless).unique(LINE, keep="first"), lines.filter(keyless)])


def baskets(lines: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Sum up lines by basket; a basket that has only returns has no days."""
    day, cents, is_purchase = pl.col("sales_date"), pl.col("total_cents"), pl.col("quantity") > 0
    month = day.dt.truncate("1mo").alias("month")
    return (
        lines.filter(day <= as_of)
        .group_by("customer_id", "transaction_id", "store_id", "sales_person_id", month)
        .agg(
            cents=cents.sum(),
            bought=cents.filter(is_purchase).sum(),
            first_day=day.filter(is_purchase).min(),
            last_day=day.filter(is_purchase).max(),
        )
    )


def months_of(sold: pl.LazyFrame) -> pl.LazyFrame:
    return sold.group_by("customer_id", "month").agg(pl.col("cents").sum())


def days_of(sold: pl.LazyFrame) -> pl.LazyFrame:
    """Sum up purchases by their first day, so that days can be counted without the purchases."""
    purchases = (
        sold.filter(pl.col("first_day").is_not_null())
        .group_by("customer_id", "transaction_id")
        .agg(pl.col("bought").sum(), pl.col("first_day").min(), pl.col("last_day").max())
    )
    return purchases.group_by("customer_id", "first_day").agg(
        purchases=pl.len().cast(pl.Int64), largest=pl.col("bought").max(), last_day=pl.col("last_day").max()
    )


def people_of(sold: pl.LazyFrame) -> pl.LazyFrame:
    person = ["store_id", "sales_person_id", "month"]
    purchase = pl.col("first_day").is_not_null().any()
    sales = sold.group_by(*person, "transaction_id").agg(
        pl.col("cents").sum(), bought=pl.when(purchase).then(pl.col("bought").sum())
    )
    return sales.group_by(person).agg(
        pl.col("cents").sum(), purchases=pl.col("bought").count().cast(pl.Int64), largest=pl.col("bought").max()
    )


def added(parts: list[Sums]) -> Sums:
    """Add up the sums of parts."""
    months, days, people = (pl.concat(frames) for frames in zip(*(part.frames() for part in parts), strict=True))
    purchases, largest = pl.col("purchases").sum(), pl.col("largest").max()
    return Sums(
        months.group_by("customer_id", "month").agg(pl.col("cents").sum()),
        days.group_by("customer_id", "first_day").agg(purchases, largest, pl.col("last_day").max()),
        people.group_by("store_id", "sales_person_id", "month").agg(pl.col("cents").sum(), purchases, largest),
    )


# ------------------------------------------------------------------------------------------------ marts


def customers_mart(order: Order, sums: Sums) -> pl.LazyFrame:
    """Join months with the lifetime columns, which are computed once per customer."""
    people = named(order.dimension("customers"), "customer_id", "address", "phone_number")
    customers = lifetimes(sums, order.as_of).join(people, on="customer_id", how="left")
    return sums.months.join(customers, on="customer_id").select(
        "customer_id",
        pl.col("full_name").fill_null("UNKNOWN"),
        "address",
        "phone_number",
        month_name("month").alias("sales_date_month"),
        money("cents").alias("total_sales"),
        "customer_lifetime_value",
        "first_purchase_month",
        "last_purchase_month",
        "purchase_frequency",
        "monetary_value",
        "avg_monthly_spending",
        "max_single_transaction",
        "avg_time_between_purchases",
        "inactive_status",
        "customer_segment",
    )


def lifetimes(sums: Sums, as_of: date) -> pl.LazyFrame:
    """Return one row per customer."""
    bought = sums.days.group_by("customer_id").agg(
        pl.col("purchases").sum(),
        pl.col("largest").max(),
        pl.col("first_day").min(),
        pl.col("last_day").max(),
        days=pl.len().cast(pl.Int64),
    )
    sold = sums.months.group_by("customer_id").agg(value=pl.col("cents").sum(), months=pl.len().cast(pl.Int64))
    inactive = ((as_of - pl.col("last_day")).dt.total_days() > INACTIVE_AFTER_DAYS).fill_null(value=True)
    joined = sold.join(bought, on="customer_id", how="left").with_columns(inactive_status=inactive)
    value, purchases, days = pl.col("value"), pl.col("purchases"), pl.col("days")
    between = (pl.col("last_day") - pl.col("first_day")).dt.total_days() * 100
    return joined.select(
        "customer_id",
        "inactive_status",
        money("value").alias("customer_lifetime_value"),
        month_name("first_day").alias("first_purchase_month"),
        month_name("last_day").alias("last_purchase_month"),
        purchases.fill_null(0).alias("purchase_frequency"),
        money(half_up(value, purchases)).alias("monetary_value"),
        money(half_up(value, pl.col("months"))).alias("avg_monthly_spending"),
        money("largest").alias("max_single_transaction"),
        money(half_up(between, days - 1), 14).alias("avg_time_between_purchases"),
        segment().alias("customer_segment"),
    )


def segment() -> pl.Expr:
    """Return the first segment whose rule holds; without a purchase, the first two never hold."""
    value, purchases = pl.col("value"), pl.col("purchases")
    return (
        pl.when(purchases >= LOYAL_PURCHASES)
        .then(pl.lit("Loyal Customer"))
        .when(value >= HIGH_VALUE * 100 * purchases)
        .then(pl.lit("High-Value Customer"))
        .when("inactive_status")
        .then(pl.lit("At-Risk Customer"))
        .otherwise(pl.lit("Occasional Customer"))
    )


def sales_team_mart(order: Order, sums: Sums) -> pl.LazyFrame:
    people = named(order.dimension("sales_team"), "id")
    cents, before, purchases = pl.col("cents"), pl.col("before"), pl.col("purchases")
    leads = (pl.col("place") == 1) & (cents > 0)
    joined = (
        ranked(sums.people)
        .join(careers(sums.people), on="sales_person_id")
        .join(people, left_on="sales_person_id", right_on="id", how="left")
    )
    return joined.select(
        "store_id",
        "sales_person_id",
        pl.col("full_name").fill_null("UNKNOWN"),
        month_name("month").alias("sales_month"),
        money("cents").alias("total_sales"),
        money(half_up(pl.col("all_cents"), pl.col("all_months"))).alias("avg_sales_per_month"),
        pl.col("place").cast(pl.Int64).alias("top_performance_rank"),
        money(pl.when(leads).then(half_up(cents * INCENTIVE_PERCENT, pl.lit(100))).otherwise(0)).alias("incentive"),
        money(cents - before).alias("month_over_month_variance"),
        money(half_up((cents - before) * 10_000, before), 14).alias("sales_growth_rate"),
        money("year_cents").alias("year_to_date_sales"),
        month_name("first_month").alias("first_sale_month"),
        month_name("last_month").alias("last_sale_month"),
        purchases.alias("total_transactions"),
        money(half_up(cents, purchases)).alias("avg_transaction_value"),
        money("largest").alias("max_single_transaction"),
        money(half_up(cents * 10_000, pl.col("store_cents")), 14).alias("sales_contribution_percentage"),
    )


def ranked(months: pl.LazyFrame) -> pl.LazyFrame:
    """Add the store's figures and those of preceding months to each month of a sales person."""
    month, cents = pl.col("month"), pl.col("cents")
    store, person = ["store_id", "month"], ["store_id", "sales_person_id"]
    last_month = month.shift(1).over(person, order_by="month")
    last_cents = cents.shift(1).over(person, order_by="month")
    follows = last_month == month.dt.offset_by("-1mo")
    return months.with_columns(
        place=cents.rank("dense", descending=True).over(store),
        store_cents=cents.sum().over(store),
        year_cents=cents.cum_sum().over(*person, month.dt.year(), order_by="month"),
        before=pl.when(follows).then(last_cents).when(last_month.is_not_null()).then(0),
    )


def careers(months: pl.LazyFrame) -> pl.LazyFrame:
    """Return the columns that are equal in all stores and months of a sales person."""
    return months.group_by("sales_person_id").agg(
        all_cents=pl.col("cents").sum(),
        all_months=pl.col("month").n_unique().cast(pl.Int64),
        first_month=pl.col("month").min(),
        last_month=pl.col("month").max(),
    )


def named(drop: Path, key: str, *others: str) -> pl.LazyFrame:
    """Read a dimension: its key, the full name and other columns."""
    name = pl.concat_str("first_name", pl.lit(" "), "last_name").alias("full_name")
    return read([drop]).select(pl.col(key).cast(pl.Int64), name, *others)


# ------------------------------------------------------------------------------------------------ values


def half_up(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    """Divide whole numbers and round once, ties away from zero; NULL unless the divisor is positive."""
    return pl.when(b > 0).then((2 * a + a.sign() * b).truncdiv(2 * b))


def money(cents: str | pl.Expr, digits: int = 18) -> pl.Expr:
    """Convert whole cents to a decimal by reinterpreting the bits."""
    column: Any = pl.col(cents) if isinstance(cents, str) else cents
    return column.cast(pl.Int128).reinterpret(dtype=pl.Decimal(digits, 2))


def month_name(day: str) -> pl.Expr:
    return pl.col(day).dt.strftime("%Y-%m")


if __name__ == "__main__":
    main(job, ready)
