"""Spark on one machine: Spark SQL with exact money in integer cents, as its users would tune it for a few cores.

Lines are read back from Parquet with only the columns that the marts need, and shuffled by basket once: everything per
line or per basket is then grouped without another shuffle. Baskets are cached for both marts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql.functions import col, concat_ws, expr, input_file_name, lit, row_number, trunc, when

from bench.engines.contract import HIGH_VALUE, INACTIVE_AFTER_DAYS, INCENTIVE_PERCENT, LOYAL_PURCHASES, Order, main

PARTITIONS_PER_CORE = 4
MEMORY = "8g"

SALES = (
    "transaction_id line_no customer_id store_id product_name sales_date sales_person_id price quantity total_cost "
    "payment_mode"
).split()
CUSTOMERS = "customer_id first_name last_name address pincode phone_number customer_joining_date".split()
SALES_TEAM = "id first_name last_name manager_id is_manager address pincode joining_date".split()


def half_up(cents: str, by: str) -> str:
    """Divide integers and round once, ties away from zero. Not by ``sign``, which would return a float."""
    return f"(CASE WHEN {cents} < 0 THEN -1 ELSE 1 END * ((2 * abs({cents}) + {by}) DIV (2 * {by})))"


def money(cents: str) -> str:
    return f"CAST({cents} * 0.01BD AS DECIMAL(18,2))"


def rate(hundredths: str) -> str:
    return f"CAST({hundredths} * 0.01BD AS DECIMAL(14,2))"


def month(day: str) -> str:
    return f"date_format({day}, 'yyyy-MM')"


TYPES = {
    "line_no": "BIGINT",
    "customer_id": "BIGINT",
    "store_id": "BIGINT",
    "sales_person_id": "BIGINT",
    "sales_date": "DATE",
    "price": "DECIMAL(18,4)",
    "quantity": "BIGINT",
    "total_cost": "DECIMAL(18,4)",
}
BROKEN = """CASE
    WHEN customer_id IS NULL OR customer_id < 1                         THEN 'customer_id'
    WHEN store_id IS NULL OR store_id < 1                               THEN 'store_id'
    WHEN sales_person_id IS NULL OR sales_person_id < 1                 THEN 'sales_person_id'
    WHEN product_name IS NULL OR trim(product_name) = ''                THEN 'product_name'
    WHEN sales_date IS NULL OR sales_date < DATE '2000-01-01'           THEN 'sales_date'
    WHEN price IS NULL OR price < 0 OR price <> round(price, 2)         THEN 'price'
    WHEN quantity IS NULL OR quantity = 0                               THEN 'quantity'
    WHEN total_cost IS NULL OR total_cost <> price * quantity           THEN 'total_cost'
END"""
JUDGED = (
    "drop_name transaction_id line_no customer_id store_id product_name sales_date sales_person_id price_cents "
    "quantity total_cents payment_mode broken row_text"
).split()

CUSTOMERS_MART = f"""
WITH months AS (
    SELECT customer_id, month, sum(cents) AS cents FROM baskets GROUP BY ALL
), sums AS (
    SELECT customer_id, sum(cents) AS value_cents, count(*) AS months FROM months GROUP BY ALL
), purchases AS (
    SELECT customer_id, transaction_id, sum(bought) AS bought, min(first_day) AS first_day, max(last_day) AS last_day
    FROM baskets WHERE bought IS NOT NULL GROUP BY ALL
), bought AS (
    SELECT customer_id, count(*) AS purchases, max(bought) AS largest, min(first_day) AS first_day,
           max(last_day) AS last_day, count(DISTINCT first_day) AS days
    FROM purchases GROUP BY customer_id
), lifetimes AS (
    SELECT * EXCEPT (purchases), coalesce(purchases, 0) AS purchases,
           coalesce(datediff(:as_of, last_day) > {INACTIVE_AFTER_DAYS}, true) AS inactive
    FROM sums LEFT JOIN bought USING (customer_id)
), people AS (
    SELECT CAST(customer_id AS BIGINT) AS customer_id, first_name || ' ' || last_name AS full_name, address,
           phone_number
    FROM customers
)
SELECT
    customer_id,
    coalesce(full_name, 'UNKNOWN')                                                  AS full_name,
    address,
    phone_number,
    {month("month")}                                                                AS sales_date_month,
    {money("cents")}                                                                AS total_sales,
    {money("value_cents")}                                                          AS customer_lifetime_value,
    {month("first_day")}                                                            AS first_purchase_month,
    {month("last_day")}                                                             AS last_purchase_month,
    purchases                                                                       AS purchase_frequency,
    CASE WHEN purchases > 0 THEN {money(half_up("value_cents", "purchases"))} END   AS monetary_value,
    {money(half_up("value_cents", "months"))}                                       AS avg_monthly_spending,
    {money("largest")}                                                              AS max_single_transaction,
    CASE WHEN days > 1 THEN {rate(half_up("(datediff(last_day, first_day) * 100L)", "(days - 1)"))} END
                                                                                    AS avg_time_between_purchases,
    inactive                                                                        AS inactive_status,
    CASE
        WHEN purchases >= {LOYAL_PURCHASES} THEN 'Loyal Customer'
        WHEN purchases > 0 AND value_cents >= {HIGH_VALUE * 100} * purchases THEN 'High-Value Customer'
        WHEN inactive THEN 'At-Risk Customer'
        ELSE 'Occasional Customer'
    END                                                                             AS customer_segment
FROM months JOIN lifetimes USING (customer_id) LEFT JOIN people USING (customer_id)
"""

SALES_TEAM_MART = f"""
WITH sold AS (
    SELECT store_id, sales_person_id, month, transaction_id, sum(cents) AS cents, sum(bought) AS bought
    FROM baskets GROUP BY ALL
), months AS (
    SELECT store_id, sales_person_id, month, sum(cents) AS cents, count(bought) AS purchases, max(bought) AS largest
    FROM sold GROUP BY ALL
), people AS (
    SELECT sales_person_id, sum(cents) AS all_cents, count(DISTINCT month) AS all_months,
           min(month) AS first_month, max(month) AS last_month
    FROM months GROUP BY sales_person_id
), names AS (
    SELECT CAST(id AS BIGINT) AS sales_person_id, first_name || ' ' || last_name AS full_name FROM sales_team
), ranked AS (
    SELECT *,
        dense_rank() OVER (PARTITION BY store_id, month ORDER BY cents DESC)        AS place,
        sum(cents) OVER (PARTITION BY store_id, month)                              AS store_cents,
        sum(cents) OVER (PARTITION BY store_id, sales_person_id, year(month) ORDER BY month) AS year_cents,
        CASE WHEN lag(month) OVER person = add_months(month, -1) THEN lag(cents) OVER person
             WHEN lag(month) OVER person IS NOT NULL THEN 0 END                     AS before
    FROM months WINDOW person AS (PARTITION BY store_id, sales_person_id ORDER BY month)
)
SELECT
    store_id,
    sales_person_id,
    coalesce(full_name, 'UNKNOWN')                                                  AS full_name,
    {month("month")}                                                                AS sales_month,
    {money("cents")}                                                                AS total_sales,
    {money(half_up("all_cents", "all_months"))}                                     AS avg_sales_per_month,
    CAST(place AS BIGINT)                                                           AS top_performance_rank,
    CASE WHEN place = 1 AND cents > 0 THEN {money(half_up(f"(cents * {INCENTIVE_PERCENT})", "100"))} ELSE 0.00BD END
                                                                                    AS incentive,
    {money("(cents - before)")}                                                     AS month_over_month_variance,
    CASE WHEN before > 0 THEN {rate(half_up("((cents - before) * 10000)", "before"))} END
                                                                                    AS sales_growth_rate,
    {money("year_cents")}                                                           AS year_to_date_sales,
    {month("first_month")}                                                          AS first_sale_month,
    {month("last_month")}                                                           AS last_sale_month,
    purchases                                                                       AS total_transactions,
    CASE WHEN purchases > 0 THEN {money(half_up("cents", "purchases"))} END         AS avg_transaction_value,
    {money("largest")}                                                              AS max_single_transaction,
    CASE WHEN store_cents > 0 THEN {rate(half_up("(cents * 10000)", "store_cents"))} END
                                                                                    AS sales_contribution_percentage
FROM ranked JOIN people USING (sales_person_id) LEFT JOIN names USING (sales_person_id)
"""


@contextmanager
def ready(order: Order) -> Iterator[SparkSession]:
    scratch = order.folder("scratch")
    settings = {
        "spark.driver.memory": MEMORY,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={scratch}",
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(PARTITIONS_PER_CORE * order.cores),
    }
    session = SparkSession.builder.master(f"local[{order.cores}]").config(map=settings).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


def job(order: Order, session: SparkSession) -> None:
    write_lines(order, session)
    lines = session.read.parquet(str(order.out / "lines"))
    baskets_of(delivered_last(lines), order).cache().createOrReplaceTempView("baskets")
    for kind, names in (("customers", CUSTOMERS), ("sales_team", SALES_TEAM)):
        read_csv(session, order.dimension(kind), names).createOrReplaceTempView(kind)
    write(session.sql(CUSTOMERS_MART, {"as_of": order.as_of}), order, "customers")
    write(session.sql(SALES_TEAM_MART), order, "sales_team")


def write_lines(order: Order, session: SparkSession) -> None:
    """Write clean lines and quarantine. Parsing twice was measured to cost slightly less than caching all columns."""
    judged = judge(read_csv(session, order.drops / "sales", SALES))
    write(judged.where("broken IS NULL").drop("broken", "row_text"), order, "lines")
    write(judged.where("broken IS NOT NULL").select("drop_name", "row_text", "broken"), order, "quarantine")


def judge(raw: DataFrame) -> DataFrame:
    """Type the values of all rows, and name the first rule that each row breaks."""
    typed = raw.withColumns(
        {"drop_name": input_file_name(), "row_text": concat_ws(",", *SALES)}
        | {name: col(name).try_cast(type_) for name, type_ in TYPES.items()}
    )
    holds = col("broken").isNull()
    return (
        typed.withColumn("broken", expr(BROKEN))
        .withColumns(
            {f"{name}_cents": when(holds, (col(name) * 100).cast("bigint")) for name in ("price", "total_cost")}
        )
        .withColumn("row_text", when(~holds, col("row_text")))
        .withColumnRenamed("total_cost_cents", "total_cents")
        .select(JUDGED)
    )


def delivered_last(lines: DataFrame) -> DataFrame:
    """Return each line once, in its latest delivery; lines without a key are all different.

    One shuffle by basket serves both the window and the sums per basket that follow.
    """
    keys = ["transaction_id", "line_no"]
    place = row_number().over(Window.partitionBy(keys).orderBy(col("drop_name").desc()))
    placed = lines.repartition("transaction_id").withColumn("place", place)
    return placed.where("place = 1 OR transaction_id IS NULL OR line_no IS NULL")


def baskets_of(lines: DataFrame, order: Order) -> DataFrame:
    """Sum up lines per basket; one that spans customers, stores, persons or months is split."""
    purchased = "FILTER (WHERE quantity > 0)"
    return (
        lines.where(col("sales_date") <= lit(order.as_of))
        .withColumn("month", trunc("sales_date", "MM"))
        .groupBy("customer_id", "transaction_id", "store_id", "sales_person_id", "month")
        .agg(
            expr("sum(total_cents) AS cents"),
            expr(f"sum(total_cents) {purchased} AS bought"),
            expr(f"min(sales_date) {purchased} AS first_day"),
            expr(f"max(sales_date) {purchased} AS last_day"),
        )
    )


def read_csv(session: SparkSession, path: Path, names: list[str]) -> DataFrame:
    """Read a drop, or a folder of drops, as text."""
    schema = ", ".join(f"{name} STRING" for name in names)
    options = {"header": True, "escape": '"', "pathGlobFilter": "*.csv", "recursiveFileLookup": True}
    return session.read.schema(schema).options(**options).csv(str(path))


def write(frame: DataFrame, order: Order, name: str) -> None:
    frame.write.mode("overwrite").parquet(str(order.out / name))


if __name__ == "__main__":
    main(job, ready)
