-- Transactions of one month by what distinguishes them.
SELECT breakdown, label, sum(transaction_count)::BIGINT AS transaction_count,
    sum(completed_count)::BIGINT AS completed_count, sum(volume)::DECIMAL(18,2) AS volume,
    CASE WHEN sum(completed_count) > 0 THEN money(div_half_up(sum(volume) * 100, sum(completed_count))) END AS avg_amount
FROM pattern_parts GROUP BY breakdown, label ORDER BY breakdown, label;
