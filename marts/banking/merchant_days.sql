-- Transactions of one month by merchant and day, of some customers.
SELECT merchant_key, transaction_date, count(*) AS transaction_count,
    count(*) FILTER (status = 'COMPLETED') AS completed_count, count(*) FILTER (status = 'FAILED') AS failed_count,
    coalesce(sum(amount) FILTER (status = 'COMPLETED'), 0) AS total_amount,
    count(DISTINCT customer_key) FILTER (status = 'COMPLETED') AS unique_customers,
    sum(revenue) AS revenue, count(*) FILTER (is_high_risk) AS high_risk_count
FROM fact_transactions WHERE merchant_key <> -2
GROUP BY merchant_key, transaction_date ORDER BY merchant_key, transaction_date;
