-- The transactions of one month, scored. Every rule row_counts back: at earlier rows of the customer, never at later ones,
-- at other customers, or at another row's score.
--
-- In:  booked                                       transactions of the month (booked.sql)
--      customer_habits_before, customer_places_before  what was spent in the 3 months before
--      customer_tails_before                        rows of the last minutes of each day of the month before
--      If it is computed by days, booked is of a day, and rows of the days before it are in places and tails, too.
--      channel_fees, merchant_categories            of the day: covers_from <= day < covers_to
-- Out: a row per transaction

CREATE OR REPLACE TEMP TABLE habits AS
SELECT customer_id, sum(spent_rows)::HUGEINT AS n, sum(spent_cents)::HUGEINT AS s, sum(spent_squares)::HUGEINT AS q
FROM customer_habits_before
GROUP BY customer_id HAVING n >= getvariable('min_history');

-- isqrt(sigmas^2 * (n q - s^2)): the root of doubles, one step of Newton, and the nearest whole number below.
CREATE OR REPLACE TEMP TABLE limits AS
WITH squares AS (
    SELECT *, (getvariable('usual_sigmas_cents')::HUGEINT * getvariable('usual_sigmas_cents') * (n * q - s * s)) // 10000
        AS square
    FROM habits
),
guesses AS (SELECT *, greatest(1, floor(sqrt(square::DOUBLE))::HUGEINT) AS guess FROM squares),
steps AS (SELECT *, (guess + square // guess) // 2 AS root FROM guesses),
roots AS (
    SELECT customer_id, n, s,
        root - (root * root > square)::INT + ((root + 1) * (root + 1) <= square)::INT AS deviation
    FROM steps
)
SELECT customer_id,
    greatest((s + deviation) // n, s * getvariable('usual_factor_cents') // (n * 100))::BIGINT AS limit_cents
FROM roots;

-- Rows of known time, with those of the minutes before the first.
CREATE OR REPLACE TEMP VIEW windows AS
WITH timed AS (
    SELECT position, customer_id, transaction_id, epoch_us(transaction_time) AS micros, status = 'FAILED' AS is_failed
    FROM booked WHERE transaction_time IS NOT NULL
    UNION ALL
    SELECT NULL, customer_id, transaction_id, epoch_us(transaction_time), is_failed FROM customer_tails_before
    WHERE transaction_time > (SELECT min(moment) FROM booked)
        - to_minutes(greatest(getvariable('velocity_minutes'), getvariable('failed_minutes')))
),
counted AS (
    SELECT position,
        count(*) OVER recent - count(*) OVER later AS velocity_count,
        count(*) FILTER (is_failed) OVER within - count(*) FILTER (is_failed) OVER later - is_failed::INT AS failed_before
    FROM timed
    WINDOW recent AS (PARTITION BY customer_id ORDER BY micros
            RANGE BETWEEN getvariable('velocity_minutes')::BIGINT * 60000000 - 1 PRECEDING AND CURRENT ROW),
        within AS (PARTITION BY customer_id ORDER BY micros
            RANGE BETWEEN getvariable('failed_minutes')::BIGINT * 60000000 - 1 PRECEDING AND CURRENT ROW),
        later AS (PARTITION BY customer_id, micros ORDER BY transaction_id
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
)
SELECT position, velocity_count, failed_before FROM counted WHERE position IS NOT NULL;

-- The place of each row among those of its customer and day.
CREATE OR REPLACE TEMP VIEW day_places AS
SELECT position, count(*) OVER day AS day_rows, row_number() OVER day AS day_place,
    coalesce(sum(amount_cents) FILTER (is_done) OVER running, 0) AS day_cents
FROM booked
WINDOW day AS (PARTITION BY customer_id, transaction_time_day ORDER BY moment, transaction_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING),
    running AS (PARTITION BY customer_id, transaction_time_day ORDER BY moment, transaction_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

-- Both in one table of numbers: a join with it needs little memory.
CREATE OR REPLACE TEMP TABLE row_counts AS
SELECT d.position, d.day_rows::INTEGER AS day_rows, d.day_place::INTEGER AS day_place, d.day_cents::BIGINT AS day_cents,
    coalesce(w.velocity_count, 0)::INTEGER AS velocity_count, coalesce(w.failed_before, 0)::INTEGER AS failed_before
FROM day_places d LEFT JOIN windows w ON w.position = d.position;

-- Where customers with a habit spent before; of others no place is new.
CREATE OR REPLACE TEMP TABLE known AS
SELECT DISTINCT customer_id, place, place_id
FROM customer_places_before SEMI JOIN (FROM booked SEMI JOIN limits USING (customer_id)) USING (customer_id);

-- Where customers with a habit spent first in the month: a later row of the customer knows the place.
CREATE OR REPLACE TEMP TABLE firsts AS
SELECT customer_id, place, place_id, min((moment, transaction_id)) AS first
FROM (
    SELECT customer_id, 'city' AS place, city_id AS place_id, moment, transaction_id FROM booked WHERE is_spent
    UNION ALL
    SELECT customer_id, 'merchant', merchant_id, moment, transaction_id FROM booked WHERE is_spent
)
SEMI JOIN limits USING (customer_id)
WHERE place_id IS NOT NULL
GROUP BY ALL;

CREATE OR REPLACE TEMP VIEW described AS
SELECT b.*,
    d.velocity_count::BIGINT AS velocity_count, d.failed_before::BIGINT AS failed_before, l.limit_cents,
    f.fee_percent_hundredths AS fee,
    CASE WHEN b.is_done AND f.fee_percent_hundredths IS NOT NULL
        THEN div_half_up(b.amount_cents * f.fee_percent_hundredths::HUGEINT, 10000) ELSE 0 END::BIGINT AS revenue_cents,
    coalesce(b.category, m.category, 'UNKNOWN') AS its_category,
    its_category IN (SELECT category FROM risky_categories) OR m.mcc IN (SELECT mcc FROM risky_mccs) AS is_risky,
    hour(b.transaction_time) AS its_hour,
    CASE WHEN b.transaction_time IS NULL THEN 'UNKNOWN' WHEN its_hour BETWEEN 6 AND 11 THEN 'MORNING'
        WHEN its_hour BETWEEN 12 AND 17 THEN 'AFTERNOON' WHEN its_hour BETWEEN 18 AND 21 THEN 'EVENING'
        ELSE 'NIGHT' END AS its_time_of_day,
    d.day_rows::BIGINT AS day_rows, d.day_place::BIGINT AS day_place, d.day_cents,
    c.place_id IS NOT NULL OR coalesce(fc.first < (b.moment, b.transaction_id), FALSE) AS knows_city,
    p.place_id IS NOT NULL OR coalesce(fm.first < (b.moment, b.transaction_id), FALSE) AS knows_merchant
FROM booked b
JOIN row_counts d ON d.position = b.position
LEFT JOIN limits l ON l.customer_id = b.customer_id
LEFT JOIN channel_fees f ON f.channel_id = b.channel_id AND b.transaction_time_day >= f.covers_from
    AND b.transaction_time_day < f.covers_to
LEFT JOIN merchant_categories m ON m.merchant_id = b.merchant_id AND b.transaction_time_day >= m.covers_from
    AND b.transaction_time_day < m.covers_to
LEFT JOIN known c ON c.customer_id = b.customer_id AND c.place = 'city' AND c.place_id = b.city_id
LEFT JOIN known p ON p.customer_id = b.customer_id AND p.place = 'merchant' AND p.place_id = b.merchant_id
LEFT JOIN firsts fc ON fc.customer_id = b.customer_id AND fc.place = 'city' AND fc.place_id = b.city_id
LEFT JOIN firsts fm ON fm.customer_id = b.customer_id AND fm.place = 'merchant' AND fm.place_id = b.merchant_id;

-- Which rules hold; a rule of weight 0 is off. A rule that cannot be judged (NULL) does not hold.
CREATE OR REPLACE TEMP VIEW scored AS
WITH held AS (
    SELECT *,
        getvariable('weight_confirmed_cents') > 0 AND (is_fraudulent = 'Y')
            AS confirmed,
        getvariable('weight_amount_unusual_cents') > 0 AND (is_debit AND amount_cents > limit_cents)
            AS amount_unusual,
        getvariable('weight_velocity_cents') > 0 AND (velocity_count >= getvariable('velocity_rows'))
            AS velocity,
        getvariable('weight_amount_high_cents') > 0 AND (is_debit AND amount_cents > getvariable('high_amount_cents'))
            AS amount_high,
        getvariable('weight_failed_then_success_cents') > 0 AND (is_done AND failed_before >= getvariable('failed_rows'))
            AS failed_then_success,
        getvariable('weight_daily_count_cents') > 0 AND (day_place > getvariable('daily_rows'))
            AS daily_count,
        getvariable('weight_new_city_cents') > 0 AND (is_debit AND limit_cents IS NOT NULL AND city_id IS NOT NULL AND NOT knows_city)
            AS new_city,
        getvariable('weight_high_risk_category_cents') > 0 AND (coalesce(is_risky, FALSE))
            AS high_risk_category,
        getvariable('weight_balance_drained_cents') > 0 AND (is_debit AND is_done AND amount_cents >= getvariable('drained_amount_cents')
            AND balance_after_cents * 100::HUGEINT
                <= getvariable('drained_percent') * (balance_after_cents + amount_cents::HUGEINT))
            AS balance_drained,
        getvariable('weight_new_merchant_cents') > 0 AND (is_debit AND limit_cents IS NOT NULL AND merchant_id IS NOT NULL AND NOT knows_merchant)
            AS new_merchant,
        getvariable('weight_night_cents') > 0 AND (its_time_of_day = 'NIGHT')
            AS night,
        getvariable('weight_round_amount_cents') > 0 AND (is_debit AND amount_cents >= getvariable('round_amount_cents') AND amount_cents % 10000 = 0)
            AS round_amount
    FROM (SELECT *, side = 'DEBIT' AS is_debit FROM described)
)
SELECT *,
    least(100,
        if(confirmed, getvariable('weight_confirmed_cents'), 0)
        + if(amount_unusual, getvariable('weight_amount_unusual_cents'), 0)
        + if(velocity, getvariable('weight_velocity_cents'), 0)
        + if(amount_high, getvariable('weight_amount_high_cents'), 0)
        + if(failed_then_success, getvariable('weight_failed_then_success_cents'), 0)
        + if(daily_count, getvariable('weight_daily_count_cents'), 0)
        + if(new_city, getvariable('weight_new_city_cents'), 0)
        + if(high_risk_category, getvariable('weight_high_risk_category_cents'), 0)
        + if(balance_drained, getvariable('weight_balance_drained_cents'), 0)
        + if(new_merchant, getvariable('weight_new_merchant_cents'), 0)
        + if(night, getvariable('weight_night_cents'), 0)
        + if(round_amount, getvariable('weight_round_amount_cents'), 0)
    )::BIGINT AS score,
    nullif(concat_ws(';',
        if(confirmed, 'CONFIRMED', NULL),
        if(amount_unusual, 'AMOUNT_UNUSUAL', NULL),
        if(velocity, 'VELOCITY', NULL),
        if(amount_high, 'AMOUNT_HIGH', NULL),
        if(failed_then_success, 'FAILED_THEN_SUCCESS', NULL),
        if(daily_count, 'DAILY_COUNT', NULL),
        if(new_city, 'NEW_CITY', NULL),
        if(high_risk_category, 'HIGH_RISK_CATEGORY', NULL),
        if(balance_drained, 'BALANCE_DRAINED', NULL),
        if(new_merchant, 'NEW_MERCHANT', NULL),
        if(night, 'NIGHT', NULL),
        if(round_amount, 'ROUND_AMOUNT', NULL)
    ), '') AS reasons
FROM held;

-- The only table of whole rows: each one more is written to disk and read again.
CREATE OR REPLACE TEMP TABLE finished AS
SELECT transaction_id, transaction_time_day AS transaction_date, strftime(transaction_date, '%Y%m%d')::BIGINT AS date_key,
    coalesce(strftime(posted_date, '%Y%m%d')::BIGINT, -1) AS posted_date_key, transaction_time,
    customer_id AS customer_key, coalesce(account_id, -1) AS account_key,
    coalesce(related_account_id, CASE WHEN transaction_type = 'TRANSFER' THEN -1 ELSE -2 END) AS related_account_key,
    coalesce(merchant_id, CASE WHEN transaction_type IN (SELECT type FROM merchant_types) THEN -1 ELSE -2 END)
        AS merchant_key,
    coalesce(channel_id, -1) AS channel_key, coalesce(city_id, -1) AS city_key,
    transaction_type, side AS direction, status, upper(currency) AS currency, upper(card_type) AS card_type,
    money(amount_cents) AS amount,
    money(CASE WHEN NOT is_done THEN 0 WHEN is_debit THEN -amount_cents ELSE amount_cents END) AS signed_amount,
    percent(fee) AS fee_percent, money(revenue_cents) AS revenue, processing_ms,
    CASE WHEN processing_ms IS NULL THEN 'unknown' WHEN processing_ms < 1000 THEN 'fast'
        WHEN processing_ms < 3000 THEN 'medium' ELSE 'slow' END AS processing_delay_bucket,
    its_hour AS hour,
    CASE WHEN amount_cents < 1000 THEN 'MICRO' WHEN amount_cents < 10000 THEN 'SMALL' WHEN amount_cents < 100000
        THEN 'MEDIUM' WHEN amount_cents < 1000000 THEN 'LARGE' ELSE 'VERY_LARGE' END AS amount_category,
    its_time_of_day AS time_of_day, its_category AS category, day_rows AS daily_transaction_count,
    day_place AS daily_sequence, money(day_cents) AS daily_cumulative_amount, velocity_count, failed_before,
    money(limit_cents) AS usual_limit, rate(score)::DECIMAL(5,2) AS risk_score,
    score > getvariable('fraud_threshold_cents') AS is_high_risk,
    reasons AS risk_reasons,
    is_fraudulent = 'Y' AS is_fraudulent
FROM scored;

FROM finished ORDER BY transaction_id;
