-- The sales months data mart: who bought in a month, by segment.
--
-- In:  customer_months  purchases of each customer and month, guests are one customer
--      customers        some columns of the customers mart: several rows per customer, none of guests
-- Out: the last SELECT, in any order
WITH known AS (
    SELECT customer_id, any_value(customer_segment) AS segment, any_value(inactive_status) AS inactive,
           any_value(first_purchase_month) AS first_month
    FROM customers GROUP BY customer_id
)
SELECT
    month_name(month)                                                               AS sales_month,
    coalesce(segment, 'Guest')                                                      AS customer_segment,
    coalesce(inactive, false)                                                       AS inactive_status,
    count(*) FILTER (first_bought IS NOT NULL AND segment IS NOT NULL)              AS customers,
    count(*) FILTER (first_bought IS NOT NULL AND first_month = month_name(month))  AS new_customers,
    money(sum(total_cents)::HUGEINT)                                                AS total_sales
FROM customer_months LEFT JOIN known USING (customer_id)
GROUP BY ALL;
