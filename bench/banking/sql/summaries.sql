-- The summaries of facts: by customer, merchant, channel and city, and pattern.
--
-- In:  facts, booked, customers, accounts, merchants, channels, cities, entries
-- Out: published tables · kpis: sums by day, channel, city and segment, which the report adds up

CREATE TEMP TABLE daily AS
SELECT customer_key, transaction_date, count(*) AS transaction_count, count(*) FILTER (is_done) AS completed_count,
    count(*) FILTER (status = 'FAILED') AS failed_count,
    coalesce(sum(amount) FILTER (is_done), 0)::DECIMAL(18,2) AS total_amount,
    coalesce(sum(-signed_amount) FILTER (signed_amount < 0), 0)::DECIMAL(18,2) AS debit_amount,
    coalesce(sum(signed_amount) FILTER (signed_amount > 0), 0)::DECIMAL(18,2) AS credit_amount,
    min(amount) FILTER (is_done) AS min_amount, max(amount) FILTER (is_done) AS max_amount,
    count(DISTINCT merchant_key) FILTER (is_done AND merchant_key > 0) AS unique_merchants,
    sum(revenue)::DECIMAL(18,2) AS revenue, count(*) FILTER (is_high_risk) AS high_risk_count,
    count(*) FILTER (is_fraudulent) AS fraud_count
FROM facts GROUP BY customer_key, transaction_date;

COPY (
    SELECT * EXCLUDE (fraud_count), fraud_count,
        CASE WHEN completed_count > 0 THEN money(div_half_up(total_amount * 100, completed_count)) END AS avg_amount
    FROM daily
) TO '{daily_customer_summary}/part.parquet' (FORMAT parquet, COMPRESSION zstd);

CREATE TEMP TABLE merchant_customers AS
SELECT merchant_key, transaction_date, customer_key, count(*) AS transaction_count,
    count(*) FILTER (is_done) AS completed_count, count(*) FILTER (status = 'FAILED') AS failed_count,
    coalesce(sum(amount) FILTER (is_done), 0) AS total_amount, sum(revenue) AS revenue,
    count(*) FILTER (is_high_risk) AS high_risk_count
FROM facts WHERE merchant_key <> -2 GROUP BY merchant_key, transaction_date, customer_key;

COPY (
    SELECT merchant_key, transaction_date, sum(transaction_count)::BIGINT AS transaction_count,
        sum(completed_count)::BIGINT AS completed_count, sum(failed_count)::BIGINT AS failed_count,
        sum(total_amount)::DECIMAL(18,2) AS total_amount,
        CASE WHEN sum(completed_count) > 0
            THEN money(div_half_up(sum(total_amount) * 100, sum(completed_count))) END AS avg_transaction,
        count(*) FILTER (completed_count > 0) AS unique_customers, sum(revenue)::DECIMAL(18,2) AS revenue,
        sum(high_risk_count)::BIGINT AS high_risk_count
    FROM merchant_customers GROUP BY merchant_key, transaction_date
) TO '{merchant_daily_summary}/part.parquet' (FORMAT parquet, COMPRESSION zstd);

COPY (
    WITH pairs AS (
        SELECT merchant_key, customer_key, sum(transaction_count) AS transaction_count,
            sum(completed_count) AS completed_count, sum(failed_count) AS failed_count, sum(total_amount) AS total_amount,
            sum(revenue) AS revenue, sum(high_risk_count) AS high_risk_count,
            min(transaction_date) FILTER (completed_count > 0) AS first_date,
            max(transaction_date) FILTER (completed_count > 0) AS last_date
        FROM merchant_customers GROUP BY merchant_key, customer_key
    ), sums AS (
        SELECT merchant_key, sum(transaction_count)::BIGINT AS transaction_count,
            sum(completed_count)::BIGINT AS completed, sum(failed_count)::BIGINT AS failed_count,
            sum(total_amount)::DECIMAL(18,2) AS total, count(*) FILTER (completed_count > 0) AS unique_customers,
            sum(revenue)::DECIMAL(18,2) AS revenue, sum(high_risk_count)::BIGINT AS high_risk_count,
            min(first_date) AS first_date, max(last_date) AS last_date
        FROM pairs GROUP BY merchant_key
    )
    SELECT merchant_key, coalesce(merchant_name, 'UNKNOWN') AS merchant_name, coalesce(category, 'UNKNOWN') AS category,
        transaction_count, completed AS completed_count, failed_count, total AS total_amount,
        CASE WHEN completed > 0 THEN money(div_half_up(total * 100, completed)) END AS avg_transaction,
        unique_customers, revenue, high_risk_count, first_date, last_date
    FROM sums LEFT JOIN merchants ON merchant_id = merchant_key AND covers_to = DATE '9999-12-31'
) TO '{merchant_summary}/part.parquet' (FORMAT parquet, COMPRESSION zstd);
DROP TABLE merchant_customers;

CREATE TEMP TABLE kpis AS
SELECT transaction_date, channel_key, city_key, customer_segment, count(*) AS transaction_count,
    count(*) FILTER (is_done) AS completed_count, count(*) FILTER (status = 'FAILED') AS failed_count,
    coalesce(sum(amount) FILTER (is_done), 0)::DECIMAL(18,2) AS volume, sum(revenue)::DECIMAL(18,2) AS revenue,
    coalesce(sum(processing_ms), 0)::BIGINT AS processing_ms_total, count(processing_ms) AS processing_count,
    count(*) FILTER (processing_delay_bucket = 'fast') AS fast_count,
    count(*) FILTER (processing_delay_bucket = 'medium') AS medium_count,
    count(*) FILTER (processing_delay_bucket = 'slow') AS slow_count,
    count(*) FILTER (is_high_risk) AS high_risk,
    coalesce(sum(amount) FILTER (is_high_risk AND is_done), 0) AS high_risk_amount,
    coalesce(sum(amount) FILTER (is_fraudulent AND signed_amount < 0), 0) AS fraud_losses
FROM facts GROUP BY transaction_date, channel_key, city_key, customer_segment;

COPY (
    SELECT * EXCLUDE (high_risk, high_risk_amount, fraud_losses),
        money(div_half_up(failed_count * 10000, transaction_count)) AS failure_rate,
        CASE WHEN processing_count > 0 THEN money(div_half_up(processing_ms_total * 100, processing_count)) END
            AS avg_processing_ms
    FROM kpis
) TO '{channel_city_kpis}/part.parquet' (FORMAT parquet, COMPRESSION zstd);

COPY (
    WITH cells AS (
        SELECT date_trunc('month', transaction_date) AS month, transaction_type, category, amount_category, time_of_day,
            coalesce(lpad(hour::VARCHAR, 2, '0'), 'UNKNOWN') AS its_hour, isodow(transaction_date) AS day_of_week,
            count(*) AS n, count(*) FILTER (is_done) AS done, coalesce(sum(amount) FILTER (is_done), 0) AS volume
        FROM facts
        GROUP BY ALL
    ), labelled AS (
        SELECT month, n, done, volume, unnest([
            {'breakdown': 'transaction_type', 'label': transaction_type}, {'breakdown': 'category', 'label': category},
            {'breakdown': 'amount_category', 'label': amount_category},
            {'breakdown': 'time_of_day', 'label': time_of_day}, {'breakdown': 'hour', 'label': its_hour},
            {'breakdown': 'day_of_week', 'label': day_of_week::VARCHAR}
        ], recursive := TRUE)
        FROM cells
    ), sums AS (
        SELECT month, breakdown, label, sum(n)::BIGINT AS n, sum(done)::BIGINT AS done,
            sum(volume)::DECIMAL(18,2) AS volume
        FROM labelled GROUP BY ALL
    )
    SELECT month_name(month) AS month, breakdown, label, n AS transaction_count, done AS completed_count, volume,
        CASE WHEN done > 0 THEN money(div_half_up(volume * 100, done)) END AS avg_amount
    FROM sums
) TO '{spending_patterns}/part.parquet' (FORMAT parquet, COMPRESSION zstd);

COPY (
    WITH months AS (
        SELECT customer_key, date_trunc('month', transaction_date) AS month, sum(transaction_count) AS n,
            sum(completed_count) AS done, sum(failed_count) AS failed, sum(debit_amount) AS spent,
            sum(credit_amount) AS received, max(max_amount) AS largest, sum(revenue) AS revenue,
            sum(high_risk_count) AS high_risk, min(transaction_date) FILTER (completed_count > 0) AS first_date,
            max(transaction_date) FILTER (completed_count > 0) AS last_date
        FROM daily GROUP BY ALL
    ), totals AS (
        SELECT customer_key AS customer_id, sum(n)::BIGINT AS n, sum(done)::BIGINT AS done, sum(failed)::BIGINT AS failed,
            sum(spent)::DECIMAL(18,2) AS spent, sum(received)::DECIMAL(18,2) AS received, max(largest) AS largest,
            count(*) FILTER (done > 0) AS active_months, sum(revenue)::DECIMAL(18,2) AS revenue,
            sum(high_risk)::BIGINT AS high_risk, min(first_date) AS first_date, max(last_date) AS last_date
        FROM months GROUP BY ALL
    ), held AS (
        SELECT customer_id, count(*) AS accounts,
            coalesce(sum(balance) FILTER (account_type NOT IN ('CREDIT', 'LOAN')), 0)::DECIMAL(18,2) AS deposits,
            coalesce(sum(balance) FILTER (account_type IN ('CREDIT', 'LOAN')), 0)::DECIMAL(18,2) AS lending
        FROM accounts WHERE is_current AND account_type <> 'INTERNAL' AND status <> 'CLOSED' GROUP BY customer_id
    ), names AS (
        SELECT customer_id, full_name FROM customers WHERE covers_to = DATE '9999-12-31'
    ), figures AS (
        SELECT customer_id, coalesce(full_name, 'UNKNOWN') AS full_name, first_date, last_date, coalesce(n, 0) AS n,
            coalesce(done, 0) AS done, coalesce(failed, 0) AS failed, coalesce(spent, 0)::DECIMAL(18,2) AS spent,
            coalesce(received, 0)::DECIMAL(18,2) AS received, largest, coalesce(active_months, 0) AS active_months,
            coalesce(revenue, 0)::DECIMAL(18,2) AS revenue, coalesce(high_risk, 0) AS high_risk,
            getvariable('as_of')::DATE - last_date AS recency, coalesce(accounts, 0) AS accounts,
            coalesce(deposits, 0) AS deposits, coalesce(lending, 0) AS lending,
            CASE WHEN recency <= 7 THEN 5 WHEN recency <= 30 THEN 4 WHEN recency <= 60 THEN 3 WHEN recency <= 90 THEN 2
                ELSE 1 END AS r,
            CASE WHEN done >= 50 THEN 5 WHEN done >= 20 THEN 4 WHEN done >= 10 THEN 3 WHEN done >= 3 THEN 2 ELSE 1 END AS f,
            CASE WHEN spent >= 50000 THEN 5 WHEN spent >= 10000 THEN 4 WHEN spent >= 1000 THEN 3 WHEN spent >= 100 THEN 2
                ELSE 1 END AS m,
            CASE WHEN last_date IS NULL THEN 100 ELSE least(100, div_half_up(recency * 100, 90)) END::BIGINT AS churn
        FROM totals FULL JOIN names USING (customer_id) LEFT JOIN held USING (customer_id)
    )
    SELECT customer_id AS customer_key, full_name, first_date AS first_transaction_date,
        last_date AS last_transaction_date, n AS transaction_count, done AS completed_count, failed AS failed_count,
        CASE WHEN n > 0 THEN money(div_half_up(failed * 10000, n)) END AS failure_rate, spent AS total_spent,
        received AS total_received,
        CASE WHEN done > 0 THEN money(div_half_up((spent + received) * 100, done)) END AS avg_amount,
        largest AS max_amount, active_months, revenue AS lifetime_revenue, recency AS recency_days, r AS r_score,
        f AS f_score, m AS m_score, concat(r, f, m) AS rfm_score,
        CASE WHEN r >= 4 AND f >= 4 AND m >= 4 THEN 'Champions' WHEN r >= 3 AND f >= 3 AND m >= 3 THEN 'Loyal Customers'
            WHEN r >= 4 AND f <= 2 THEN 'New Customers' WHEN r <= 2 AND f >= 4 THEN 'At Risk'
            WHEN r <= 2 AND f <= 2 AND m >= 4 THEN 'Cant Lose Them' WHEN r <= 2 THEN 'Lost' ELSE 'Regular' END AS segment,
        money(churn) AS churn_risk,
        CASE WHEN churn <= 33 THEN 'Low' WHEN churn <= 66 THEN 'Medium' ELSE 'High' END AS churn_category,
        churn > 50 AS is_at_risk, accounts, deposits::DECIMAL(18,2) AS deposits, lending::DECIMAL(18,2) AS lending,
        high_risk AS high_risk_count
    FROM figures
) TO '{customer_metrics}/part.parquet' (FORMAT parquet, COMPRESSION zstd);
