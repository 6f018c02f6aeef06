-- Entries of one month by transaction, account and day.
SELECT transaction_id, account_id, entry_time_day AS day, count(*) AS entries,
    coalesce(sum(amount_cents) FILTER (entry_type = 'DEBIT'), 0)::BIGINT AS debit_cents,
    coalesce(sum(amount_cents) FILTER (entry_type = 'CREDIT'), 0)::BIGINT AS credit_cents
FROM ledger_entries GROUP BY transaction_id, account_id, day ORDER BY transaction_id, account_id, day;
