-- The customers data mart: one row per customer and month with any line.
--
-- In:  customer_months  month (first day), customer_id, lines, total_cents, purchases, largest_cents, first_bought,
--                       last_bought (dates), bought_days (how many): all months of the customers of one key range,
--                       ordered by customer and month
--      customers        the dimension
--      segments         place, name, min_purchase_frequency, min_monetary_value_cents, inactive: the policy's rules
--      as_of, inactive_after_days (variables)
-- Out: the last SELECT, in any order

CREATE TEMP TABLE lifetimes AS
WITH sums AS (
    SELECT
        customer_id,
        sum(total_cents)::HUGEINT                   AS value_cents,
        count(*)                                    AS months,
        sum(purchases)::BIGINT                      AS purchases,
        max(largest_cents)                          AS largest_cents,
        min(first_bought)                           AS first_bought,
        max(last_bought)                            AS last_bought,
        sum(bought_days)::BIGINT         AS bought_days
    FROM customer_months GROUP BY customer_id
)
SELECT *, coalesce(getvariable('as_of') - last_bought > getvariable('inactive_after_days'), true) AS inactive FROM sums;

CREATE TEMP TABLE segmented AS
SELECT customer_id, arg_min(segments.name, segments.place) AS segment
FROM lifetimes JOIN segments ON
        (min_purchase_frequency IS NULL OR purchases >= min_purchase_frequency)
    AND (min_monetary_value_cents IS NULL OR (purchases > 0 AND value_cents >= min_monetary_value_cents::HUGEINT * purchases))
    AND (segments.inactive IS NULL OR segments.inactive = lifetimes.inactive)
GROUP BY customer_id;

-- What repeats on each of a customer's rows is calculated once.
CREATE TEMP TABLE repeated AS
SELECT
    lifetimes.customer_id,
    CASE WHEN customers.customer_id IS NULL THEN 'UNKNOWN'
         ELSE concat_ws(' ', first_name, last_name) END                         AS full_name,
    address,
    phone_number,
    money(value_cents)                                                          AS customer_lifetime_value,
    month_name(first_bought)                                                    AS first_purchase_month,
    month_name(last_bought)                                                     AS last_purchase_month,
    purchases                                                                   AS purchase_frequency,
    CASE WHEN purchases > 0 THEN money(div_half_up(value_cents, purchases)) END AS monetary_value,
    money(div_half_up(value_cents, months))                                     AS avg_monthly_spending,
    money(largest_cents)                                                        AS max_single_transaction,
    CASE WHEN bought_days > 1
         THEN rate(div_half_up((last_bought - first_bought) * 100, bought_days - 1)) END
                                                                                AS avg_time_between_purchases,
    inactive                                                                    AS inactive_status,
    segment                                                                     AS customer_segment
FROM lifetimes
JOIN segmented USING (customer_id)
LEFT JOIN customers ON customers.customer_id = lifetimes.customer_id;

CREATE TEMP TABLE month_names AS
SELECT month, month_name(month) AS sales_date_month FROM (SELECT DISTINCT month FROM customer_months);

SELECT * EXCLUDE (month, total_cents), money(total_cents) AS total_sales
FROM (SELECT customer_id, month, total_cents FROM customer_months)
JOIN month_names USING (month)
JOIN repeated USING (customer_id);
