-- What a customer's transactions of one month were worth, and how many of them are high-risk.
SELECT customer_key AS customer_id, count(*) AS lines, count(*) FILTER (status = 'COMPLETED') AS completed_count,
    count(*) FILTER (status = 'FAILED') AS failed_count,
    coalesce(sum(-signed_amount) FILTER (signed_amount < 0), 0) AS spent,
    coalesce(sum(signed_amount) FILTER (signed_amount > 0), 0) AS received,
    max(amount) FILTER (status = 'COMPLETED') AS max_amount,
    min(transaction_date) FILTER (status = 'COMPLETED') AS first_date,
    max(transaction_date) FILTER (status = 'COMPLETED') AS last_date,
    sum(revenue) AS revenue, count(*) FILTER (is_high_risk) AS high_risk_count
FROM fact_transactions GROUP BY customer_key ORDER BY customer_key;
