"""Ray Data as its documentation recommends: read_csv, map_batches in Arrow, groupby, write_parquet.

It prefers aggregates to map_groups, as documented, and passes small tables such as dimensions to map_batches, because
Dataset.join needs polars. The shuffle settings are tuned for a few cores.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import ray
import ray.data
from ray.data import Dataset
from ray.data.aggregate import Count, Max, Min, Sum
from ray.data.expressions import col

from bench.engines.contract import HIGH_VALUE, INACTIVE_AFTER_DAYS, INCENTIVE_PERCENT, LOYAL_PURCHASES, Order, main

PARTITIONS_PER_CORE = 4
SHUFFLE_BATCH = 64 << 20
COMPRESSION = "zstd"

SALES = (
    "transaction_id line_no customer_id store_id product_name sales_date sales_person_id price quantity total_cost "
    "payment_mode"
).split()
LINE = ["transaction_id", "line_no"]
WHOLE, DECIMAL = r"^-?[0-9]{1,18}$", r"^-?[0-9]{1,14}(\.[0-9]{1,4})?$"


@contextmanager
def ready(order: Order) -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(address="local", num_cpus=order.cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.default_hash_shuffle_parallelism = PARTITIONS_PER_CORE * order.cores
    context.shuffle_input_batch_bytes = SHUFFLE_BATCH
    try:
        yield
    finally:
        ray.shutdown()


def job(order: Order, _: None) -> None:
    baskets = baskets_of(delivered_last(lines_of(order)), order.as_of).materialize()
    write(customers_mart(baskets, order), order, "customers")
    write(sales_team_mart(baskets, order), order, "sales_team")


def lines_of(order: Order) -> Dataset:
    """Write clean lines and quarantine; keep in memory only the columns of clean lines that the marts need."""
    judged = read_csv(order.drops / "sales").map_batches(judge, batch_format="pyarrow").materialize()
    quarantine = judged.filter(expr=col("broken").is_not_null())
    write(quarantine.select_columns(["drop_name", "row_text", "broken"]), order, "quarantine")
    lines = judged.filter(expr=col("broken").is_null()).drop_columns(["row_text", "broken"])
    write(lines, order, "lines")
    return lines.map_batches(what_marts_need, batch_format="pyarrow").materialize()


def read_csv(path: Path) -> Dataset:
    """Read a folder of drops as text."""
    options = as_text(SALES)
    return ray.data.read_csv(str(path), convert_options=options, include_paths=True, file_extensions=["csv"])


def as_text(names: list[str]) -> pacsv.ConvertOptions:
    types = dict.fromkeys(names, pa.string())
    return pacsv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)


def people_of(path: Path, key: str, kept: list[str]) -> pa.Table:
    """Read the full names and some columns of a dimension: it is small, so every worker gets all of it."""
    names = [key, "first_name", "last_name", *kept]
    rows = pacsv.read_csv(path, convert_options=as_text(names))
    full_name = pc.binary_join_element_wise(rows["first_name"], rows["last_name"], " ")
    return rows.select(kept).add_column(0, key, rows[key].cast(pa.int64())).append_column("full_name", full_name)


def in_driver(rows: Dataset) -> pa.Table:
    """Fetch a small dataset to the driver."""
    return pa.concat_tables(ray.get(rows.to_arrow_refs()))


def write(rows: Dataset, order: Order, name: str) -> None:
    rows.write_parquet(str(order.folder(name)), compression=COMPRESSION)


def judge(raw: pa.Table) -> pa.Table:
    """Type the values of all rows, and name the first rule that each row breaks."""
    customer, store, person = (typed(raw[f"{name}_id"], WHOLE) for name in ("customer", "store", "sales_person"))
    quantity, day = typed(raw["quantity"], WHOLE), days(raw["sales_date"])
    price, total = typed(raw["price"], DECIMAL), typed(raw["total_cost"], DECIMAL)
    product = pc.multiply(price, quantity.cast(pa.decimal128(19, 0)))
    rules = {
        "customer_id": null_or(customer, pc.less(customer, 1)),
        "store_id": null_or(store, pc.less(store, 1)),
        "sales_person_id": null_or(person, pc.less(person, 1)),
        "product_name": null_or(raw["product_name"], pc.equal(pc.utf8_trim_whitespace(raw["product_name"]), "")),
        "sales_date": null_or(day, pc.less(day, pa.scalar(date(2000, 1, 1)))),
        "price": null_or(price, pc.or_(pc.less(price, Decimal(0)), pc.not_equal(price, pc.round(price, 2)))),
        "quantity": null_or(quantity, pc.equal(quantity, 0)),
        "total_cost": null_or(total, pc.not_equal(total, product)),
    }
    broken = pc.case_when(pc.make_struct(*rules.values(), field_names=list(rules)), *rules)
    holds = pc.is_null(broken)
    text = pc.binary_join_element_wise(*(raw[name] for name in SALES), ",", null_handling="skip")
    columns = {
        "drop_name": raw["path"],
        "transaction_id": raw["transaction_id"],
        "line_no": typed(raw["line_no"], WHOLE),
        "customer_id": customer,
        "store_id": store,
        "product_name": raw["product_name"],
        "sales_date": day,
        "sales_person_id": person,
        "price_cents": cents_of(price, holds),
        "quantity": quantity,
        "total_cents": cents_of(total, holds),
        "payment_mode": raw["payment_mode"],
        "broken": broken,
        "row_text": pc.if_else(holds, None, text),
    }
    return pa.table(columns)


def typed(text: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    """Parse numbers; an invalid one becomes null. A cast alone would fail for the whole column."""
    number = pa.int64() if pattern == WHOLE else pa.decimal128(18, 4)
    return pc.if_else(pc.match_substring_regex(text, pattern), text, None).cast(number)


def days(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Parse dates with pandas: Arrow's strptime turns 30 February into 1 March."""
    read = pd.to_datetime(text.to_pandas(), format="%Y-%m-%d", errors="coerce")
    return pa.chunked_array([pa.Array.from_pandas(read).cast(pa.date32())])


def null_or(values: pa.ChunkedArray, wrong: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.or_kleene(pc.is_null(values), wrong)


def cents_of(amount: pa.ChunkedArray, holds: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the cents of valid rows, where they are whole numbers."""
    return pc.multiply(pc.if_else(holds, amount, None), Decimal(100)).cast(pa.int64())


def what_marts_need(lines: pa.Table) -> pa.Table:
    """Keep the columns that the marts need; for a return, ``bought`` and ``bought_day`` are null."""
    bought = pc.greater(lines["quantity"], 0)
    columns = {
        "month": month_of(lines["sales_date"]),
        "day": lines["sales_date"],
        "cents": lines["total_cents"],
        "bought": pc.if_else(bought, lines["total_cents"], None),
        "bought_day": pc.if_else(bought, lines["sales_date"], None),
    }
    kept = lines.select(["drop_name", *LINE, "customer_id", "store_id", "sales_person_id"])
    return pa.table(dict(zip(kept.column_names, kept.columns, strict=True)) | columns)


def delivered_last(lines: Dataset) -> Dataset:
    """Return each line once, in its latest delivery; lines without a key are all different.

    Few lines have duplicates: they are resolved in the driver, and no other line is shuffled with all its columns.
    """
    times = lines.select_columns(LINE).groupby(LINE).aggregate(Count(alias_name="times"))
    twice = in_driver(times.filter(expr=col("times") > 1).select_columns(LINE))
    contested = in_driver(lines.map_batches(joined, batch_format="pyarrow", fn_args=[twice, "left semi"]))
    order = contested.select(["drop_name", *LINE]).to_pandas().sort_values("drop_name", ascending=False)
    settled = contested.take(order.drop_duplicates(LINE).index.to_numpy())
    others = lines.map_batches(joined, batch_format="pyarrow", fn_args=[twice, "left anti"])
    return others.union(ray.data.from_arrow(settled))


def joined(lines: pa.Table, keys: pa.Table, how: str) -> pa.Table:
    return lines.join(keys, LINE, join_type=how)


def baskets_of(lines: Dataset, as_of: date) -> Dataset:
    """Sum up lines per basket; one that spans customers, stores, persons or months is split."""
    keys = ["customer_id", "transaction_id", "store_id", "sales_person_id", "month"]
    return (
        lines.filter(expr=col("day") <= as_of)
        .groupby(keys)
        .aggregate(
            Sum("cents", alias_name="cents"),
            Sum("bought", alias_name="bought"),
            Min("bought_day", alias_name="first_day"),
            Max("bought_day", alias_name="last_day"),
        )
    )


def customers_mart(baskets: Dataset, order: Order) -> Dataset:
    months = baskets.groupby(["customer_id", "month"]).aggregate(Sum("cents", alias_name="cents")).materialize()
    sums = months.groupby("customer_id").aggregate(Sum("cents", alias_name="value_cents"), Count(alias_name="months"))
    people = people_of(order.dimension("customers"), "customer_id", ["address", "phone_number"])
    lifetimes = in_driver(sums).join(in_driver(bought_of(baskets)), "customer_id").join(people, "customer_id")
    return months.map_batches(finished_customers, batch_format="pyarrow", fn_args=[lifetimes, order.as_of])


def bought_of(baskets: Dataset) -> Dataset:
    """Sum up purchases per customer, by day first: a distinct count beside other aggregates would run in Python."""
    purchases = (
        baskets.filter(expr=col("bought").is_not_null())
        .groupby(["customer_id", "transaction_id"])
        .aggregate(
            Sum("bought", alias_name="bought"),
            Min("first_day", alias_name="first_day"),
            Max("last_day", alias_name="last_day"),
        )
    )
    by_day = purchases.groupby(["customer_id", "first_day"]).aggregate(
        Count(alias_name="purchases"), Max("bought", alias_name="largest"), Max("last_day", alias_name="last_day")
    )
    return by_day.groupby("customer_id").aggregate(
        Sum("purchases", alias_name="purchases"),
        Max("largest", alias_name="largest"),
        Min("first_day", alias_name="first_day"),
        Max("last_day", alias_name="last_day"),
        Count(alias_name="days"),
    )


def finished_customers(months: pa.Table, lifetimes: pa.Table, as_of: date) -> pa.Table:
    rows = months.join(lifetimes, "customer_id")
    value, purchases = rows["value_cents"], rows["purchases"]
    idle = pc.days_between(rows["last_day"], pa.scalar(as_of))
    inactive = pc.coalesce(pc.greater(idle, INACTIVE_AFTER_DAYS), True)
    loyal = pc.greater_equal(purchases, LOYAL_PURCHASES)
    high = pc.greater_equal(value, pc.multiply(purchases, HIGH_VALUE * 100))
    segments = ("Loyal Customer", "High-Value Customer", "At-Risk Customer", "Occasional Customer")
    between = pc.multiply(pc.days_between(rows["first_day"], rows["last_day"]), 100)
    columns = {
        "customer_id": rows["customer_id"],
        "full_name": pc.coalesce(rows["full_name"], "UNKNOWN"),
        "address": rows["address"],
        "phone_number": rows["phone_number"],
        "sales_date_month": month_name(rows["month"]),
        "total_sales": money(rows["cents"]),
        "customer_lifetime_value": money(value),
        "first_purchase_month": month_name(month_of(rows["first_day"])),
        "last_purchase_month": month_name(month_of(rows["last_day"])),
        "purchase_frequency": pc.coalesce(purchases, 0),
        "monetary_value": money(half_up(value, purchases)),
        "avg_monthly_spending": money(half_up(value, rows["months"])),
        "max_single_transaction": money(rows["largest"]),
        "avg_time_between_purchases": rate(half_up(between, pc.subtract(rows["days"], 1))),
        "inactive_status": inactive,
        "customer_segment": pc.case_when(pc.make_struct(loyal, high, inactive), *segments),
    }
    return pa.table(columns)


def sales_team_mart(baskets: Dataset, order: Order) -> Dataset:
    sold = baskets.groupby(["store_id", "sales_person_id", "month", "transaction_id"]).aggregate(
        Sum("cents", alias_name="cents"), Sum("bought", alias_name="bought")
    )
    months = sold.groupby(["store_id", "sales_person_id", "month"]).aggregate(
        Sum("cents", alias_name="cents"),
        Count("bought", ignore_nulls=True, alias_name="purchases"),
        Max("bought", alias_name="largest"),
    )
    people = people_of(order.dimension("sales_team"), "id", [])
    ranked = pa.Table.from_pandas(ranked_months(in_driver(months)), preserve_index=False)
    return ray.data.from_arrow(finished_sales_team(ranked.join(people, "sales_person_id", "id")))


def ranked_months(months: pa.Table) -> pd.DataFrame:
    """Add the window columns in pandas: there are few rows per store, person and month. Int64 keeps nulls exact."""
    rows = months.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    rows = rows.sort_values(["store_id", "sales_person_id", "month"], ignore_index=True)
    person, store = rows.groupby(["store_id", "sales_person_id"]), rows.groupby(["store_id", "month"])["cents"]
    last = person["month"].shift()
    follows = (last == rows["month"] - 1).fillna(value=False)
    year = rows["month"] // 12
    all_stores = rows.groupby("sales_person_id").agg(
        all_cents=("cents", "sum"),
        all_months=("month", "nunique"),
        first_month=("month", "min"),
        last_month=("month", "max"),
    )
    return rows.assign(
        place=store.rank("dense", ascending=False).astype("Int64"),
        store_cents=store.transform("sum"),
        year_cents=rows.groupby(["store_id", "sales_person_id", year])["cents"].cumsum(),
        before=person["cents"].shift().where(follows, 0).where(last.notna()),
    ).merge(all_stores, on="sales_person_id")


def finished_sales_team(rows: pa.Table) -> pa.Table:
    cents, before, largest = rows["cents"], rows["before"], rows["largest"]
    gain = pc.subtract(cents, before)
    leads = pc.and_(pc.equal(rows["place"], 1), pc.greater(cents, 0))
    columns = {
        "store_id": rows["store_id"],
        "sales_person_id": rows["sales_person_id"],
        "full_name": pc.coalesce(rows["full_name"], "UNKNOWN"),
        "sales_month": month_name(rows["month"]),
        "total_sales": money(cents),
        "avg_sales_per_month": money(half_up(rows["all_cents"], rows["all_months"])),
        "top_performance_rank": rows["place"],
        "incentive": money(pc.if_else(leads, half_up(pc.multiply(cents, INCENTIVE_PERCENT), pa.scalar(100)), 0)),
        "month_over_month_variance": money(gain),
        "sales_growth_rate": rate(half_up(pc.multiply(gain, 10_000), before)),
        "year_to_date_sales": money(rows["year_cents"]),
        "first_sale_month": month_name(rows["first_month"]),
        "last_sale_month": month_name(rows["last_month"]),
        "total_transactions": rows["purchases"],
        "avg_transaction_value": money(half_up(cents, rows["purchases"])),
        "max_single_transaction": money(largest),
        "sales_contribution_percentage": rate(half_up(pc.multiply(cents, 10_000), rows["store_cents"])),
    }
    return pa.table(columns)


def half_up(cents: pa.ChunkedArray, by: pa.ChunkedArray | pa.Scalar) -> pa.ChunkedArray:
    """Divide integers and round once, ties away from zero; null unless the divisor is positive."""
    by = pc.if_else(pc.greater(by, 0), by, None)
    rounded = pc.divide(pc.add(pc.multiply(pc.abs(cents), 2), by), pc.multiply(by, 2))
    return pc.if_else(pc.less(cents, 0), pc.negate(rounded), rounded)


def money(cents: pa.ChunkedArray, digits: int = 18) -> pa.ChunkedArray:
    return pc.multiply(cents.cast(pa.decimal128(19, 0)), Decimal("0.01")).cast(pa.decimal128(digits, 2))


def rate(hundredths: pa.ChunkedArray) -> pa.ChunkedArray:
    return money(hundredths, 14)


def month_of(day: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return months as consecutive numbers, so that the previous month is one less."""
    return pc.add(pc.multiply(pc.year(day), 12), pc.subtract(pc.month(day), 1))


def month_name(month: pa.ChunkedArray) -> pa.ChunkedArray:
    year = pc.divide(month, 12)
    numbers = (year, 4), (pc.add(pc.subtract(month, pc.multiply(year, 12)), 1), 2)
    return pc.binary_join_element_wise(*(pc.utf8_lpad(n.cast(pa.string()), width, "0") for n, width in numbers), "-")


if __name__ == "__main__":
    main(job, ready)
