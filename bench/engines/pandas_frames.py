"""pandas, in memory: PyArrow's reader reads every drop as text; one frame of all lines is validated and grouped.

The quarantine needs the text, and whole numbers and decimals are parsed from it without a float in between. Days and
purchases that a group may lack are NaT or nullable integers, because NaN would turn exact money into floats.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.engines.contract import HIGH_VALUE, INACTIVE_AFTER_DAYS, INCENTIVE_PERCENT, LOYAL_PURCHASES, Order, main

TEXT = pd.ArrowDtype(pa.string())
WHOLE_NUMBER = pd.ArrowDtype(pa.int64())
"""Type that text is parsed to. Calculations use pandas' Int64, which has a remainder, and wraps where Arrow raises."""
OPTIONS = {"engine": "pyarrow", "dtype": TEXT, "dtype_backend": "pyarrow", "keep_default_na": False, "na_values": [""]}
WHOLE = ("line_no", "customer_id", "store_id", "sales_person_id", "quantity")
AMOUNTS = ("price", "total_cost")
LINE = ["transaction_id", "line_no"]
PER_CENT = 100
"""Units per cent: amounts are parsed as whole numbers with four digits after the point."""


@contextmanager
def ready(order: Order) -> Iterator[None]:
    pa.set_cpu_count(order.cores)
    yield


def job(order: Order, _: None) -> None:
    lines = write_lines(order)
    sold = baskets(delivered_last(lines), pd.Timestamp(order.as_of))
    del lines
    write(order, "customers", customers_mart(order, sold))
    write(order, "sales_team", sales_team_mart(order, sold))


def write(order: Order, name: str, frame: pd.DataFrame) -> None:
    frame.to_parquet(order.folder(name) / "part.parquet", compression="zstd", index=False)


# ------------------------------------------------------------------------------------------------ lines


def write_lines(order: Order) -> pd.DataFrame:
    """Read all drops, and write clean lines and quarantine. Return the clean lines."""
    texts = read_drops(sorted((order.drops / "sales").rglob("*.csv"), key=str, reverse=True))
    values = typed(texts)
    hold = rules(values)
    good = np.logical_and.reduce(list(hold.values()))
    write(order, "quarantine", quarantine(texts[~good], {name: rule[~good] for name, rule in hold.items()}))
    del texts
    lines = clean_lines(values[good])
    write(order, "lines", lines)
    return lines


def read(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a CSV file as text; only empty fields are missing values."""
    return pd.read_csv(path, usecols=columns, **OPTIONS)


def read_drops(drops: list[Path]) -> pd.DataFrame:
    """Read drops by name, descending, so that the first of equal lines is the one that counts."""
    frames = [read(drop) for drop in drops]
    texts = pd.concat(frames, ignore_index=True)
    numbers = np.repeat(np.arange(len(drops)), [len(frame) for frame in frames])
    texts["drop_name"] = pd.Categorical.from_codes(numbers, [str(drop) for drop in drops])
    return texts


def typed(texts: pd.DataFrame) -> pd.DataFrame:
    days = pd.to_datetime(texts["sales_date"], format="%Y-%m-%d", errors="coerce")
    whole = {name: whole_number(texts[name]) for name in WHOLE}
    return texts.assign(sales_date=days, **whole, **{name: amount(texts[name]) for name in AMOUNTS})


def whole_number(text: pd.Series) -> pd.Series:
    return text.where(text.str.fullmatch(r"-?\d{1,18}")).astype(WHOLE_NUMBER).astype("Int64")


def amount(text: pd.Series) -> pd.Series:
    """Parse an amount as a whole number with four digits after the point."""
    decimal = text.where(text.str.fullmatch(r"-?\d{1,14}(\.\d{0,4}0*)?")).astype(pd.ArrowDtype(pa.decimal128(18, 4)))
    return (decimal * 10_000).astype(WHOLE_NUMBER).astype("Int64")


def rules(lines: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the rules; the first broken one in this order is reported. An invalid value breaks its rule."""
    hold = {
        "customer_id": lines["customer_id"] >= 1,
        "store_id": lines["store_id"] >= 1,
        "sales_person_id": lines["sales_person_id"] >= 1,
        "product_name": lines["product_name"].str.strip(" ") != "",
        "sales_date": lines["sales_date"] >= "2000-01-01",
        "price": (lines["price"] >= 0) & (lines["price"] % PER_CENT == 0),
        "quantity": lines["quantity"] != 0,
        "total_cost": lines["total_cost"] == lines["price"] * lines["quantity"],
    }
    return {name: rule.fillna(value=False).to_numpy(bool) for name, rule in hold.items()}


def quarantine(texts: pd.DataFrame, hold: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the text of bad rows, without empty fields, and the first rule that each breaks."""
    columns = texts.drop(columns="drop_name")
    rows = [",".join(value for value in row if value is not pd.NA) for row in columns.itertuples(index=False)]
    broken = np.select([~rule for rule in hold.values()], list(hold), default="")
    return pd.DataFrame({"drop_name": texts["drop_name"].astype(str), "row_text": rows, "broken": broken})


def clean_lines(values: pd.DataFrame) -> pd.DataFrame:
    """Return clean lines with money in cents, and plain integers in columns that are never null."""
    cents = {f"{name.removesuffix('_cost')}_cents": values[name] // PER_CENT for name in AMOUNTS}
    lines = values.drop(columns=list(AMOUNTS)).assign(**cents)
    return lines.astype(dict.fromkeys(("customer_id", "store_id", "sales_person_id", "quantity", *cents), "int64"))


# ------------------------------------------------------------------------------------------------ baskets


def delivered_last(lines: pd.DataFrame) -> pd.DataFrame:
    """Keep the latest delivery of the lines with the same key; a line without a key has no duplicates.

    From here on a transaction is a number: -1 for all lines without one.
    """
    numbered = lines.drop(columns=["drop_name", "product_name", "price_cents", "payment_mode"])
    numbered["transaction_id"] = pd.factorize(lines["transaction_id"])[0]
    keyless = lines[LINE].isna().any(axis="columns").to_numpy(bool)
    return numbered[keyless | ~numbered.duplicated(LINE).to_numpy()]


def baskets(lines: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """Sum up lines by basket; a basket that has only returns has no days."""
    sold = lines[lines["sales_date"] <= as_of]
    day, cents, is_purchase = sold["sales_date"], sold["total_cents"], sold["quantity"] > 0
    purchase_day = day.where(is_purchase)
    sold = sold.assign(
        month=day.to_numpy().astype("datetime64[M]").astype("datetime64[s]"),
        bought=cents.where(is_purchase, 0),
        first_day=purchase_day,
        last_day=purchase_day,
    )
    keys = ["customer_id", "transaction_id", "store_id", "sales_person_id", "month"]
    return sold.groupby(keys, sort=False, as_index=False).agg(
        cents=("total_cents", "sum"),
        bought=("bought", "sum"),
        first_day=("first_day", "min"),
        last_day=("last_day", "max"),
    )


# ------------------------------------------------------------------------------------------------ marts


def customers_mart(order: Order, sold: pd.DataFrame) -> pd.DataFrame:
    """Join months with the lifetime columns, which are computed once per customer."""
    months = sold.groupby(["customer_id", "month"], sort=False, as_index=False)["cents"].sum()
    people = named(order.dimension("customers"), "customer_id", "address", "phone_number")
    customers = lifetimes(months, purchases(sold, pd.Timestamp(order.as_of)))
    customers = customers.merge(people, on="customer_id", how="left")
    customers["full_name"] = customers["full_name"].fillna("UNKNOWN")
    months = months.assign(sales_date_month=month_name(months["month"]), total_sales=money(months["cents"]))
    columns = """customer_id full_name address phone_number sales_date_month total_sales customer_lifetime_value
        first_purchase_month last_purchase_month purchase_frequency monetary_value avg_monthly_spending
        max_single_transaction avg_time_between_purchases inactive_status customer_segment"""
    return months.merge(customers, on="customer_id")[columns.split()]


def purchases(sold: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """Sum up purchases per customer, as nullable integers: the join adds customers that have none."""
    by_basket = sold[sold["first_day"].notna()].groupby(["customer_id", "transaction_id"], sort=False, as_index=False)
    whole = by_basket.agg(bought=("bought", "sum"), first_day=("first_day", "min"), last_day=("last_day", "max"))
    bought = whole.groupby("customer_id", sort=False, as_index=False).agg(
        purchases=("bought", "size"),
        largest=("bought", "max"),
        first_day=("first_day", "min"),
        last_day=("last_day", "max"),
        days=("first_day", "nunique"),
    )
    bought["between"] = (bought["last_day"] - bought["first_day"]).dt.days
    bought["inactive_status"] = (as_of - bought["last_day"]).dt.days > INACTIVE_AFTER_DAYS
    return bought.astype(dict.fromkeys(("purchases", "largest", "days", "between"), "Int64"))


def lifetimes(months: pd.DataFrame, bought: pd.DataFrame) -> pd.DataFrame:
    """Return one row per customer."""
    by_customer = months.groupby("customer_id", sort=False, as_index=False)
    sold = by_customer.agg(value=("cents", "sum"), months=("cents", "size"))
    joined = sold.merge(bought.astype({"inactive_status": "boolean"}), on="customer_id", how="left")
    joined["inactive_status"] = joined["inactive_status"].fillna(value=True).astype(bool)
    value, count = joined["value"].astype("Int64"), joined["purchases"]
    return pd.DataFrame(
        {
            "customer_id": joined["customer_id"],
            "customer_lifetime_value": money(value),
            "first_purchase_month": month_name(joined["first_day"]),
            "last_purchase_month": month_name(joined["last_day"]),
            "purchase_frequency": count.fillna(0),
            "monetary_value": money(half_up(value, count)),
            "avg_monthly_spending": money(half_up(value, joined["months"].astype("Int64"))),
            "max_single_transaction": money(joined["largest"]),
            "avg_time_between_purchases": money(half_up(joined["between"] * 100, joined["days"] - 1)),
            "inactive_status": joined["inactive_status"],
            "customer_segment": segment(value, count, joined["inactive_status"]),
        }
    )


def segment(value: pd.Series, count: pd.Series, inactive: pd.Series) -> np.ndarray:
    """Return the first segment whose rule holds; without a purchase, the first two never hold."""
    hold = {
        "Loyal Customer": count >= LOYAL_PURCHASES,
        "High-Value Customer": value >= HIGH_VALUE * 100 * count,
        "At-Risk Customer": inactive,
    }
    conditions = [rule.fillna(value=False).to_numpy(bool) for rule in hold.values()]
    return np.select(conditions, list(hold), default="Occasional Customer")


def sales_team_mart(order: Order, sold: pd.DataFrame) -> pd.DataFrame:
    months = person_months(sold)
    people = named(order.dimension("sales_team"), "id").rename(columns={"id": "sales_person_id"})
    joined = ranked(months).merge(careers(months), on="sales_person_id").merge(people, on="sales_person_id", how="left")
    cents, before, count = joined["cents"], joined["before"], joined["purchases"]
    leads = (joined["place"] == 1) & (cents > 0)
    hundred = pd.Series(100, index=joined.index, dtype="Int64")
    return pd.DataFrame(
        {
            "store_id": joined["store_id"],
            "sales_person_id": joined["sales_person_id"],
            "full_name": joined["full_name"].fillna("UNKNOWN"),
            "sales_month": month_name(joined["month"]),
            "total_sales": money(cents),
            "avg_sales_per_month": money(half_up(joined["all_cents"], joined["all_months"])),
            "top_performance_rank": joined["place"],
            "incentive": money(half_up(cents * INCENTIVE_PERCENT, hundred).where(leads, 0)),
            "month_over_month_variance": money(cents - before),
            "sales_growth_rate": money(half_up((cents - before) * 10_000, before)),
            "year_to_date_sales": money(joined["year_cents"]),
            "first_sale_month": month_name(joined["first_month"]),
            "last_sale_month": month_name(joined["last_month"]),
            "total_transactions": count,
            "avg_transaction_value": money(half_up(cents, count)),
            "max_single_transaction": money(joined["largest"]),
            "sales_contribution_percentage": money(half_up(cents * 10_000, joined["store_cents"])),
        }
    )


def person_months(sold: pd.DataFrame) -> pd.DataFrame:
    """Sum up the sales of each person per store and month; a transaction is a purchase if any of its lines is."""
    person = ["store_id", "sales_person_id", "month"]
    sales = sold.groupby([*person, "transaction_id"], sort=False, as_index=False).agg(
        cents=("cents", "sum"), bought=("bought", "sum"), first_day=("first_day", "min")
    )
    sales["bought"] = sales["bought"].astype("Int64").where(sales["first_day"].notna())
    months = sales.groupby(person, as_index=False).agg(
        cents=("cents", "sum"), purchases=("bought", "count"), largest=("bought", "max")
    )
    return months.astype(dict.fromkeys(("cents", "purchases", "largest"), "Int64"))


def ranked(months: pd.DataFrame) -> pd.DataFrame:
    """Add the store's figures and those of preceding months to each month of a sales person; months are sorted."""
    store = months.groupby(["store_id", "month"])["cents"]
    person = months.groupby(["store_id", "sales_person_id"])
    year = months.groupby(["store_id", "sales_person_id", months["month"].dt.year])["cents"]
    last_month, last_cents = person["month"].shift(), person["cents"].shift()
    follows = last_month + pd.DateOffset(months=1) == months["month"]
    return months.assign(
        place=store.rank("dense", ascending=False).astype("int64"),
        store_cents=store.transform("sum"),
        year_cents=year.cumsum(),
        before=last_cents.where(follows, 0).where(last_month.notna()),
    )


def careers(months: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that are equal in all stores and months of a sales person."""
    people = months.groupby("sales_person_id", as_index=False).agg(
        all_cents=("cents", "sum"),
        all_months=("month", "nunique"),
        first_month=("month", "min"),
        last_month=("month", "max"),
    )
    return people.astype({"all_months": "Int64"})


def named(drop: Path, key: str, *others: str) -> pd.DataFrame:
    """Read a dimension: its key, the full name and other columns."""
    people = read(drop, [key, "first_name", "last_name", *others])
    people[key] = people[key].astype("int64")
    people["full_name"] = people["first_name"] + " " + people["last_name"]
    return people[[key, "full_name", *others]]


# ------------------------------------------------------------------------------------------------ values


def half_up(a: pd.Series, b: pd.Series) -> pd.Series:
    """Divide whole numbers and round once, ties away from zero; missing unless the divisor is positive."""
    b = b.where(b > 0)
    size = (2 * a.abs() + b) // (2 * b)
    return size.where(a >= 0, -size)


def money(cents: pd.Series) -> pd.Series:
    """Convert whole cents to a decimal."""
    units = cents.astype(pd.ArrowDtype(pa.decimal128(19, 0))) * Decimal("0.01")
    return units.astype(pd.ArrowDtype(pa.decimal128(18, 2)))


def month_name(day: pd.Series) -> pd.Series:
    """Return the names of months; each name is formatted once."""
    codes, months = pd.factorize(day.dt.to_period("M"))
    return pd.Series(pd.Categorical.from_codes(codes, months.strftime("%Y-%m")), index=day.index)


if __name__ == "__main__":
    main(job, ready)
