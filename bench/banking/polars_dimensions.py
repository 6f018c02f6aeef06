"""The published dimensions in Polars: versions, ids that only facts name, and members that stand for none."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from bench.banking.polars_history import EVER, FOREVER, History
from bench.banking.polars_values import key_of, money, version_key

VERSION = ("valid_from", "valid_to", "is_current", "end_reason", "covers_from", "covers_to", "last_seen", "is_inferred")
MEMBERS = {-1: "UNKNOWN", -2: "NOT APPLICABLE"}


@dataclass(frozen=True)
class Dimension:
    """A published dimension, and where facts have its ids."""

    kind: str
    key: str
    columns: tuple[str, ...]
    worded: tuple[str, ...]
    """Columns that have a word in rows without a snapshot."""
    used: tuple[str, ...]
    """Columns of transactions."""
    members: tuple[int, ...] = (-1,)


DIMENSIONS = {
    "dim_customer": Dimension(
        "customers",
        "customer_id",
        (
            *("full_name", "email", "phone", "city_id", "segment", "status", "registration_date", "credit_score"),
            "monthly_income",
        ),
        ("full_name",),
        ("customer_id",),
    ),
    "dim_account": Dimension(
        "accounts",
        "account_id",
        ("customer_id", "account_type", "status", "currency", "interest_rate", "opening_date", "balance"),
        ("account_type", "status", "currency"),
        ("account_id", "related_account_id"),
        (-1, -2),
    ),
    "dim_merchant": Dimension(
        "merchants",
        "merchant_id",
        ("merchant_name", "category", "mcc"),
        ("merchant_name", "category"),
        ("merchant_id",),
        (-1, -2),
    ),
    "dim_channel": Dimension(
        "channels", "channel_id", ("channel_name", "fee_percent"), ("channel_name",), ("channel_id",)
    ),
    "dim_city": Dimension("cities", "city_id", ("city_name", "state", "region"), ("city_name",), ("city_id",)),
}
DECIMALS = {"monthly_income": 18, "balance": 18, "interest_rate": 5, "fee_percent": 5}


def tables(histories: Mapping[str, History], booked: pl.DataFrame, entries: pl.DataFrame) -> dict[str, pl.LazyFrame]:
    """Return all dimensions."""
    dimensions = {}
    for name, dimension in DIMENSIONS.items():
        columns = [booked[column] for column in dimension.used]
        columns += [entries["account_id"]] if dimension.kind == "accounts" else []
        used = pl.concat([column.unique().alias("id") for column in columns]).unique().drop_nulls()
        dimensions[name] = table(dimension, histories[dimension.kind].versions, used)
    return dimensions


def table(dimension: Dimension, versions: pl.DataFrame, used: pl.Series) -> pl.LazyFrame:
    key, durable = pl.col(dimension.key), dimension.key.replace("_id", "_key")
    shown = [
        money(name, DECIMALS[name]).alias(name) if name in DECIMALS else pl.col(name) for name in dimension.columns
    ]
    seen = versions.lazy().select("version_key", key.alias(durable), *shown, *VERSION)
    unknown = used.to_frame().join(versions, left_on="id", right_on=dimension.key, how="anti")
    inferred = unknown.with_columns(word=pl.lit("UNKNOWN"), is_inferred=pl.lit(value=True))
    members = pl.DataFrame(
        {
            "id": dimension.members,
            "word": [MEMBERS[member] for member in dimension.members],
            "is_inferred": [False] * len(dimension.members),
        }
    )
    number, since = pl.col("id"), pl.lit(EVER)
    worded = [pl.col("word").alias(name) for name in dimension.worded]
    own_key = number.cast(pl.Int128).reinterpret(dtype=pl.Decimal(38, 0))
    unseen = (
        pl.concat([inferred, members])
        .lazy()
        .select(
            pl.when(number < 0).then(own_key).otherwise(version_key(number, since)).alias("version_key"),
            number.alias(durable),
            *worded,
            since.alias("valid_from"),
            pl.lit(FOREVER).alias("valid_to"),
            pl.lit(value=True).alias("is_current"),
            since.alias("covers_from"),
            pl.lit(FOREVER).alias("covers_to"),
            "is_inferred",
        )
    )
    return pl.concat([seen, unseen], how="diagonal")


def dim_date(first: pl.Expr, last: pl.Expr) -> pl.LazyFrame:
    """Return each day from the first to the last."""
    day = pl.col("full_date")
    days = pl.select(pl.date_range(first, last).alias("full_date")).lazy()
    return days.select(
        key_of(day).alias("date_key"),
        day,
        *(getattr(day.dt, name)().cast(pl.Int64).alias(name) for name in ("day", "month", "quarter", "year")),
        day.dt.weekday().cast(pl.Int64).alias("day_of_week"),
        (day.dt.weekday() < 6).alias("weekday_flag"),
        day.dt.strftime("%Y-%m").alias("month_name"),
        (day == day.dt.month_end()).alias("is_month_end"),
    )
