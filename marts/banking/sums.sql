-- Tables whose sums of a month differ from those of fact_transactions.
WITH facts AS (
    SELECT month_name(month) AS month, sum(transactions) AS transactions, sum(completed) AS completed,
        sum(failed) AS failed, sum(volume) AS volume, sum(revenue) AS revenue
    FROM report_parts GROUP BY ALL
),
others AS (
    SELECT 'daily_customer_summary' AS name, month_name(month) AS month, sum(transactions) AS transactions,
        sum(completed) AS completed, sum(failed) AS failed, sum(volume) AS volume, sum(revenue) AS revenue
    FROM daily_sums GROUP BY ALL
    UNION ALL
    SELECT 'channel_city_kpis', month_name(month), sum(transaction_count), sum(completed_count), sum(failed_count),
        sum(volume), sum(revenue)
    FROM channel_city_kpis GROUP BY ALL
    UNION ALL
    SELECT 'spending_patterns', month_name(month), sum(transaction_count), sum(completed_count), NULL, sum(volume), NULL
    FROM spending_patterns GROUP BY month, breakdown
    UNION ALL
    SELECT 'monthly_financial_report', month,
        sum(value) FILTER (figure = 'transactions'), sum(value) FILTER (figure = 'completed'),
        sum(value) FILTER (figure = 'failed'), sum(value) FILTER (figure = 'volume'),
        sum(value) FILTER (figure = 'fee_revenue')
    FROM monthly_financial_report WHERE label = '' GROUP BY month
)
SELECT DISTINCT month, name
FROM facts JOIN others o USING (month)
WHERE o.transactions <> facts.transactions OR o.completed <> facts.completed OR o.failed <> facts.failed
    OR o.volume <> facts.volume OR o.revenue <> facts.revenue;
