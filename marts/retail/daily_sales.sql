-- The daily sales data mart: one row per day, store, channel and segment with any line.
--
-- In:  purchases   of analytics: transactions by day, place and channel, all months; is_first tells the row of a day where
--                  a transaction begins
--      customers   customer_id, customer_segment of the customers mart: several rows per customer, none of guests
-- Out: the last SELECT, in any order
CREATE TEMP TABLE named AS
SELECT customer_id, any_value(customer_segment) AS segment FROM customers GROUP BY customer_id;

CREATE TEMP TABLE cells AS
SELECT day, store_id, channel, segment, sum(lines) AS lines, sum(gross_cents) AS gross_cents,
       sum(return_lines) AS return_lines, sum(returned_cents) AS returned_cents, count(*) FILTER (is_first) AS purchases
FROM purchases LEFT JOIN named USING (customer_id) GROUP BY ALL;

-- Where the policy leaves the day out of a transaction's key, it may have begun on an earlier day.
INSERT INTO cells
SELECT day, store_id, channel, segment, 0, 0, 0, 0, -count(*)
FROM (
    SELECT customer_id, day, store_id, channel FROM purchases
    WHERE is_first AND in_day IS NULL AND transaction IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY customer_id, transaction, in_id, in_more ORDER BY day, first_line NULLS LAST, store_id, channel
    ) > 1
)
LEFT JOIN named USING (customer_id) GROUP BY ALL;

SELECT
    day                                                 AS sales_date,
    store_id,
    channel,
    coalesce(segment, 'Guest')                          AS customer_segment,
    sum(lines)::BIGINT                                  AS sale_lines,
    money(sum(gross_cents)::HUGEINT)                    AS gross_sales,
    sum(return_lines)::BIGINT                           AS return_lines,
    money(sum(returned_cents)::HUGEINT)                 AS returned,
    money(sum(gross_cents + returned_cents)::HUGEINT)   AS total_sales,
    sum(purchases)::BIGINT                              AS purchases
FROM cells GROUP BY ALL;
