-- Transactions of one month by what distinguishes them, of some customers.
WITH labelled AS (
    SELECT status, amount, unnest([
        {'breakdown': 'transaction_type', 'label': transaction_type}, {'breakdown': 'category', 'label': category},
        {'breakdown': 'amount_category', 'label': amount_category}, {'breakdown': 'time_of_day', 'label': time_of_day},
        {'breakdown': 'hour', 'label': coalesce(lpad(hour::VARCHAR, 2, '0'), 'UNKNOWN')},
        {'breakdown': 'day_of_week', 'label': isodow(transaction_date)::VARCHAR}
    ], recursive := TRUE)
    FROM fact_transactions
)
SELECT breakdown, label, count(*) AS transaction_count, count(*) FILTER (status = 'COMPLETED') AS completed_count,
    coalesce(sum(amount) FILTER (status = 'COMPLETED'), 0) AS volume
FROM labelled GROUP BY breakdown, label ORDER BY breakdown, label;
