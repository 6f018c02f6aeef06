-- Transactions of each merchant of all months. Names are those of the last version.
WITH names AS (SELECT merchant_id, merchant_name, category FROM merchants WHERE covers_to = DATE '9999-12-31'),
customers AS (
    SELECT merchant_key, count(DISTINCT customer_key) AS unique_customers FROM merchant_customers GROUP BY merchant_key
)
SELECT d.merchant_key, coalesce(any_value(merchant_name), 'UNKNOWN') AS merchant_name,
    coalesce(any_value(n.category), 'UNKNOWN') AS category, sum(transaction_count)::BIGINT AS transaction_count,
    sum(completed_count)::BIGINT AS completed_count, sum(failed_count)::BIGINT AS failed_count,
    sum(total_amount)::DECIMAL(18,2) AS total_amount,
    CASE WHEN sum(completed_count) > 0
        THEN money(div_half_up(sum(total_amount) * 100, sum(completed_count))) END AS avg_transaction,
    coalesce(any_value(c.unique_customers), 0) AS unique_customers, sum(revenue)::DECIMAL(18,2) AS revenue,
    sum(high_risk_count)::BIGINT AS high_risk_count,
    min(transaction_date) FILTER (completed_count > 0) AS first_date,
    max(transaction_date) FILTER (completed_count > 0) AS last_date
FROM merchant_daily_summary d
LEFT JOIN names n ON n.merchant_id = d.merchant_key
LEFT JOIN customers c ON c.merchant_key = d.merchant_key
GROUP BY d.merchant_key;
