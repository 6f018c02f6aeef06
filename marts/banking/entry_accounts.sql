-- Entries of one month by account.
SELECT account_id, count(*) AS lines FROM ledger_entries GROUP BY account_id ORDER BY account_id;
