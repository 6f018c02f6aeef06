-- Purchases of one month by customer.
--
-- In:  baskets    of baskets.sql
--      sales_crossing  of crossing.sql: purchases that are counted otherwise, since they go beyond the month
-- Out: the last SELECT, in the order of its key

WITH purchases AS (
    SELECT baskets.customer_id, baskets.transaction_id, baskets.id_key, baskets.day_key, baskets.more_key, alone,
           sum(lines) AS lines, sum(total_cents) AS total_cents,
           CASE WHEN any_value(crossing.month) IS NULL THEN sum(baskets.bought_cents)
                ELSE any_value(crossing.bought_cents) END AS bought_cents, min(first_bought) AS first_bought, max(last_bought) AS last_bought,
           bit_or(bought_days) AS bought_days
    FROM baskets LEFT JOIN sales_crossing AS crossing ON crossing.customer_id = baskets.customer_id
        AND crossing.transaction_id = baskets.transaction_id
        AND crossing.id_key IS NOT DISTINCT FROM baskets.id_key
        AND crossing.more_key IS NOT DISTINCT FROM baskets.more_key
    GROUP BY ALL
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
