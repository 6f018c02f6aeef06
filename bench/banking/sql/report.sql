-- monthly_financial_report and dim_date. Amounts are in cents until the last step; a count is one of 100.
--
-- In:  kpis, daily, customers, accounts, accounts_reports

CREATE MACRO share(part, whole) AS CASE WHEN whole > 0 THEN div_half_up(part * 10000, whole) END;
CREATE MACRO per(amount, number) AS CASE WHEN number > 0 THEN div_half_up(amount, number) END;

CREATE TEMP TABLE months AS
SELECT month, least(last_day(month), getvariable('as_of')::DATE) AS last_day
FROM (
    SELECT unnest(generate_series(date_trunc('month', min(transaction_date))::TIMESTAMP,
        getvariable('as_of')::TIMESTAMP, INTERVAL 1 MONTH))::DATE AS month
    FROM kpis
);

COPY (
    WITH days AS (
        SELECT unnest(generate_series(min(month)::TIMESTAMP, last_day(getvariable('as_of')::DATE)::TIMESTAMP,
            INTERVAL 1 DAY))::DATE AS day
        FROM months
    )
    SELECT key_of(day) AS date_key, day AS full_date, dayofmonth(day) AS day, month(days.day) AS month,
        quarter(days.day) AS quarter, year(days.day) AS year, isodow(days.day) AS day_of_week,
        isodow(days.day) < 6 AS weekday_flag, month_name(days.day) AS month_name, days.day = last_day(days.day) AS is_month_end
    FROM days
) TO '{dim_date}/part.parquet' (FORMAT parquet, COMPRESSION zstd);

CREATE TEMP TABLE owned AS
WITH standing AS (
    SELECT m.month, m.last_day, a.account_id, a.customer_id, a.account_type, a.status,
        coalesce((a.interest_rate * 100)::BIGINT, 0) AS rate
    FROM months m JOIN accounts a ON a.valid_from <= m.last_day AND a.valid_to > m.last_day
    WHERE a.account_type <> 'INTERNAL'
)
SELECT s.*, (r.balance * 100)::BIGINT AS cents, s.account_type IN ('CREDIT', 'LOAN') AS is_lending,
    s.status <> 'CLOSED' AS is_open
FROM standing s ASOF JOIN accounts_reports r ON r.account_id = s.account_id AND s.last_day >= r.day;

CREATE TEMP TABLE figures AS
WITH sums AS (
    SELECT date_trunc('month', transaction_date)::DATE AS month, sum(transaction_count) AS transactions,
        sum(completed_count) AS completed, sum(failed_count) AS failed, sum(volume) * 100 AS volume,
        sum(processing_ms_total) AS processing_ms, sum(processing_count) AS timed, sum(high_risk) AS high_risk,
        sum(high_risk_amount) * 100 AS high_risk_amount, sum(fraud_losses) * 100 AS fraud_losses,
        sum(revenue) * 100 AS fees
    FROM kpis GROUP BY ALL
), active AS (
    SELECT date_trunc('month', transaction_date)::DATE AS month, count(DISTINCT customer_key) AS active
    FROM daily WHERE completed_count > 0 GROUP BY ALL
), people AS (
    SELECT m.month, count(*) AS people, count(*) FILTER (date_trunc('month', registration_date) = m.month) AS joined
    FROM months m JOIN customers c ON c.valid_from <= m.last_day AND c.valid_to > m.last_day GROUP BY m.month
), rates AS (
    SELECT month, count(*) AS every, count(*) FILTER (status = 'ACTIVE') AS standing FROM owned GROUP BY month
), owners AS (
    SELECT month, cents, row_number() OVER (PARTITION BY month ORDER BY cents DESC) AS place,
        count(*) OVER (PARTITION BY month) AS n
    FROM (SELECT month, customer_id, sum(cents) AS cents FROM owned WHERE is_open GROUP BY ALL)
), top_owners AS (
    SELECT month, sum(cents) AS cents FROM owners WHERE place <= (n + 9) // 10 GROUP BY month
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY month ORDER BY cents DESC) AS place,
        count(*) OVER (PARTITION BY month) AS n, div_half_up(cents * rate, 120000) AS interest
    FROM owned WHERE is_open
), balances AS (
    SELECT month, count(*) AS accounts, sum(cents) AS cents, count(*) FILTER (cents < 10000) AS low,
        div_half_up(sum(cents) FILTER (place IN ((n + 1) // 2, n // 2 + 1)), 2 - n % 2) AS median,
        sum(cents) FILTER (place <= 10) AS top_10, sum(interest) FILTER (is_lending) AS earned,
        sum(interest) FILTER (NOT is_lending) AS paid, sum(cents) FILTER (is_lending) AS lending,
        sum(cents) FILTER (NOT is_lending) AS deposits
    FROM ranked GROUP BY month, n
), joined AS (
    SELECT m.month, transactions, completed, failed, volume, processing_ms, timed, high_risk, high_risk_amount, fraud_losses, fees,
        active, people, joined, every, standing, accounts, low, top_10, earned, paid, lending, deposits,
        b.cents AS cents, o.cents AS top_owners, b.median::HUGEINT AS median
    FROM months m
    LEFT JOIN sums USING (month) LEFT JOIN active USING (month) LEFT JOIN people USING (month)
    LEFT JOIN rates USING (month) LEFT JOIN balances b USING (month) LEFT JOIN top_owners o USING (month)
), filled AS (  -- all but month and median are 0 in a month without any
    SELECT month, median, coalesce(COLUMNS('^[^m].*'), 0)::HUGEINT AS '\0' FROM joined
)
SELECT *, fees + earned AS revenue, paid + fraud_losses AS costs, revenue - costs AS profit,
    lag(fees + earned) OVER (ORDER BY month) AS revenue_before
FROM filled;

COPY (
    WITH written AS (
        SELECT month, unnest([
            {'section': 'kpi', 'figure': 'transactions', 'value': transactions * 100, 'unit': 'count'},
            {'section': 'kpi', 'figure': 'completed', 'value': completed * 100, 'unit': 'count'},
            {'section': 'kpi', 'figure': 'failed', 'value': failed * 100, 'unit': 'count'},
            {'section': 'kpi', 'figure': 'failure_rate', 'value': share(failed, transactions), 'unit': 'percent'},
            {'section': 'kpi', 'figure': 'volume', 'value': volume, 'unit': 'money'},
            {'section': 'kpi', 'figure': 'average_transaction', 'value': per(volume, completed), 'unit': 'money'},
            {'section': 'kpi', 'figure': 'active_customers', 'value': active * 100, 'unit': 'count'},
            {'section': 'kpi', 'figure': 'transactions_per_active_customer', 'value': per(completed * 100, active), 'unit': 'ratio'},
            {'section': 'kpi', 'figure': 'average_processing_ms', 'value': per(processing_ms * 100, timed), 'unit': 'ms'},
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
        FROM figures
    ), by_channel AS (
        SELECT date_trunc('month', transaction_date)::DATE AS month, channel_key, sum(revenue) AS revenue
        FROM kpis GROUP BY ALL HAVING sum(revenue) > 0
    ), by_type AS (
        SELECT month, account_type, count(*) AS number, sum(cents)::HUGEINT AS type_cents
        FROM owned WHERE is_open GROUP BY month, account_type
    ), labelled AS (
        SELECT month, 'revenue' AS section, 'fee_revenue_by_channel' AS figure, channel_key::VARCHAR AS label,
            (revenue * 100)::HUGEINT AS value, 'money' AS unit
        FROM by_channel
        UNION ALL
        SELECT month, 'portfolio', figure, account_type, value, unit
        FROM (
            SELECT month, account_type, unnest([
                {'figure': 'accounts_by_type', 'value': number * 100::HUGEINT, 'unit': 'count'},
                {'figure': 'balance_by_type', 'value': type_cents, 'unit': 'money'},
                {'figure': 'average_balance_by_type', 'value': per(type_cents, number), 'unit': 'money'},
                {'figure': 'share_by_type', 'value': share(type_cents, figures.cents), 'unit': 'percent'}
            ], recursive := TRUE)
            FROM by_type JOIN figures USING (month)
        )
    )
    SELECT month_name(month) AS month, section, figure, '' AS label, money(value) AS value, unit FROM written
    UNION ALL
    SELECT month_name(month), section, figure, label, money(value), unit FROM labelled
) TO '{monthly_financial_report}/part.parquet' (FORMAT parquet, COMPRESSION zstd);
