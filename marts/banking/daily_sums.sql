-- Sums of one month of daily_customer_summary, of some customers.
SELECT 'part' AS part, sum(transaction_count) AS transactions, sum(completed_count) AS completed,
    sum(failed_count) AS failed, sum(total_amount) AS volume, sum(revenue) AS revenue
FROM daily_customer_summary GROUP BY ALL;
