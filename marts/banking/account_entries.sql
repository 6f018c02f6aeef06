-- Entries of one month by account and day, of some transactions.
SELECT account_id AS account_key, entry_time_day AS day, count(*) AS lines,
    coalesce(sum(amount_cents) FILTER (entry_type = 'DEBIT'), 0)::BIGINT AS debit_cents,
    coalesce(sum(amount_cents) FILTER (entry_type = 'CREDIT'), 0)::BIGINT AS credit_cents
FROM ledger_entries GROUP BY account_id, entry_time_day ORDER BY account_id, entry_time_day;
