-- The figures of each month, from that of the first transaction to that of as_of.
--
-- In:  report_parts, active_customers    of the transactions
--      customers, accounts               their history; a balance is that of the last snapshot up to the end of the month
-- Out: a row per month and figure. Amounts are in cents until the last step, a count is one of 100

CREATE OR REPLACE TEMP TABLE months AS
SELECT first_day, least(last_day(first_day), getvariable('as_of')) AS last_day
FROM (
    SELECT unnest(generate_series(min(month)::TIMESTAMP, getvariable('as_of')::TIMESTAMP, INTERVAL 1 MONTH))::DATE AS first_day
    FROM report_parts
);

CREATE OR REPLACE TEMP TABLE held AS
WITH reported AS (SELECT account_id, unnest(reports, recursive := TRUE) FROM accounts),
standing AS (
    SELECT m.first_day, m.last_day, a.account_id, a.customer_id, a.account_type, a.status,
        coalesce(a.interest_rate_hundredths, 0) AS rate
    FROM months m JOIN accounts a ON a.valid_from <= m.last_day AND a.valid_to > m.last_day
    WHERE NOT a.is_inferred AND a.account_type NOT IN ('INTERNAL', 'UNKNOWN', 'NOT APPLICABLE')
)
SELECT s.*, r.balance_cents AS cents, account_type IN ('CREDIT', 'LOAN') AS is_lending
FROM standing s ASOF JOIN reported r ON r.account_id = s.account_id AND s.last_day >= r.day;

CREATE OR REPLACE TEMP TABLE owned AS
SELECT *, row_number() OVER (PARTITION BY first_day ORDER BY cents DESC, account_id) AS place,
    count(*) OVER (PARTITION BY first_day) AS n,
    div_half_up(cents::HUGEINT * rate, 120000) AS interest
FROM held WHERE status <> 'CLOSED';

CREATE OR REPLACE TEMP TABLE figures AS
WITH booked AS (
    SELECT month AS first_day, sum(transactions) AS transactions, sum(completed) AS completed, sum(failed) AS failed,
        sum(volume) * 100 AS volume, sum(processing_ms) AS ms, sum(processing_count) AS timed, sum(high_risk) AS high_risk,
        sum(high_risk_amount) * 100 AS high_risk_amount, sum(fraud_losses) * 100 AS fraud_losses, sum(revenue) * 100 AS fees
    FROM report_parts GROUP BY month
),
active AS (SELECT month AS first_day, sum(customers) AS active FROM active_customers GROUP BY month),
people AS (
    SELECT m.first_day, count(*) AS people, count(*) FILTER (date_trunc('month', registration_date) = m.first_day) AS joined
    FROM months m JOIN customers c ON c.valid_from <= m.last_day AND c.valid_to > m.last_day
    WHERE NOT c.is_inferred AND c.customer_id <> -1
    GROUP BY m.first_day
),
rates AS (
    SELECT first_day, count(*) AS every, count(*) FILTER (status = 'ACTIVE') AS standing FROM held GROUP BY first_day
),
owners AS (
    SELECT first_day, cents, row_number() OVER (PARTITION BY first_day ORDER BY cents DESC) AS place,
        count(*) OVER (PARTITION BY first_day) AS n
    FROM (SELECT first_day, customer_id, sum(cents) AS cents FROM owned GROUP BY ALL)
),
top_owners AS (SELECT first_day, sum(cents) AS cents FROM owners WHERE place <= (n + 9) // 10 GROUP BY first_day),
balances AS (
    SELECT first_day, count(*) AS accounts, sum(cents) AS cents, count(*) FILTER (cents < 10000) AS low,
        div_half_up(sum(cents) FILTER (place IN ((n + 1) // 2, n // 2 + 1)), 2 - n % 2) AS median,
        sum(cents) FILTER (place <= 10) AS top_10, sum(interest) FILTER (is_lending) AS earned,
        sum(interest) FILTER (NOT is_lending) AS paid, sum(cents) FILTER (is_lending) AS lending,
        sum(cents) FILTER (NOT is_lending) AS deposits
    FROM owned GROUP BY first_day, n
),
filled AS (
    SELECT m.first_day,
        coalesce(transactions, 0)::HUGEINT AS transactions, coalesce(completed, 0)::HUGEINT AS completed,
        coalesce(failed, 0)::HUGEINT AS failed, coalesce(volume, 0)::HUGEINT AS volume,
        coalesce(ms, 0)::HUGEINT AS ms, coalesce(timed, 0)::HUGEINT AS timed,
        coalesce(high_risk, 0)::HUGEINT AS high_risk, coalesce(high_risk_amount, 0)::HUGEINT AS high_risk_amount,
        coalesce(fraud_losses, 0)::HUGEINT AS fraud_losses, coalesce(fees, 0)::HUGEINT AS fees,
        coalesce(active, 0)::HUGEINT AS active, coalesce(people, 0)::HUGEINT AS people,
        coalesce(joined, 0)::HUGEINT AS joined, coalesce(every, 0)::HUGEINT AS every,
        coalesce(standing, 0)::HUGEINT AS standing, coalesce(accounts, 0)::HUGEINT AS accounts,
        coalesce(low, 0)::HUGEINT AS low, coalesce(top_10, 0)::HUGEINT AS top_10,
        coalesce(earned, 0)::HUGEINT AS earned, coalesce(paid, 0)::HUGEINT AS paid,
        coalesce(lending, 0)::HUGEINT AS lending, coalesce(deposits, 0)::HUGEINT AS deposits,
        coalesce(b.cents, 0)::HUGEINT AS cents, coalesce(o.cents, 0)::HUGEINT AS top_owners,
        median::HUGEINT AS median
    FROM months m
    LEFT JOIN booked USING (first_day) LEFT JOIN active USING (first_day) LEFT JOIN people USING (first_day)
    LEFT JOIN rates USING (first_day) LEFT JOIN balances b USING (first_day) LEFT JOIN top_owners o USING (first_day)
)
SELECT *, fees + earned AS revenue, paid + fraud_losses AS costs, revenue - costs AS profit,
    lag(fees + earned) OVER (ORDER BY first_day) AS revenue_before
FROM filled;

-- Percent of a whole, in hundredths; and a quotient rounded half up.
CREATE OR REPLACE TEMP MACRO share(part, whole) AS
    CASE WHEN whole > 0 THEN div_half_up(part * 10000, whole) END;
CREATE OR REPLACE TEMP MACRO per(amount, number) AS CASE WHEN number > 0 THEN div_half_up(amount, number) END;

CREATE OR REPLACE TEMP TABLE written AS
SELECT first_day, unnest([
    {'section': 'kpi', 'figure': 'transactions', 'value': transactions * 100, 'unit': 'count'},
    {'section': 'kpi', 'figure': 'completed', 'value': completed * 100, 'unit': 'count'},
    {'section': 'kpi', 'figure': 'failed', 'value': failed * 100, 'unit': 'count'},
    {'section': 'kpi', 'figure': 'failure_rate', 'value': share(failed, transactions), 'unit': 'percent'},
    {'section': 'kpi', 'figure': 'volume', 'value': volume, 'unit': 'money'},
    {'section': 'kpi', 'figure': 'average_transaction', 'value': per(volume, completed), 'unit': 'money'},
    {'section': 'kpi', 'figure': 'active_customers', 'value': active * 100, 'unit': 'count'},
    {'section': 'kpi', 'figure': 'transactions_per_active_customer', 'value': per(completed * 100, active), 'unit': 'ratio'},
    {'section': 'kpi', 'figure': 'average_processing_ms', 'value': per(ms * 100, timed), 'unit': 'ms'},
    {'section': 'kpi', 'figure': 'high_risk_transactions', 'value': high_risk * 100, 'unit': 'count'},
    {'section': 'kpi', 'figure': 'high_risk_amount', 'value': high_risk_amount, 'unit': 'money'},
    {'section': 'kpi', 'figure': 'customers', 'value': people * 100, 'unit': 'count'},
    {'section': 'kpi', 'figure': 'new_customers', 'value': joined * 100, 'unit': 'count'},
    {'section': 'kpi', 'figure': 'accounts', 'value': accounts * 100, 'unit': 'count'},
    {'section': 'kpi', 'figure': 'active_account_rate', 'value': share(standing, every), 'unit': 'percent'},
    {'section': 'kpi', 'figure': 'total_balance', 'value': cents, 'unit': 'money'},
    {'section': 'kpi', 'figure': 'average_balance', 'value': per(cents, accounts), 'unit': 'money'},
    {'section': 'kpi', 'figure': 'median_balance', 'value': median, 'unit': 'money'},
    {'section': 'kpi', 'figure': 'low_balance_accounts', 'value': low * 100, 'unit': 'count'},
    {'section': 'revenue', 'figure': 'fee_revenue', 'value': fees, 'unit': 'money'},
    {'section': 'revenue', 'figure': 'interest_income', 'value': earned, 'unit': 'money'},
    {'section': 'revenue', 'figure': 'total_revenue', 'value': revenue, 'unit': 'money'},
    {'section': 'revenue', 'figure': 'revenue_growth_rate', 'value': share(revenue - revenue_before, revenue_before), 'unit': 'percent'},
    {'section': 'revenue', 'figure': 'revenue_per_active_customer', 'value': per(revenue, active), 'unit': 'money'},
    {'section': 'profitability', 'figure': 'interest_expense', 'value': paid, 'unit': 'money'},
    {'section': 'profitability', 'figure': 'fraud_losses', 'value': fraud_losses, 'unit': 'money'},
    {'section': 'profitability', 'figure': 'costs', 'value': costs, 'unit': 'money'},
    {'section': 'profitability', 'figure': 'profit', 'value': profit, 'unit': 'money'},
    {'section': 'profitability', 'figure': 'profit_margin', 'value': share(profit, revenue), 'unit': 'percent'},
    {'section': 'portfolio', 'figure': 'deposits', 'value': deposits, 'unit': 'money'},
    {'section': 'portfolio', 'figure': 'lending', 'value': lending, 'unit': 'money'},
    {'section': 'portfolio', 'figure': 'loan_to_deposit_ratio', 'value': share(lending, deposits), 'unit': 'percent'},
    {'section': 'portfolio', 'figure': 'top_10_accounts_share', 'value': share(top_10, cents), 'unit': 'percent'},
    {'section': 'portfolio', 'figure': 'top_tenth_of_customers_share', 'value': share(top_owners, cents), 'unit': 'percent'}
], recursive := TRUE)
FROM figures;

CREATE OR REPLACE TEMP TABLE by_label AS
SELECT month AS first_day, 'revenue' AS section, 'fee_revenue_by_channel' AS figure, channel_key::VARCHAR AS label,
    (sum(revenue) * 100)::HUGEINT AS value, 'money' AS unit
FROM report_parts GROUP BY month, channel_key HAVING sum(revenue) > 0
UNION ALL
SELECT first_day, 'portfolio', figure, account_type, value, unit
FROM (
    SELECT first_day, account_type, unnest([
        {'figure': 'accounts_by_type', 'value': number * 100::HUGEINT, 'unit': 'count'},
        {'figure': 'balance_by_type', 'value': type_cents, 'unit': 'money'},
        {'figure': 'average_balance_by_type', 'value': per(type_cents, number), 'unit': 'money'},
        {'figure': 'share_by_type', 'value': share(type_cents, figures.cents), 'unit': 'percent'}
    ], recursive := TRUE)
    FROM (
        SELECT first_day, account_type, count(*) AS number, sum(cents)::HUGEINT AS type_cents
        FROM owned GROUP BY first_day, account_type
    ) JOIN figures USING (first_day)
);

SELECT month_name(first_day) AS month, section, figure, '' AS label, money(value) AS value, unit FROM written
UNION ALL
SELECT month_name(first_day), section, figure, label, money(value), unit FROM by_label;
