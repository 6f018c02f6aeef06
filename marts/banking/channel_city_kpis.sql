-- Transactions of one month by day, channel, city and segment.
SELECT transaction_date, channel_key, city_key, customer_segment,
    sum(transaction_count)::BIGINT AS transaction_count, sum(completed_count)::BIGINT AS completed_count,
    sum(failed_count)::BIGINT AS failed_count,
    rate(div_half_up(sum(failed_count) * 10000, sum(transaction_count))) AS failure_rate,
    sum(volume)::DECIMAL(18,2) AS volume, sum(revenue)::DECIMAL(18,2) AS revenue, sum(processing_ms_total)::BIGINT AS processing_ms_total,
    sum(processing_count)::BIGINT AS processing_count,
    CASE WHEN sum(processing_count) > 0
        THEN rate(div_half_up(sum(processing_ms_total) * 100, sum(processing_count))) END AS avg_processing_ms,
    sum(fast_count)::BIGINT AS fast_count, sum(medium_count)::BIGINT AS medium_count,
    sum(slow_count)::BIGINT AS slow_count
FROM kpi_days GROUP BY ALL ORDER BY transaction_date, channel_key, city_key, customer_segment;
