-- fact_transactions: each transaction with the fee and category of its day, what came before it, and its risk.
--
-- In:  booked, channels, merchants, customers
-- Out: facts   the published columns, and those that the summaries need

-- What a customer spent in the 3 months before a month: number, sum and sum of squares in cents.
CREATE TEMP TABLE limits AS
WITH months AS (
    SELECT customer_id, month_number, count(*) FILTER (is_spent) AS spent_rows,
        coalesce(sum(cents) FILTER (is_spent), 0)::HUGEINT AS spent_cents,
        coalesce(sum(cents::HUGEINT * cents) FILTER (is_spent), 0)::HUGEINT AS spent_squares
    FROM booked GROUP BY customer_id, month_number
), habits AS (
    SELECT customer_id, month_number, sum(spent_rows) OVER before AS n, sum(spent_cents) OVER before AS s,
        sum(spent_squares) OVER before AS q
    FROM months
    WINDOW before AS (PARTITION BY customer_id ORDER BY month_number RANGE BETWEEN 3 PRECEDING AND 1 PRECEDING)
    QUALIFY n >= 5
), squares AS (
    SELECT *, 9 * (n * q - s * s) AS square, greatest(1, floor(sqrt(square::DOUBLE))::HUGEINT) AS guess FROM habits
), roots AS (  -- a step of Newton, and the nearest whole number below
    SELECT *, (guess + square // guess) // 2 AS root,
        root - (root * root > square)::INT + ((root + 1) * (root + 1) <= square)::INT AS deviation
    FROM squares
)
SELECT customer_id, month_number, greatest((s + deviation) // n, 2 * s // n)::BIGINT AS limit_cents FROM roots;

-- The place of each row among those of its customer, and how many rows of known time lie before its last minutes.
CREATE TEMP TABLE ordered AS
SELECT line, customer_id, day, epoch_us(moment) AS micros, is_timed, is_timed AND status = 'FAILED' AS is_failed,
    row_number() OVER so_far AS place,
    count(*) FILTER (is_timed) OVER so_far AS timed,
    count(*) FILTER (is_timed AND status = 'FAILED') OVER so_far AS failed,
    coalesce(sum(cents) FILTER (is_done) OVER so_far, 0)::BIGINT AS done_cents,
    CASE WHEN is_done THEN cents ELSE 0 END AS own_cents
FROM booked
WINDOW so_far AS (PARTITION BY customer_id ORDER BY moment, transaction_id
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

CREATE TEMP TABLE sequences AS
WITH days AS (
    SELECT customer_id, day, count(*) AS day_rows, min(place) AS first_place, min(done_cents - own_cents) AS cents_before
    FROM ordered GROUP BY customer_id, day
), recent AS (
    SELECT *,
        CASE WHEN is_timed THEN timed - min(timed - is_timed::INT) OVER ten_minutes ELSE 0 END AS velocity_count,
        CASE WHEN is_timed THEN failed - is_failed::INT - min(failed - is_failed::INT) OVER an_hour ELSE 0 END
            AS failed_before
    FROM ordered
    WINDOW ten_minutes AS (PARTITION BY customer_id ORDER BY micros RANGE BETWEEN 599999999 PRECEDING AND CURRENT ROW),
        an_hour AS (PARTITION BY customer_id ORDER BY micros RANGE BETWEEN 3599999999 PRECEDING AND CURRENT ROW)
)
SELECT line, place, day_rows, place - first_place + 1 AS day_place, done_cents - cents_before AS day_cents,
    velocity_count, failed_before
FROM recent JOIN days USING (customer_id, day);
DROP TABLE ordered;

-- Where customers with a habit spent first in a month.
CREATE TEMP TABLE places AS
WITH spent AS (
    SELECT customer_id, month_number, place, unnest([
        {'kind': 'city', 'place_id': city_id}, {'kind': 'merchant', 'place_id': merchant_id}
    ], recursive := TRUE)
    FROM booked JOIN sequences USING (line)
    WHERE is_spent AND customer_id IN (SELECT customer_id FROM limits)
)
SELECT customer_id, kind, place_id, month_number, min(place) AS first_place
FROM spent WHERE place_id IS NOT NULL GROUP BY ALL;

-- Debits of customers with a habit at a place that they know from the months before, or from earlier in the month.
CREATE TEMP TABLE known AS
WITH debits AS (
    SELECT line, customer_id, month_number, place, unnest([
        {'kind': 'city', 'place_id': city_id}, {'kind': 'merchant', 'place_id': merchant_id}
    ], recursive := TRUE)
    FROM booked JOIN sequences USING (line) SEMI JOIN limits USING (customer_id, month_number)
    WHERE side = 'DEBIT'
)
SELECT d.line, bool_or(d.kind = 'city') AS city, bool_or(d.kind = 'merchant') AS merchant
FROM debits d JOIN places p ON p.customer_id = d.customer_id AND p.kind = d.kind AND p.place_id = d.place_id
WHERE p.month_number BETWEEN d.month_number - 3 AND d.month_number
    AND (p.month_number < d.month_number OR p.first_place < d.place)
GROUP BY d.line;

CREATE TEMP TABLE facts AS
WITH described AS (
    SELECT b.*, s.* EXCLUDE (line), l.limit_cents, (f.fee_percent * 100)::BIGINT AS fee, f.fee_percent,
        coalesce(c.segment, 'UNKNOWN') AS customer_segment,
        coalesce(b.category, m.category, 'UNKNOWN') AS its_category,
        its_category IN ('Gambling', 'Money Transfer', 'Quasi Cash', 'Cryptocurrency')
            OR coalesce(m.mcc IN ('4829', '6051', '7801', '7802', '7995'), false) AS is_risky,
        CASE WHEN is_timed THEN hour(moment) END AS its_hour,
        CASE WHEN its_hour IS NULL THEN 'UNKNOWN' WHEN its_hour BETWEEN 6 AND 11 THEN 'MORNING'
            WHEN its_hour BETWEEN 12 AND 17 THEN 'AFTERNOON' WHEN its_hour BETWEEN 18 AND 21 THEN 'EVENING'
            ELSE 'NIGHT' END AS its_part,
        side = 'DEBIT' AS is_debit, coalesce(k.city, false) AS knows_city, coalesce(k.merchant, false) AS knows_merchant
    FROM booked b JOIN sequences s USING (line)
    LEFT JOIN limits l ON l.customer_id = b.customer_id AND l.month_number = b.month_number
    LEFT JOIN known k ON k.line = b.line
    LEFT JOIN channels f ON f.channel_id = b.channel_id AND b.day >= f.covers_from AND b.day < f.covers_to
    LEFT JOIN merchants m ON m.merchant_id = b.merchant_id AND b.day >= m.covers_from AND b.day < m.covers_to
    LEFT JOIN customers c ON c.customer_id = b.customer_id AND b.day >= c.covers_from AND b.day < c.covers_to
), held AS (
    SELECT *, coalesce(is_fraudulent, false) AS confirmed,
        coalesce(is_debit AND cents > limit_cents, false) AS amount_unusual,
        velocity_count >= 5 AS velocity,
        is_debit AND cents > 500000 AS amount_high,
        is_done AND failed_before >= 2 AS failed_then_success,
        day_place > 20 AS daily_count,
        is_debit AND limit_cents IS NOT NULL AND city_id IS NOT NULL AND NOT knows_city AS new_city,
        is_risky AS high_risk_category,
        coalesce(is_debit AND is_done AND cents >= 10000 AND 20 * balance_cents <= balance_cents + cents, false)
            AS balance_drained,
        is_debit AND limit_cents IS NOT NULL AND merchant_id IS NOT NULL AND NOT knows_merchant AS new_merchant,
        its_part = 'NIGHT' AS night,
        is_debit AND cents >= 100000 AND cents % 10000 = 0 AS round_amount
    FROM described
), scored AS (
    SELECT *, least(100, if(confirmed, 100, 0) + if(amount_unusual, 35, 0) + if(velocity, 35, 0) + if(amount_high, 30, 0)
        + if(failed_then_success, 30, 0) + if(daily_count, 30, 0) + if(new_city, 20, 0) + if(high_risk_category, 20, 0)
        + if(balance_drained, 20, 0) + if(new_merchant, 15, 0) + if(night, 10, 0) + if(round_amount, 5, 0)) AS score
    FROM held
)
SELECT transaction_id, day AS transaction_date, key_of(day) AS date_key,
    coalesce(key_of(posted_date), -1) AS posted_date_key, CASE WHEN is_timed THEN moment END AS transaction_time,
    customer_id AS customer_key, coalesce(account_id, -1) AS account_key,
    coalesce(related_account_id, CASE WHEN transaction_type = 'TRANSFER' THEN -1 ELSE -2 END) AS related_account_key,
    coalesce(merchant_id, CASE WHEN transaction_type IN ('PAYMENT', 'ONLINE_PURCHASE') THEN -1 ELSE -2 END)
        AS merchant_key,
    coalesce(channel_id, -1) AS channel_key, coalesce(city_id, -1) AS city_key, transaction_type, side AS direction,
    status, currency, card_type, money(cents) AS amount,
    CASE WHEN NOT is_done THEN 0 WHEN is_debit THEN -money(cents) ELSE money(cents) END::DECIMAL(18,2) AS signed_amount,
    fee_percent,
    CASE WHEN is_done AND fee IS NOT NULL THEN money((2 * cents * fee + 10000) // 20000) ELSE 0 END::DECIMAL(18,2)
        AS revenue,
    milliseconds AS processing_ms,
    CASE WHEN milliseconds IS NULL THEN 'unknown' WHEN milliseconds < 1000 THEN 'fast'
        WHEN milliseconds < 3000 THEN 'medium' ELSE 'slow' END AS processing_delay_bucket,
    its_hour AS hour,
    CASE WHEN cents < 1000 THEN 'MICRO' WHEN cents < 10000 THEN 'SMALL' WHEN cents < 100000 THEN 'MEDIUM'
        WHEN cents < 1000000 THEN 'LARGE' ELSE 'VERY_LARGE' END AS amount_category,
    its_part AS time_of_day, its_category AS category, day_rows AS daily_transaction_count,
    day_place AS daily_sequence, money(day_cents) AS daily_cumulative_amount, velocity_count, failed_before,
    money(limit_cents) AS usual_limit, (score * 0.01::DECIMAL(3,2))::DECIMAL(5,2) AS risk_score,
    score > 70 AS is_high_risk,
    CASE WHEN score > 0 THEN concat_ws(';',
        if(confirmed, 'CONFIRMED', NULL), if(amount_unusual, 'AMOUNT_UNUSUAL', NULL), if(velocity, 'VELOCITY', NULL),
        if(amount_high, 'AMOUNT_HIGH', NULL), if(failed_then_success, 'FAILED_THEN_SUCCESS', NULL),
        if(daily_count, 'DAILY_COUNT', NULL), if(new_city, 'NEW_CITY', NULL),
        if(high_risk_category, 'HIGH_RISK_CATEGORY', NULL), if(balance_drained, 'BALANCE_DRAINED', NULL),
        if(new_merchant, 'NEW_MERCHANT', NULL), if(night, 'NIGHT', NULL), if(round_amount, 'ROUND_AMOUNT', NULL)
    ) END AS risk_reasons,
    is_fraudulent, customer_segment, is_done, month_number
FROM scored;
DROP TABLE sequences;
DROP TABLE known;

COPY (SELECT * EXCLUDE (customer_segment, is_done, month_number) FROM facts)
    TO '{fact_transactions}/part.parquet' (FORMAT parquet, COMPRESSION zstd);
