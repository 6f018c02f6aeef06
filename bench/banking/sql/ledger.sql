-- The ledger: transactions whose entries are wrong, and accounts month by month.
--
-- In:  booked, entries, accounts, accounts_reports
-- Out: ledger_checks, account_balances

-- Entries by transaction; the text ids are joined once, then the number of the line stands for them.
CREATE TEMP TABLE joined AS
SELECT t.line, e.transaction_id, e.account_id, e.day, e.is_debit, e.cents, e.account_id = t.account_id AS is_own, t.is_done
FROM entries e LEFT JOIN booked t ON t.transaction_id = e.transaction_id;

CREATE TEMP TABLE ledger_sums AS
SELECT line, count(*) AS entries, min(day) AS first_date,
    coalesce(sum(cents) FILTER (is_debit), 0)::BIGINT AS debits,
    coalesce(sum(cents) FILTER (NOT is_debit), 0)::BIGINT AS credits,
    coalesce(sum(CASE WHEN is_debit THEN -cents ELSE cents END) FILTER (is_own), 0)::BIGINT AS net
FROM joined WHERE line IS NOT NULL GROUP BY line;

COPY (
    WITH moved AS (
        SELECT DISTINCT line FROM (
            SELECT line, sum(CASE WHEN is_debit THEN -cents ELSE cents END) AS net
            FROM joined WHERE NOT is_done GROUP BY line, account_id
        ) WHERE net <> 0
    ), orphans AS (
        SELECT transaction_id, count(*) AS entries, min(day) AS first_date,
            coalesce(sum(cents) FILTER (is_debit), 0)::BIGINT AS debits,
            coalesce(sum(cents) FILTER (NOT is_debit), 0)::BIGINT AS credits
        FROM joined WHERE line IS NULL GROUP BY transaction_id
    ), judged AS (
        SELECT t.transaction_id, coalesce(s.first_date, t.day) AS first_date, coalesce(entries, 0) AS entries,
            coalesce(debits, 0) AS debits, coalesce(credits, 0) AS credits, t.cents,
            NULL AS no_transaction,
            CASE WHEN is_done AND account_id IS NOT NULL AND s.line IS NULL AND EXISTS (FROM entries) THEN 'NO_ENTRIES' END
                AS no_entries,
            CASE WHEN is_done AND net <> CASE WHEN side = 'CREDIT' THEN t.cents ELSE -t.cents END
                THEN 'AMOUNT_DIFFERS' END AS differs,
            CASE WHEN NOT is_done AND m.line IS NOT NULL THEN 'NOT_COMPLETED' END AS not_completed
        FROM booked t LEFT JOIN ledger_sums s ON s.line = t.line LEFT JOIN moved m ON m.line = t.line
        UNION ALL
        SELECT transaction_id, first_date, entries, debits, credits, NULL, 'NO_TRANSACTION', NULL, NULL, NULL FROM orphans
    ), written AS (
        SELECT *, concat_ws(';',
            CASE WHEN debits <> credits
                THEN CASE WHEN debits = 0 OR credits = 0 THEN 'ONE_SIDED' ELSE 'UNBALANCED' END END,
            no_transaction, no_entries, differs, not_completed) AS problems
        FROM judged
        WHERE debits <> credits OR coalesce(no_transaction, no_entries, differs, not_completed) IS NOT NULL
    )
    SELECT transaction_id, first_date, entries, money(debits) AS debit_amount, money(credits) AS credit_amount,
        money(debits - credits) AS difference, money(cents) AS transaction_amount, problems
    FROM written
) TO '{ledger_checks}/part.parquet' (FORMAT parquet, COMPRESSION zstd);
DROP TABLE joined;
DROP TABLE ledger_sums;

-- Balances are asked for at ends of months and on days of snapshots: entries are added up by what lies between.
CREATE TEMP TABLE balance_days AS
WITH asked AS (
    SELECT DISTINCT unnest(getvariable('accounts_days'))::DATE AS asked
    UNION SELECT DISTINCT least(last_day(day), getvariable('as_of')::DATE) FROM (SELECT DISTINCT day FROM entries)
)
SELECT day, min(asked) AS asked FROM (SELECT DISTINCT day FROM entries) JOIN asked ON asked >= day GROUP BY day;

CREATE TEMP TABLE moves AS
SELECT account_id, asked AS day, min(e.day) AS first_entry, max(e.day) AS last_entry,
    coalesce(sum(cents) FILTER (is_debit), 0)::BIGINT AS debits,
    coalesce(sum(cents) FILTER (NOT is_debit), 0)::BIGINT AS credits
FROM entries e JOIN balance_days USING (day) GROUP BY account_id, asked;

COPY (
    WITH reported AS (
        SELECT account_id, day, (balance * 100)::BIGINT AS cents FROM accounts_reports
    ), latest AS (
        SELECT account_id, account_type IN ('CREDIT', 'LOAN', 'INTERNAL') AS is_debit,
            CASE WHEN end_reason = 'DELETED' THEN valid_to - 1 END AS last_day
        FROM accounts WHERE covers_to = DATE '9999-12-31'
    ), running AS (
        SELECT account_id, day, sum(CASE WHEN is_debit THEN debits - credits ELSE credits - debits END)
            OVER (PARTITION BY account_id ORDER BY day)::BIGINT AS cents
        FROM moves LEFT JOIN latest USING (account_id)
    ), known AS (
        SELECT r.account_id, r.day, r.cents AS reported, coalesce(s.cents, 0) AS moved
        FROM reported r ASOF LEFT JOIN running s ON s.account_id = r.account_id AND r.day >= s.day
    ), anchors AS (
        SELECT account_id, arg_min(reported - moved, day) AS cents FROM known GROUP BY account_id
    ), spans AS (
        SELECT account_id, min(first_day) AS first_day, max(last_entry) AS last_entry
        FROM (SELECT account_id, first_entry AS first_day, last_entry FROM moves
              UNION ALL SELECT account_id, day, NULL FROM reported)
        GROUP BY account_id
    ), months AS (
        SELECT account_id, unnest(generate_series(date_trunc('month', first_day)::TIMESTAMP,
            CASE WHEN last_day IS NULL THEN getvariable('as_of')::DATE ELSE greatest(last_day, last_entry) END::TIMESTAMP,
            INTERVAL 1 MONTH))::DATE AS month, is_debit
        FROM spans LEFT JOIN latest USING (account_id)
    ), ends AS (
        SELECT *, least(last_day(month), getvariable('as_of')::DATE) AS day FROM months
    ), sums AS (
        SELECT account_id, date_trunc('month', day)::DATE AS month, sum(debits)::BIGINT AS debits,
            sum(credits)::BIGINT AS credits
        FROM moves GROUP BY ALL
    ), closed AS (
        SELECT e.*, coalesce(a.cents, 0) + coalesce(r.cents, 0) AS closing, coalesce(a.cents, 0) AS anchor
        FROM ends e LEFT JOIN anchors a USING (account_id)
        ASOF LEFT JOIN running r ON r.account_id = e.account_id AND e.day >= r.day
    ), reckoned AS (
        SELECT c.account_id, c.month, closing, coalesce(debits, 0) AS debits, coalesce(credits, 0) AS credits,
            k.day AS reported_on, k.reported, k.reported - (anchor + k.moved) AS difference, is_debit
        FROM closed c LEFT JOIN sums s ON s.account_id = c.account_id AND s.month = c.month
        ASOF LEFT JOIN known k ON k.account_id = c.account_id AND c.day >= k.day
    )
    SELECT account_id AS account_key, month_name(month) AS month,
        money(closing - CASE WHEN is_debit THEN debits - credits ELSE credits - debits END) AS opening_balance,
        money(debits) AS debits, money(credits) AS credits, money(closing) AS closing_balance, reported_on,
        money(reported) AS reported_balance, money(difference) AS difference, difference = 0 AS is_reconciled
    FROM reckoned
) TO '{account_balances}/part.parquet' (FORMAT parquet, COMPRESSION zstd);
