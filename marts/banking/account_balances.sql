-- Each account month by month: what its entries make of its first reported balance, and what was reported.
--
-- In:  account_days    entries by account and day
--      accounts        their history; reports: day and balance_cents of its last snapshot of each month, and of its first
-- Out: a row per account and month, from the first snapshot or entry on
--
-- Entries are added up by month; those of single days are only needed up to the day of a snapshot.

WITH reported AS (
    SELECT account_id AS account_key, unnest(reports, recursive := TRUE) FROM accounts
),
latest AS (
    SELECT account_id AS account_key, account_type IN ('CREDIT', 'LOAN', 'INTERNAL') AS is_debit,
        CASE WHEN end_reason = 'DELETED' THEN valid_to - 1 END AS last_day
    FROM accounts WHERE covers_to = DATE '9999-12-31'
),
sums AS MATERIALIZED (
    SELECT account_key, year(day) * 12 + month(day) AS number, min(day) AS since, max(day) AS until,
        sum(debit_cents) AS debits, sum(credit_cents) AS credits
    FROM account_days GROUP BY ALL
),
running AS MATERIALIZED (
    SELECT account_key, number, debits, credits, CASE WHEN is_debit THEN debits - credits ELSE credits - debits END AS moved,
        sum(moved) OVER (PARTITION BY account_key ORDER BY number) AS cents
    FROM sums LEFT JOIN latest USING (account_key)
),
-- Entries of the month of a snapshot up to its day, without sign.
begun AS (
    SELECT r.account_key, r.day, sum(d.credit_cents) - sum(d.debit_cents) AS cents
    FROM (SELECT DISTINCT account_key, day FROM reported) r
    JOIN account_days d ON d.account_key = r.account_key AND d.day <= r.day AND d.day >= date_trunc('month', r.day)::DATE
    GROUP BY ALL
),
reports AS MATERIALIZED (
    SELECT r.account_key, r.day, r.balance_cents,
        coalesce(m.cents, 0) + coalesce(CASE WHEN l.is_debit THEN -b.cents ELSE b.cents END, 0) AS cents
    FROM reported r
    ASOF LEFT JOIN running m ON m.account_key = r.account_key AND year(r.day) * 12 + month(r.day) > m.number
    LEFT JOIN begun b ON b.account_key = r.account_key AND b.day = r.day
    LEFT JOIN latest l ON l.account_key = r.account_key
),
anchors AS (SELECT account_key, arg_min(balance_cents - cents, day) AS cents FROM reports GROUP BY account_key),
spans AS (
    SELECT account_key, min(since) AS first_day, max(until) AS last_entry
    FROM (SELECT account_key, since, until FROM sums UNION ALL SELECT account_key, day, NULL FROM reported)
    GROUP BY account_key
),
months AS (
    SELECT account_key, unnest(generate_series(
        date_trunc('month', first_day)::TIMESTAMP,
        CASE WHEN last_day IS NULL THEN getvariable('as_of') ELSE greatest(last_day, last_entry) END::TIMESTAMP,
        INTERVAL 1 MONTH
    ))::DATE AS first_day
    FROM spans LEFT JOIN latest USING (account_key)
),
ends AS (
    SELECT account_key, first_day, year(first_day) * 12 + month(first_day) AS number,
        least(last_day(first_day), getvariable('as_of')) AS day
    FROM months
),
reckoned AS (
    SELECT e.account_key, e.first_day, coalesce(a.cents, 0) + coalesce(c.cents, 0) AS closing, s.debits, s.credits,
        coalesce(s.moved, 0) AS moved_cents,
        k.day AS reported_on, k.balance_cents, k.balance_cents - (coalesce(a.cents, 0) + k.cents) AS difference
    FROM ends e
    ASOF LEFT JOIN running c ON c.account_key = e.account_key AND e.number >= c.number
    ASOF LEFT JOIN reports k ON k.account_key = e.account_key AND e.day >= k.day
    LEFT JOIN running s ON s.account_key = e.account_key AND s.number = e.number
    LEFT JOIN anchors a ON a.account_key = e.account_key
)
SELECT account_key, month_name(first_day) AS month, money(closing - moved_cents) AS opening_balance,
    money(coalesce(debits, 0)) AS debits, money(coalesce(credits, 0)) AS credits, money(closing) AS closing_balance,
    reported_on, money(balance_cents) AS reported_balance, money(difference) AS difference, difference = 0 AS is_reconciled
FROM reckoned;
