-- Transactions of one month by customer and day. Sums and averages are those of the done ones.
SELECT customer_key, transaction_date, count(*) AS transaction_count,
    count(*) FILTER (status = 'COMPLETED') AS completed_count, count(*) FILTER (status = 'FAILED') AS failed_count,
    coalesce(sum(amount) FILTER (status = 'COMPLETED'), 0)::DECIMAL(18,2) AS total_amount,
    coalesce(sum(-signed_amount) FILTER (signed_amount < 0), 0)::DECIMAL(18,2) AS debit_amount,
    coalesce(sum(signed_amount) FILTER (signed_amount > 0), 0)::DECIMAL(18,2) AS credit_amount,
    CASE WHEN completed_count > 0 THEN money(div_half_up(total_amount * 100, completed_count)) END AS avg_amount,
    min(amount) FILTER (status = 'COMPLETED') AS min_amount, max(amount) FILTER (status = 'COMPLETED') AS max_amount,
    count(DISTINCT merchant_key) FILTER (status = 'COMPLETED' AND merchant_key > 0) AS unique_merchants,
    sum(revenue)::DECIMAL(18,2) AS revenue, count(*) FILTER (is_high_risk) AS high_risk_count,
    count(*) FILTER (is_fraudulent) AS fraud_count
FROM fact_transactions GROUP BY customer_key, transaction_date ORDER BY customer_key, transaction_date;
