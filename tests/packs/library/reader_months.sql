-- Loans of one month by reader.
SELECT reader_id, count(*) AS lines, sum(fee_cents)::BIGINT AS fee_cents, max(loaned_on) AS last_loan
FROM loans GROUP BY reader_id ORDER BY reader_id;
