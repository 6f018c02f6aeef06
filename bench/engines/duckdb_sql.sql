-- Both marts from CSV drops, exact. {lines}, {quarantine}, {customers}, {sales_team} are folders to write to.

CREATE MACRO div_half_up(a, b) AS
    sign(a::HUGEINT) * ((2 * abs(a::HUGEINT) + b::HUGEINT) // (2 * b::HUGEINT));
CREATE MACRO money(cents) AS (cents::HUGEINT::DECIMAL(18,0) * 0.01::DECIMAL(3,2))::DECIMAL(18,2);
CREATE MACRO rate(hundredths) AS (hundredths::HUGEINT::DECIMAL(14,0) * 0.01::DECIMAL(3,2))::DECIMAL(14,2);
CREATE MACRO month_name(day) AS strftime(day, '%Y-%m');

CREATE TEMP TABLE judged AS
WITH raw AS (
    FROM read_csv(getvariable('sales'), all_varchar = true, header = true, delim = ',', quote = '"', escape = '"',
                  filename = 'drop_name')
), typed AS (
    SELECT
        drop_name, transaction_id, product_name, payment_mode,
        TRY_CAST(line_no AS BIGINT)             AS line_no,
        TRY_CAST(customer_id AS BIGINT)         AS customer_id,
        TRY_CAST(store_id AS BIGINT)            AS store_id,
        TRY_CAST(sales_person_id AS BIGINT)     AS sales_person_id,
        TRY_CAST(sales_date AS DATE)            AS sales_date,
        TRY_CAST(price AS DECIMAL(18,4))        AS price,
        TRY_CAST(quantity AS BIGINT)            AS quantity,
        TRY_CAST(total_cost AS DECIMAL(18,4))   AS total_cost,
        concat_ws(',', transaction_id, line_no, customer_id, store_id, product_name, sales_date, sales_person_id,
                  price, quantity, total_cost, payment_mode) AS row_text
    FROM raw
), ruled AS (
    SELECT *, CASE
        WHEN customer_id IS NULL OR customer_id < 1                         THEN 'customer_id'
        WHEN store_id IS NULL OR store_id < 1                               THEN 'store_id'
        WHEN sales_person_id IS NULL OR sales_person_id < 1                 THEN 'sales_person_id'
        WHEN product_name IS NULL OR trim(product_name) = ''                THEN 'product_name'
        WHEN sales_date IS NULL OR sales_date < DATE '2000-01-01'           THEN 'sales_date'
        WHEN price IS NULL OR price < 0 OR price <> round(price, 2)         THEN 'price'
        WHEN quantity IS NULL OR quantity = 0                               THEN 'quantity'
        WHEN total_cost IS NULL OR total_cost <> price * quantity           THEN 'total_cost'
    END AS broken
    FROM typed
)
SELECT
    drop_name, transaction_id, line_no, customer_id, store_id, product_name, sales_date, sales_person_id,
    CASE WHEN broken IS NULL THEN price::DECIMAL(18,2) END AS price,
    quantity,
    CASE WHEN broken IS NULL THEN total_cost::DECIMAL(18,2) END AS total_cost,
    payment_mode, broken,
    CASE WHEN broken IS NOT NULL THEN row_text END AS row_text
FROM ruled;

COPY (SELECT drop_name, row_text, broken FROM judged WHERE broken IS NOT NULL)
    TO '{quarantine}/part.parquet' (FORMAT parquet, COMPRESSION zstd);
COPY (SELECT * EXCLUDE (broken, row_text) FROM judged WHERE broken IS NULL)
    TO '{lines}/part.parquet' (FORMAT parquet, COMPRESSION zstd);

-- A line is (transaction_id, line_no); the one that was delivered last counts. Most are there once.
CREATE TEMP TABLE superseded AS
WITH twice AS (
    SELECT transaction_id, line_no FROM judged WHERE broken IS NULL GROUP BY ALL HAVING count(*) > 1
)
SELECT rowid AS line FROM judged JOIN twice USING (transaction_id, line_no) WHERE broken IS NULL
QUALIFY row_number() OVER (PARTITION BY transaction_id, line_no ORDER BY drop_name DESC, judged.rowid) > 1;

CREATE TEMP TABLE baskets AS
SELECT
    customer_id, transaction_id, store_id, sales_person_id, date_trunc('month', sales_date)::DATE AS month,
    sum((total_cost * 100)::BIGINT)                             AS cents,
    sum((total_cost * 100)::BIGINT) FILTER (quantity > 0)       AS bought,
    min(sales_date) FILTER (quantity > 0)                       AS first_day,
    max(sales_date) FILTER (quantity > 0)                       AS last_day
FROM judged ANTI JOIN superseded ON judged.rowid = superseded.line
WHERE broken IS NULL AND sales_date <= getvariable('as_of')::DATE
GROUP BY ALL;
DROP TABLE judged;

CREATE TEMP TABLE purchases AS
SELECT customer_id, transaction_id, sum(bought) AS bought, min(first_day) AS first_day, max(last_day) AS last_day
FROM baskets WHERE bought IS NOT NULL GROUP BY ALL;

CREATE TEMP TABLE lifetimes AS
WITH sums AS (
    SELECT customer_id, sum(cents) AS value_cents, count(DISTINCT month) AS months FROM baskets GROUP BY customer_id
), bought AS (
    SELECT customer_id, count(*) AS purchases, max(bought) AS largest, min(first_day) AS first_day,
           max(last_day) AS last_day, count(DISTINCT first_day) AS days
    FROM purchases GROUP BY customer_id
), joined AS (
    SELECT *, coalesce(getvariable('as_of')::DATE - last_day > 180, true) AS inactive
    FROM sums LEFT JOIN bought USING (customer_id)
)
SELECT * REPLACE (coalesce(purchases, 0) AS purchases), CASE
    WHEN purchases >= 10 THEN 'Loyal Customer'
    WHEN value_cents >= 5000000 * purchases THEN 'High-Value Customer'
    WHEN inactive THEN 'At-Risk Customer'
    ELSE 'Occasional Customer' END AS segment
FROM joined;

COPY (
    WITH months AS (
        SELECT customer_id, month, sum(cents) AS cents FROM baskets GROUP BY ALL
    ), people AS (
        SELECT customer_id::BIGINT AS customer_id, first_name || ' ' || last_name AS full_name, address, phone_number
        FROM read_csv(getvariable('customers'), all_varchar = true, header = true)
    )
    SELECT
        customer_id,
        coalesce(full_name, 'UNKNOWN')                                              AS full_name,
        address,
        phone_number,
        month_name(month)                                                           AS sales_date_month,
        money(cents)                                                                AS total_sales,
        money(value_cents)                                                          AS customer_lifetime_value,
        month_name(first_day)                                                       AS first_purchase_month,
        month_name(last_day)                                                        AS last_purchase_month,
        purchases                                                                   AS purchase_frequency,
        CASE WHEN purchases > 0 THEN money(div_half_up(value_cents, purchases)) END AS monetary_value,
        money(div_half_up(value_cents, months))                                     AS avg_monthly_spending,
        money(largest)                                                              AS max_single_transaction,
        CASE WHEN days > 1 THEN rate(div_half_up((last_day - first_day) * 100, days - 1)) END
                                                                                    AS avg_time_between_purchases,
        inactive                                                                    AS inactive_status,
        segment                                                                     AS customer_segment
    FROM months JOIN lifetimes USING (customer_id) LEFT JOIN people USING (customer_id)
) TO '{customers}/part.parquet' (FORMAT parquet, COMPRESSION zstd);

COPY (
    WITH months AS (
        SELECT store_id, sales_person_id, month, sum(cents) AS cents, count(bought) AS purchases, max(bought) AS largest
        FROM (SELECT store_id, sales_person_id, month, transaction_id, sum(cents) AS cents, sum(bought) AS bought
              FROM baskets GROUP BY ALL)
        GROUP BY ALL
    ), people AS (
        SELECT sales_person_id, sum(cents) AS all_cents, count(DISTINCT month) AS all_months,
               min(month) AS first_month, max(month) AS last_month
        FROM months GROUP BY sales_person_id
    ), names AS (
        SELECT id::BIGINT AS id, first_name || ' ' || last_name AS full_name
        FROM read_csv(getvariable('sales_team'), all_varchar = true, header = true)
    ), ranked AS (
        SELECT *,
            dense_rank() OVER (PARTITION BY store_id, month ORDER BY cents DESC)        AS place,
            sum(cents) OVER (PARTITION BY store_id, month)                              AS store_cents,
            sum(cents) OVER (PARTITION BY store_id, sales_person_id, year(month) ORDER BY month) AS year_cents,
            CASE WHEN lag(month) OVER person = month - INTERVAL 1 MONTH THEN lag(cents) OVER person
                 WHEN lag(month) OVER person IS NOT NULL THEN 0 END                     AS before
        FROM months WINDOW person AS (PARTITION BY store_id, sales_person_id ORDER BY month)
    )
    SELECT
        store_id,
        sales_person_id,
        coalesce(full_name, 'UNKNOWN')                                                  AS full_name,
        month_name(month)                                                               AS sales_month,
        money(cents)                                                                    AS total_sales,
        money(div_half_up(all_cents, all_months))                                       AS avg_sales_per_month,
        place                                                                           AS top_performance_rank,
        CASE WHEN place = 1 AND cents > 0 THEN money(div_half_up(cents, 100)) ELSE 0::DECIMAL(18,2) END AS incentive,
        money(cents - before)                                                           AS month_over_month_variance,
        CASE WHEN before > 0 THEN rate(div_half_up((cents - before) * 10000, before)) END AS sales_growth_rate,
        money(year_cents)                                                               AS year_to_date_sales,
        month_name(first_month)                                                         AS first_sale_month,
        month_name(last_month)                                                          AS last_sale_month,
        purchases                                                                       AS total_transactions,
        CASE WHEN purchases > 0 THEN money(div_half_up(cents, purchases)) END           AS avg_transaction_value,
        money(largest)                                                                  AS max_single_transaction,
        CASE WHEN store_cents > 0 THEN rate(div_half_up(cents * 10000, store_cents)) END AS sales_contribution_percentage
    FROM ranked JOIN people USING (sales_person_id) LEFT JOIN names ON names.id = sales_person_id
) TO '{sales_team}/part.parquet' (FORMAT parquet, COMPRESSION zstd);
