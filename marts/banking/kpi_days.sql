-- Transactions of one month by day, channel, city and segment of the day, of some customers.
SELECT transaction_date, channel_key, city_key, coalesce(segment, 'UNKNOWN') AS customer_segment,
    count(*) AS transaction_count, count(*) FILTER (status = 'COMPLETED') AS completed_count,
    count(*) FILTER (status = 'FAILED') AS failed_count,
    coalesce(sum(amount) FILTER (status = 'COMPLETED'), 0) AS volume, sum(revenue) AS revenue,
    coalesce(sum(processing_ms), 0)::BIGINT AS processing_ms_total, count(processing_ms) AS processing_count,
    count(*) FILTER (processing_delay_bucket = 'fast') AS fast_count,
    count(*) FILTER (processing_delay_bucket = 'medium') AS medium_count,
    count(*) FILTER (processing_delay_bucket = 'slow') AS slow_count
FROM fact_transactions
LEFT JOIN customer_segments ON customer_id = customer_key AND transaction_date >= covers_from
    AND transaction_date < covers_to
GROUP BY ALL ORDER BY transaction_date, channel_key, city_key, customer_segment;
