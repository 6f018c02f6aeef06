-- Accounts of the transactions of one month, and of how many it is their own, not the other side.
SELECT account_id, count(*) FILTER (is_own) AS lines
FROM (
    SELECT account_id, TRUE AS is_own FROM transactions
    UNION ALL
    SELECT related_account_id, FALSE FROM transactions
)
WHERE account_id IS NOT NULL
GROUP BY account_id ORDER BY account_id;
