-- Transactions of one month by account, once for each of their accounts.
SELECT account_id, count(*) AS lines
FROM (
    SELECT account_id FROM transactions
    UNION ALL
    SELECT related_account_id FROM transactions WHERE related_account_id IS DISTINCT FROM account_id
)
WHERE account_id IS NOT NULL
GROUP BY account_id ORDER BY account_id;
