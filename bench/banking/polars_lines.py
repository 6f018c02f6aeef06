"""Transactions and ledger entries in Polars: rows that break a rule are left out, the last delivery counts."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

import polars as pl

from bench.banking.drops import runs_of_one_header
from bench.banking.polars_values import PER_CENT, amount, day, moment, month_number, whole, word
from bench.engines.contract import Order

CREDITS = ("DEPOSIT", "CREDIT", "REFUND", "INTEREST")
DEBITS = (
    "PAYMENT",
    "ONLINE_PURCHASE",
    "MOBILE_PAYMENT",
    "DIRECT_DEBIT",
    "CHECK",
    "WITHDRAWAL",
    "TRANSFER",
    "DEBIT",
    "FEE",
)
TYPES = pl.Enum([*DEBITS, *CREDITS])
STATUSES = pl.Enum(["COMPLETED", "PENDING", "FAILED", "CANCELLED", "REVERSED"])
SIDES = pl.Enum(["DEBIT", "CREDIT"])
SYNONYMS = {
    "SUCCESS": "COMPLETED",
    "APPROVED": "COMPLETED",
    "DECLINED": "FAILED",
    "REJECTED": "FAILED",
    "CANCELED": "CANCELLED",
}
MOST = 1_000_000_000 * 100 * PER_CENT
"""The largest amount, with four digits after the point."""
OPTIONAL_IDS = ("account_id", "related_account_id", "merchant_id", "channel_id", "city_id")
OPTIONAL = (
    *OPTIONAL_IDS,
    *(
        "direction",
        "currency",
        "category",
        "card_type",
        "processing_ms",
        "balance_after",
        "is_fraudulent",
        "posted_date",
    ),
)


def scan(paths: Sequence[Path], optional: Sequence[str] = ()) -> pl.LazyFrame:
    """Read drops in this order as text; an empty field, quoted or not, is a missing value."""
    runs = list(runs_of_one_header(paths))
    frames = [
        pl.scan_csv(group, infer_schema=False, null_values="", include_file_paths="drop_name") for _, group in runs
    ]
    absent = {*optional}.difference(*(header for header, _ in runs))
    rows = pl.concat(frames, how="diagonal") if len(frames) > 1 else frames[0]
    return rows.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in sorted(absent))


def split(
    order: Order, kind: str, rows: pl.LazyFrame, rules: Mapping[str, pl.Expr], columns: Sequence[str]
) -> pl.DataFrame:
    """Write the rows that break a rule, with the first broken one; return those columns of the others."""
    rules = {name: rule.fill_null(value=False) for name, rule in rules.items()}
    judged = rows.with_columns(is_good=pl.all_horizontal(rules.values()))
    broken = pl.coalesce(pl.when(~rule).then(pl.lit(name)) for name, rule in rules.items())
    text = pl.concat_str(
        [name for name in rows.collect_schema().names() if name.startswith("text_")], separator=",", ignore_nulls=True
    )
    bad = judged.filter(~pl.col("is_good")).select("drop_name", text.alias("row_text"), broken.alias("broken"))
    path = order.folder("quarantine") / f"{kind}.parquet"
    good = judged.filter("is_good").select(columns)
    clean, _ = pl.collect_all([good, bad.sink_parquet(path, lazy=True)], engine="streaming")
    return clean


def booked(order: Order) -> pl.DataFrame:
    """Return the transactions up to as_of that count."""
    raw = scan(order.delivered("transactions"), OPTIONAL)
    texts = [name for name in raw.collect_schema().names() if name != "drop_name"]
    label = pl.col("is_fraudulent").str.to_lowercase()
    typed = raw.select(
        *(pl.col(name).alias(f"text_{name}") for name in texts),
        *("drop_name", "transaction_id", "category"),
        *(whole(name) for name in ("customer_id", *OPTIONAL_IDS, "processing_ms")),
        word("transaction_type").cast(TYPES, strict=False),
        word("status").replace(SYNONYMS).cast(STATUSES, strict=False),
        word("direction").cast(SIDES, strict=False),
        word("currency"),
        word("card_type"),
        amount("amount"),
        amount("balance_after"),
        moment("transaction_time").alias("moment"),
        (pl.col("transaction_time").str.len_bytes() > 10).alias("is_timed"),
        pl.when(label.is_in(["true", "1"]))
        .then(statement=True)
        .when(label.is_in(["false", "0"]))
        .then(statement=False)
        .alias("is_fraudulent"),
        day("posted_date").alias("posted_date"),
    )
    columns = [name for name in typed.collect_schema().names() if name != "drop_name" and not name.startswith("text_")]
    clean = split(order, "transactions", typed, _rules(), columns)
    status, side = pl.col("status"), pl.col("side")
    is_done = status == "COMPLETED"
    given = (
        pl.when(pl.col("transaction_type").is_in(CREDITS)).then(pl.lit("CREDIT")).otherwise(pl.lit("DEBIT")).cast(SIDES)
    )
    return (
        clean.lazy()
        .with_columns(
            day=pl.col("moment").dt.date(),
            month_number=month_number(pl.col("moment")),
            cents=pl.col("amount") // PER_CENT,
            balance_cents=pl.col("balance_after") // PER_CENT,
            side=pl.coalesce("direction", given),
            is_done=is_done,
        )
        .unique(["customer_id", "month_number", "transaction_id"], keep="last")
        .filter(pl.col("day") <= order.as_of)
        .with_columns(is_spent=is_done & (side == "DEBIT") & pl.col("is_fraudulent").ne_missing(other=True))
        .drop("amount", "balance_after", "direction")
        .collect()
    )


def _rules() -> dict[str, pl.Expr]:
    """Return the rules of transactions; an optional value that cannot be read breaks its rule."""
    rules = {
        "transaction_id": _is_key("transaction_id"),
        "transaction_time": pl.col("moment") >= datetime(2000, 1, 1),  # noqa: DTZ001 - of the bank's zone
        "customer_id": pl.col("customer_id") >= 1,
        "transaction_type": pl.col("transaction_type").is_not_null(),
        "amount": _is_amount("amount"),
        "status": pl.col("status").is_not_null(),
    }
    rules |= {name: pl.col(f"text_{name}").is_null() | (pl.col(name) >= 1) for name in OPTIONAL_IDS}
    rules["currency"] = pl.col("currency").is_null() | (pl.col("currency").str.len_chars() <= 3)
    rules["processing_ms"] = pl.col("text_processing_ms").is_null() | (pl.col("processing_ms") >= 0)
    rules["balance_after"] = pl.col("text_balance_after").is_null() | (pl.col("balance_after") % PER_CENT == 0)
    for name in ("direction", "is_fraudulent", "posted_date"):
        rules[name] = pl.col(f"text_{name}").is_null() | pl.col(name).is_not_null()
    return rules


def _is_key(name: str) -> pl.Expr:
    return (pl.col(name).str.strip_chars(" ") != "") & (pl.col(name).str.len_chars() <= 64)


def _is_amount(name: str) -> pl.Expr:
    return (pl.col(name) > 0) & (pl.col(name) <= MOST) & (pl.col(name) % PER_CENT == 0)


def entries(order: Order) -> pl.DataFrame:
    """Return the ledger entries up to as_of that count."""
    raw = scan(order.delivered("ledger_entries"))
    texts = ("entry_id", "transaction_id", "account_id", "entry_type", "amount", "entry_time")
    typed = raw.select(
        *(pl.col(name).alias(f"text_{name}") for name in texts),
        *("drop_name", "entry_id", "transaction_id"),
        whole("account_id"),
        word("entry_type").cast(SIDES, strict=False),
        amount("amount"),
        moment("entry_time").dt.date().alias("day"),
    )
    rules = {
        "entry_id": _is_key("entry_id"),
        "transaction_id": _is_key("transaction_id"),
        "account_id": pl.col("account_id") >= 1,
        "entry_type": pl.col("entry_type").is_not_null(),
        "amount": _is_amount("amount"),
        "entry_time": pl.col("day") >= date(2000, 1, 1),
    }
    clean = split(order, "ledger_entries", typed, rules, [*texts[:5], "day"])
    return (
        clean.lazy()
        .with_columns(month_number=month_number(pl.col("day")))
        .unique(["month_number", "entry_id"], keep="last")
        .filter(pl.col("day") <= order.as_of)
        .select(
            "transaction_id",
            "account_id",
            "day",
            debit=pl.when(pl.col("entry_type") == "DEBIT").then("amount").otherwise(0) // PER_CENT,
            credit=pl.when(pl.col("entry_type") == "CREDIT").then("amount").otherwise(0) // PER_CENT,
        )
        .collect()
    )
