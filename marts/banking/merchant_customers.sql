-- Transactions of one month by merchant and customer.
SELECT merchant_key, customer_key, count(*) AS transaction_count,
    count(*) FILTER (status = 'COMPLETED') AS completed_count, count(*) FILTER (status = 'FAILED') AS failed_count,
    coalesce(sum(amount) FILTER (status = 'COMPLETED'), 0) AS total_amount, sum(revenue) AS revenue,
    count(*) FILTER (is_high_risk) AS high_risk_count,
    min(transaction_date) FILTER (status = 'COMPLETED') AS first_date,
    max(transaction_date) FILTER (status = 'COMPLETED') AS last_date
FROM fact_transactions WHERE merchant_key <> -2
GROUP BY merchant_key, customer_key ORDER BY merchant_key, customer_key;
