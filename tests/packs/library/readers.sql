-- Loans of each reader by month, with the total of all months.
WITH totals AS (
    SELECT reader_id, sum(lines)::BIGINT AS all_loans, sum(fee_cents) AS all_cents, max(last_loan) AS last_loan
    FROM reader_months GROUP BY reader_id
),
leveled AS (
    SELECT reader_id, arg_min(levels.name, place) AS level
    FROM totals JOIN levels ON (min_loans IS NULL OR all_loans >= min_loans)
        AND (min_fees_cents IS NULL OR all_cents >= min_fees_cents)
    GROUP BY reader_id
)
SELECT reader_id, month_name(month) AS month, readers.name, lines AS loans, money(fee_cents) AS fees, all_loans,
       totals.last_loan, money(all_cents) AS all_fees, level
FROM reader_months JOIN totals USING (reader_id) JOIN leveled USING (reader_id) LEFT JOIN readers USING (reader_id);
