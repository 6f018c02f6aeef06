-- The facts of one month (or of some buckets of it), from its clean lines.
--
-- In:  lines      one row per clean line of the live drops; delivery = place of the drop in the order of
--                 deliveries, position = place of the line in that order
--      suspects   those of them that may have been delivered twice: at least all lines of each transaction that is
--                 in several deliveries, and of each line that is twice in one
--      last_day   (variable) lines after it are left out of the facts (as_of)
-- Out: customer_facts, sales_facts, drop_facts
--
-- A transaction belongs to one customer; its lines meet here because they share the month and the bucket.

-- A transaction that is delivered again replaces the earlier one.
CREATE TEMP TABLE replaced AS
WITH redelivered AS (
    SELECT customer_id, transaction_id, max(delivery) AS last_delivery
    FROM suspects
    GROUP BY customer_id, transaction_id
    HAVING min(delivery) <> max(delivery)
)
SELECT position
FROM suspects JOIN redelivered USING (customer_id, transaction_id)
WHERE delivery < last_delivery;

-- With line_no, a line is (transaction_id, line_no); without, a line equal in every column is the same line.
CREATE TEMP TABLE repeated AS
WITH numbered AS (
    SELECT position, row_number() OVER (
        PARTITION BY delivery, customer_id, transaction_id, line_no, CASE WHEN line_no IS NULL THEN
            row(store_id, sales_person_id, sales_date, quantity, price_cents, total_cents, product_name,
                payment_mode, currency, sales_time, additional_columns) END
        ORDER BY position) AS nth
    FROM suspects
)
SELECT position FROM numbered WHERE nth > 1;

CREATE TEMP TABLE dropped AS
SELECT position FROM replaced UNION SELECT position FROM repeated;

CREATE TEMP TABLE drop_facts AS
SELECT
    delivery,
    count(*)                                                                       AS lines,
    count(d.position)                                                              AS duplicates,
    count(*) FILTER (d.position IS NULL AND sales_date <= getvariable('last_day'))               AS counted,
    coalesce(sum(total_cents) FILTER (d.position IS NULL AND sales_date <= getvariable('last_day')), 0)::DECIMAL(38,0) AS counted_cents,
    count(*) FILTER (d.position IS NULL AND transaction_id IS NULL)                AS without_transaction
FROM lines LEFT JOIN dropped d USING (position)
GROUP BY delivery
ORDER BY delivery;

-- One row per basket and sales person; bought_days has one bit per day of the month with a purchase. A line without transaction_id is a basket of its own.
CREATE TEMP TABLE baskets AS
WITH kept AS (
    SELECT
        customer_id, transaction_id, position, store_id, sales_person_id, total_cents,
        CASE WHEN quantity > 0 THEN total_cents END                                 AS bought_cents,
        CASE WHEN quantity > 0 THEN sales_date END                                  AS bought,
        CASE WHEN quantity > 0 THEN 1::UINTEGER << day(sales_date)::UINTEGER END    AS bought_day
    FROM lines ANTI JOIN dropped USING (position)
    WHERE sales_date <= getvariable('last_day')
)
SELECT
    customer_id, transaction_id, NULL::BIGINT AS alone, store_id, sales_person_id,
    count(*)            AS lines,
    sum(total_cents)    AS total_cents,
    sum(bought_cents)   AS bought_cents,
    min(bought)         AS first_bought,
    max(bought)         AS last_bought,
    bit_or(bought_day)  AS bought_days
FROM kept WHERE transaction_id IS NOT NULL GROUP BY ALL
UNION ALL
SELECT
    customer_id, NULL, position, store_id, sales_person_id, 1, total_cents, bought_cents, bought, bought, bought_day
FROM kept WHERE transaction_id IS NULL;

CREATE TEMP TABLE customer_facts AS
WITH purchases AS (
    SELECT customer_id, transaction_id, alone, sum(lines) AS lines, sum(total_cents) AS total_cents,
           sum(bought_cents) AS bought_cents, min(first_bought) AS first_bought, max(last_bought) AS last_bought,
           bit_or(bought_days) AS bought_days
    FROM baskets GROUP BY ALL
)
SELECT
    customer_id,
    sum(lines)::BIGINT              AS lines,
    sum(total_cents)::BIGINT       AS total_cents,
    count(bought_cents)             AS purchases,
    max(bought_cents)::BIGINT      AS largest_cents,
    min(first_bought)               AS first_bought,
    max(last_bought)                AS last_bought,
    coalesce(bit_count(bit_or(bought_days)), 0)::BIGINT AS bought_days
FROM purchases GROUP BY customer_id ORDER BY customer_id;

CREATE TEMP TABLE sales_facts AS
SELECT
    store_id, sales_person_id,
    sum(lines)::BIGINT              AS lines,
    sum(total_cents)::BIGINT       AS total_cents,
    count(bought_cents)             AS purchases,
    max(bought_cents)::BIGINT      AS largest_cents
FROM baskets GROUP BY store_id, sales_person_id ORDER BY store_id, sales_person_id;
