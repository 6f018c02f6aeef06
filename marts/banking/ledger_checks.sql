-- Transactions whose entries are wrong: the good case is none.
WITH entries AS (
    SELECT transaction_id, sum(entries)::BIGINT AS entries, min(day) AS first_date, sum(debit_cents) AS debits,
        sum(credit_cents) AS credits
    FROM ledger_sums GROUP BY transaction_id
),
nets AS (
    SELECT transaction_id, account_id, sum(credit_cents) - sum(debit_cents) AS net
    FROM ledger_sums GROUP BY transaction_id, account_id
),
moved AS (SELECT DISTINCT transaction_id FROM nets WHERE net <> 0),
judged AS (
    SELECT coalesce(e.transaction_id, t.transaction_id) AS transaction_id, coalesce(e.first_date, t.day) AS first_date,
        coalesce(e.entries, 0) AS entries, coalesce(e.debits, 0) AS debits, coalesce(e.credits, 0) AS credits,
        t.amount_cents,
        concat_ws(';',
            CASE WHEN e.debits <> e.credits
                THEN CASE WHEN e.debits = 0 OR e.credits = 0 THEN 'ONE_SIDED' ELSE 'UNBALANCED' END END,
            CASE WHEN t.transaction_id IS NULL THEN 'NO_TRANSACTION' END,
            CASE WHEN t.is_done AND t.account_id <> 0 AND e.transaction_id IS NULL
                AND EXISTS (FROM ledger_is_kept) THEN 'NO_ENTRIES' END,
            CASE WHEN t.is_done AND e.transaction_id IS NOT NULL AND coalesce(n.net, 0) <> t.moved_cents
                THEN 'AMOUNT_DIFFERS' END,
            CASE WHEN NOT t.is_done AND m.transaction_id IS NOT NULL THEN 'NOT_COMPLETED' END
        ) AS problems
    FROM entries e
    FULL JOIN ledger_transactions t ON t.transaction_id = e.transaction_id
    LEFT JOIN nets n ON n.transaction_id = t.transaction_id AND n.account_id = t.account_id
    LEFT JOIN moved m ON m.transaction_id = t.transaction_id
)
SELECT transaction_id, first_date, entries, money(debits) AS debit_amount, money(credits) AS credit_amount,
    money(debits - credits) AS difference, money(amount_cents) AS transaction_amount, problems
FROM judged WHERE problems <> '';
