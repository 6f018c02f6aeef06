-- Each account month by month: what its entries make of its first reported balance, and what was reported.
--
-- In:  account_days    entries by account and day
--      accounts        their history; reports: day and balance_cents of its last snapshot of each month, and of its first
-- Out: a row per account and month, from the first snapshot or entry on

WITH reported AS (
    SELECT account_id AS account_key, unnest(reports, recursive := TRUE) FROM accounts
),
latest AS (
    SELECT account_id AS account_key, account_type IN ('CREDIT', 'LOAN', 'INTERNAL') AS is_debit,
        CASE WHEN end_reason = 'DELETED' THEN valid_to - 1 END AS last_day
    FROM accounts WHERE covers_to = DATE '9999-12-31'
),
moved AS (
    SELECT account_key, day, CASE WHEN is_debit THEN debit_cents - credit_cents ELSE credit_cents - debit_cents END AS cents
    FROM account_days LEFT JOIN latest USING (account_key)
),
running AS (SELECT account_key, day, sum(cents) OVER (PARTITION BY account_key ORDER BY day) AS cents FROM moved),
anchors AS (
    SELECT f.account_key, f.balance_cents - coalesce(r.cents, 0) AS cents
    FROM (SELECT account_key, min(day) AS day, arg_min(balance_cents, day) AS balance_cents FROM reported GROUP BY ALL) f
    ASOF LEFT JOIN running r ON r.account_key = f.account_key AND f.day >= r.day
),
spans AS (
    SELECT account_key, min(day) AS first_day, max(day) FILTER (is_entry) AS last_entry
    FROM (
        SELECT account_key, day, TRUE AS is_entry FROM account_days
        UNION ALL SELECT account_key, day, FALSE FROM reported
    )
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
ends AS (SELECT account_key, first_day, least(last_day(first_day), getvariable('as_of')) AS day FROM months),
sums AS (
    SELECT account_key, date_trunc('month', day)::DATE AS first_day, sum(debit_cents) AS debits, sum(credit_cents) AS credits
    FROM account_days GROUP BY ALL
),
told AS (
    SELECT e.account_key, e.first_day, r.day AS reported_on, r.balance_cents
    FROM ends e ASOF JOIN reported r ON r.account_key = e.account_key AND e.day >= r.day
),
known AS (
    SELECT t.*, coalesce(r.cents, 0) AS cents
    FROM told t ASOF LEFT JOIN running r ON r.account_key = t.account_key AND t.reported_on >= r.day
),
closed AS (
    SELECT e.*, coalesce(r.cents, 0) AS cents
    FROM ends e ASOF LEFT JOIN running r ON r.account_key = e.account_key AND e.day >= r.day
),
reckoned AS (
    SELECT c.account_key, c.first_day, coalesce(a.cents, 0) + c.cents AS closing, s.debits, s.credits,
        coalesce(CASE WHEN l.is_debit THEN s.debits - s.credits ELSE s.credits - s.debits END, 0) AS moved_cents,
        k.reported_on, k.balance_cents, k.balance_cents - (coalesce(a.cents, 0) + k.cents) AS difference
    FROM closed c
    LEFT JOIN anchors a USING (account_key)
    LEFT JOIN latest l USING (account_key)
    LEFT JOIN sums s ON s.account_key = c.account_key AND s.first_day = c.first_day
    LEFT JOIN known k ON k.account_key = c.account_key AND k.first_day = c.first_day
)
SELECT account_key, month_name(first_day) AS month, money(closing - moved_cents) AS opening_balance,
    money(coalesce(debits, 0)) AS debits, money(coalesce(credits, 0)) AS credits, money(closing) AS closing_balance,
    reported_on, money(balance_cents) AS reported_balance, money(difference) AS difference, difference = 0 AS is_reconciled
FROM reckoned;
