-- Each customer up to as_of. Scores by borders of the policy depend on one customer only.
WITH totals AS (
    SELECT customer_id, sum(lines)::BIGINT AS rows, sum(completed_count)::BIGINT AS done, sum(failed_count)::BIGINT AS failed,
        sum(spent)::DECIMAL(18,2) AS spent, sum(received)::DECIMAL(18,2) AS received, max(max_amount) AS largest,
        count(*) FILTER (completed_count > 0) AS active_months, sum(revenue)::DECIMAL(18,2) AS revenue,
        sum(high_risk_count)::BIGINT AS high_risk, min(first_date) AS first_date, max(last_date) AS last_date
    FROM customer_months WHERE customer_id > 0 GROUP BY customer_id
),
names AS (
    SELECT customer_id, full_name FROM customers
    WHERE covers_to = DATE '9999-12-31' AND customer_id > 0
),
held AS (
    SELECT customer_id, count(*) AS accounts,
        coalesce(sum(balance_cents) FILTER (account_type NOT IN ('CREDIT', 'LOAN')), 0) AS deposits,
        coalesce(sum(balance_cents) FILTER (account_type IN ('CREDIT', 'LOAN')), 0) AS lending
    FROM accounts WHERE is_current AND account_type <> 'INTERNAL' AND status <> 'CLOSED' GROUP BY customer_id
),
known AS (SELECT customer_id FROM totals UNION SELECT customer_id FROM names),
figures AS (
    SELECT customer_id, coalesce(full_name, 'UNKNOWN') AS full_name, first_date, last_date, coalesce(rows, 0) AS rows,
        coalesce(done, 0) AS done, coalesce(failed, 0) AS failed, coalesce(spent, 0) AS spent,
        coalesce(received, 0) AS received, largest, coalesce(active_months, 0) AS active_months,
        coalesce(revenue, 0) AS revenue, coalesce(high_risk, 0) AS high_risk, getvariable('as_of') - last_date AS recency,
        coalesce(accounts, 0) AS accounts, coalesce(deposits, 0) AS deposits, coalesce(lending, 0) AS lending
    FROM known LEFT JOIN totals USING (customer_id) LEFT JOIN names USING (customer_id) LEFT JOIN held USING (customer_id)
),
scores AS (
    SELECT *,
        coalesce((SELECT max(score) FROM rfm_borders WHERE measure = 'recency_days' AND recency <= border), 1) AS r,
        coalesce((SELECT max(score) FROM rfm_borders WHERE measure = 'completed_count' AND done >= border), 1) AS f,
        coalesce((SELECT max(score) FROM rfm_borders WHERE measure = 'total_spent' AND spent >= border), 1) AS m,
        CASE WHEN last_date IS NULL THEN 100
            ELSE least(100, div_half_up(recency * 100, getvariable('churn_days'))) END::BIGINT AS churn
    FROM figures
)
SELECT customer_id AS customer_key, full_name, first_date AS first_transaction_date, last_date AS last_transaction_date,
    rows AS transaction_count, done AS completed_count, failed AS failed_count,
    CASE WHEN rows > 0 THEN rate(div_half_up(failed * 10000, rows)) END AS failure_rate, spent AS total_spent,
    received AS total_received, CASE WHEN done > 0 THEN money(div_half_up((spent + received) * 100, done)) END AS avg_amount,
    largest AS max_amount, active_months, revenue AS lifetime_revenue, recency AS recency_days, r AS r_score, f AS f_score,
    m AS m_score, concat(r, f, m) AS rfm_score,
    CASE WHEN r >= 4 AND f >= 4 AND m >= 4 THEN 'Champions' WHEN r >= 3 AND f >= 3 AND m >= 3 THEN 'Loyal Customers'
        WHEN r >= 4 AND f <= 2 THEN 'New Customers' WHEN r <= 2 AND f >= 4 THEN 'At Risk'
        WHEN r <= 2 AND f <= 2 AND m >= 4 THEN 'Cant Lose Them' WHEN r <= 2 THEN 'Lost' ELSE 'Regular' END AS segment,
    percent(churn) AS churn_risk,
    CASE WHEN churn <= getvariable('churn_low_cents') THEN 'Low' WHEN churn <= getvariable('churn_medium_cents') THEN 'Medium'
        ELSE 'High' END AS churn_category,
    churn > getvariable('churn_threshold_cents') AS is_at_risk, accounts, money(deposits) AS deposits, money(lending) AS lending,
    high_risk AS high_risk_count
FROM scores;
