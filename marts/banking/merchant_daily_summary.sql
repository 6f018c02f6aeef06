-- Transactions of one month by merchant and day. The parts have different customers, so their numbers add up.
SELECT merchant_key, transaction_date, sum(transaction_count)::BIGINT AS transaction_count,
    sum(completed_count)::BIGINT AS completed_count, sum(failed_count)::BIGINT AS failed_count,
    sum(total_amount)::DECIMAL(18,2) AS total_amount,
    CASE WHEN sum(completed_count) > 0
        THEN money(div_half_up(sum(total_amount) * 100, sum(completed_count))) END AS avg_transaction,
    sum(unique_customers)::BIGINT AS unique_customers, sum(revenue)::DECIMAL(18,2) AS revenue,
    sum(high_risk_count)::BIGINT AS high_risk_count
FROM merchant_days GROUP BY merchant_key, transaction_date ORDER BY merchant_key, transaction_date;
