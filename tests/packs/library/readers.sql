-- Loans of each reader by month, with the total of all months.
WITH totals AS (
    SELECT reader_id, sum(lines)::BIGINT AS all_loans, max(last_loan) AS last_loan
    FROM reader_months GROUP BY reader_id
)
SELECT reader_id, month_name(month) AS month, readers.name, lines AS loans, money(fee_cents) AS fees, all_loans,
       totals.last_loan
FROM reader_months JOIN totals USING (reader_id) LEFT JOIN readers USING (reader_id);
