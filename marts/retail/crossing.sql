-- Purchases that go beyond a month, where the policy leaves the day out of a transaction's key: each counts once for its
-- customer, in the month of its first line, with its whole total.
--
-- In:  sales      lines that count of transactions that are in several months, up to as_of
-- Out: the last SELECT: month, and bought_cents of a transaction in it, NULL where it is counted in another

WITH bought AS (
    SELECT customer_id, transaction_id, id_key, day_key, more_key, strftime(sales_date, '%Y-%m') AS month, total_cents
    FROM sales WHERE quantity_ten_thousandths > 0
),
months AS (
    SELECT customer_id, transaction_id, id_key, day_key, more_key, month, sum(total_cents) AS total_cents
    FROM bought GROUP BY ALL
),
whole AS (
    SELECT *, sum(total_cents) OVER basket AS whole_cents, min(month) OVER basket AS first_month,
           count(*) OVER basket AS months
    FROM months
    WINDOW basket AS (PARTITION BY customer_id, transaction_id, id_key, day_key, more_key)
)
SELECT customer_id, transaction_id, id_key, day_key, more_key, month,
       CASE WHEN month = first_month THEN whole_cents END::BIGINT AS bought_cents
FROM whole WHERE months > 1
ORDER BY ALL;
