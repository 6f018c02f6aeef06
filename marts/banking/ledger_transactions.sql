-- What the ledger must have of each transaction of one month.
SELECT transaction_id, transaction_time_day AS day, coalesce(account_id, 0) AS account_id, amount_cents, is_done,
    CASE WHEN side = 'CREDIT' THEN amount_cents ELSE -amount_cents END AS moved_cents
FROM booked ORDER BY transaction_id;
