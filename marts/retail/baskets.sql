-- The baskets of one month (or of some buckets of it): one row per basket and sales person.
--
-- In:  sales      the lines that count, up to as_of; transaction_id is NULL where there is none,
--                 (customer_id, id_key, day_key, more_key, transaction_id) names a transaction
-- Out: baskets
--
-- A transaction belongs to one customer; its lines meet here because they share the month and the bucket. All guests
-- are customer 0.

-- One row per basket and sales person; bought_days has one bit per day of the month with a purchase. A line without transaction_id is a basket of its own.
CREATE TEMP TABLE baskets AS
WITH kept AS (
    SELECT
        customer_id, transaction_id, id_key, day_key, more_key, position, store_id, sales_person_id, total_cents,
        CASE WHEN quantity_ten_thousandths > 0 THEN total_cents END                             AS bought_cents,
        CASE WHEN quantity_ten_thousandths > 0 THEN sales_date END                              AS bought,
        CASE WHEN quantity_ten_thousandths > 0 THEN 1::UINTEGER << day(sales_date)::UINTEGER END AS bought_day
    FROM sales
)
SELECT
    customer_id, transaction_id, id_key, day_key, more_key, NULL::BIGINT AS alone, store_id, sales_person_id,
    count(*)            AS lines,
    sum(total_cents)    AS total_cents,
    sum(bought_cents)   AS bought_cents,
    min(bought)         AS first_bought,
    max(bought)         AS last_bought,
    bit_or(bought_day)  AS bought_days
FROM kept WHERE transaction_id IS NOT NULL GROUP BY ALL
UNION ALL
SELECT
    customer_id, NULL, NULL, NULL, NULL, position, store_id, sales_person_id, 1, total_cents, bought_cents, bought,
    bought, bought_day
FROM kept WHERE transaction_id IS NULL;
