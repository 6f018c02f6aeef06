-- Entries of one month by transaction and account.
SELECT transaction_id, account_id, count(*) AS entries, min(entry_time_day) AS first_date,
    coalesce(sum(amount_cents) FILTER (entry_type = 'DEBIT'), 0)::BIGINT AS debit_cents,
    coalesce(sum(amount_cents) FILTER (entry_type = 'CREDIT'), 0)::BIGINT AS credit_cents
FROM ledger_entries GROUP BY transaction_id, account_id ORDER BY transaction_id, account_id;
