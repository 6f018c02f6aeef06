-- The versions of accounts, the accounts that only transactions or entries name, and the members that are none.
WITH named AS (
    SELECT DISTINCT account_id FROM entry_accounts ANTI JOIN accounts USING (account_id)
)
SELECT version_key, account_id AS account_key, customer_id, account_type, status, currency,
    percent(interest_rate_hundredths) AS interest_rate, opening_date, money(balance_cents) AS balance, valid_from,
    valid_to, is_current, end_reason, covers_from, covers_to, last_seen, is_inferred
FROM accounts
UNION ALL
SELECT (account_id::HUGEINT * 100000000 + 19000101)::DECIMAL(38,0), account_id, NULL, 'UNKNOWN', 'UNKNOWN', 'UNKNOWN',
    NULL, NULL, NULL, DATE '1900-01-01', DATE '9999-12-31', TRUE, NULL, DATE '1900-01-01', DATE '9999-12-31', NULL, TRUE
FROM named;
