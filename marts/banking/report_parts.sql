-- Transactions of one month by channel, of some customers.
SELECT channel_key, count(*) AS transactions, count(*) FILTER (status = 'COMPLETED') AS completed,
    count(*) FILTER (status = 'FAILED') AS failed, coalesce(sum(amount) FILTER (status = 'COMPLETED'), 0) AS volume,
    coalesce(sum(processing_ms), 0)::BIGINT AS processing_ms, count(processing_ms) AS processing_count,
    count(*) FILTER (is_high_risk) AS high_risk,
    coalesce(sum(amount) FILTER (is_high_risk AND status = 'COMPLETED'), 0) AS high_risk_amount,
    coalesce(sum(amount) FILTER (is_fraudulent AND signed_amount < 0), 0) AS fraud_losses, sum(revenue) AS revenue
FROM fact_transactions GROUP BY channel_key ORDER BY channel_key;
