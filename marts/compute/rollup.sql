-- The facts of one month (or of some buckets of it), from its clean lines.
--
-- In:  lines      one row per clean line of the live drops; delivery = place of the drop in the order of
--                 deliveries, position = place of the line in that order; transaction_id is NULL where there is none,
--                 (customer_id, store_key, day_key, more_key, transaction_id) names a transaction
--      marks      of identity.sql: what is to know of some lines
--      crossing   of crossing.sql: purchases that are counted otherwise, since they go beyond the month; most often none
--      last_day   (variable) lines after it are left out of the facts (as_of)
-- Out: customer_facts, sales_facts, drop_facts
--
-- A transaction belongs to one customer; its lines meet here because they share the month and the bucket. All guests
-- are customer 0.

CREATE TEMP TABLE line_marks AS
SELECT position, first(mark) FILTER (mark IN ('repeated', 'replaced')) AS left_out,
       bool_or(mark = 'equal') AS equal, bool_or(mark = 'conflicting') AS conflicting,
       bool_or(mark = 'overlapping') AS overlapping
FROM marks GROUP BY position;

-- What each drop brings on each day.
CREATE TEMP TABLE drop_facts AS
WITH known AS (
    SELECT delivery, sales_date, customer_id, transaction_id, line_no, total_cents, left_out, equal, conflicting, overlapping,
           left_out IS NULL AND sales_date <= getvariable('last_day') AS counts
    FROM lines LEFT JOIN line_marks USING (position)
)
SELECT
    delivery,
    sales_date                                                                      AS day,
    count(*)                                                                        AS lines,
    count(*) FILTER (left_out = 'repeated')                                         AS repeated,
    count(*) FILTER (left_out = 'replaced')                                         AS replaced,
    count(*) FILTER (left_out = 'replaced' AND line_no IS NULL)                     AS replaced_unnumbered,
    coalesce(sum(total_cents) FILTER (left_out = 'repeated'), 0)::DECIMAL(38,0)     AS repeated_cents,
    coalesce(sum(total_cents) FILTER (left_out = 'replaced'), 0)::DECIMAL(38,0)     AS replaced_cents,
    coalesce(sum(total_cents) FILTER (left_out = 'replaced' AND line_no IS NULL), 0)::DECIMAL(38,0)
                                                                                    AS replaced_unnumbered_cents,
    count(*) FILTER (counts)                                                        AS counted,
    coalesce(sum(total_cents) FILTER (counts), 0)::DECIMAL(38,0)                    AS counted_cents,
    count(*) FILTER (counts AND customer_id = 0)                                    AS guests,
    coalesce(sum(total_cents) FILTER (counts AND customer_id = 0), 0)::DECIMAL(38,0) AS guest_cents,
    count(*) FILTER (transaction_id IS NULL)                                        AS without_transaction,
    count(*) FILTER (equal)                                                         AS equal,
    count(*) FILTER (conflicting)                                                   AS conflicting,
    count(*) FILTER (overlapping)                                                   AS overlapping
FROM known
GROUP BY delivery, sales_date
ORDER BY delivery, sales_date;

-- One row per basket and sales person; bought_days has one bit per day of the month with a purchase. A line without transaction_id is a basket of its own.
CREATE TEMP TABLE baskets AS
WITH kept AS (
    SELECT
        customer_id, transaction_id, store_key, day_key, more_key, position, store_id, sales_person_id, total_cents,
        CASE WHEN quantity_ten_thousandths > 0 THEN total_cents END                             AS bought_cents,
        CASE WHEN quantity_ten_thousandths > 0 THEN sales_date END                              AS bought,
        CASE WHEN quantity_ten_thousandths > 0 THEN 1::UINTEGER << day(sales_date)::UINTEGER END AS bought_day
    FROM lines ANTI JOIN (SELECT position FROM line_marks WHERE left_out IS NOT NULL) USING (position)
    WHERE sales_date <= getvariable('last_day')
)
SELECT
    customer_id, transaction_id, store_key, day_key, more_key, NULL::BIGINT AS alone, store_id, sales_person_id,
    count(*)            AS lines,
    sum(total_cents)    AS total_cents,
    sum(bought_cents)   AS bought_cents,
    min(bought)         AS first_bought,
    max(bought)         AS last_bought,
    bit_or(bought_day)  AS bought_days
FROM kept WHERE transaction_id IS NOT NULL GROUP BY ALL
UNION ALL
SELECT
    customer_id, NULL, NULL, NULL, NULL, position, store_id, sales_person_id, 1, total_cents, bought_cents, bought,
    bought, bought_day
FROM kept WHERE transaction_id IS NULL;

CREATE TEMP TABLE customer_facts AS
WITH purchases AS (
    SELECT baskets.customer_id, baskets.transaction_id, baskets.store_key, baskets.day_key, baskets.more_key, alone,
           sum(lines) AS lines, sum(total_cents) AS total_cents,
           CASE WHEN any_value(crossing.month) IS NULL THEN sum(baskets.bought_cents)
                ELSE any_value(crossing.bought_cents) END AS bought_cents, min(first_bought) AS first_bought, max(last_bought) AS last_bought,
           bit_or(bought_days) AS bought_days
    FROM baskets LEFT JOIN crossing ON crossing.customer_id = baskets.customer_id
        AND crossing.transaction_id = baskets.transaction_id
        AND crossing.store_key IS NOT DISTINCT FROM baskets.store_key
        AND crossing.more_key IS NOT DISTINCT FROM baskets.more_key
    GROUP BY ALL
)
SELECT
    customer_id,
    sum(lines)::BIGINT              AS lines,
    sum(total_cents)::BIGINT       AS total_cents,
    count(bought_cents)             AS purchases,
    max(bought_cents)::BIGINT      AS largest_cents,
    min(first_bought)               AS first_bought,
    max(last_bought)                AS last_bought,
    coalesce(bit_count(bit_or(bought_days)), 0)::BIGINT AS bought_days
FROM purchases GROUP BY customer_id ORDER BY customer_id;

CREATE TEMP TABLE sales_facts AS
SELECT
    store_id, sales_person_id,
    sum(lines)::BIGINT              AS lines,
    sum(total_cents)::BIGINT       AS total_cents,
    count(bought_cents)             AS purchases,
    max(bought_cents)::BIGINT      AS largest_cents
FROM baskets GROUP BY store_id, sales_person_id ORDER BY store_id, sales_person_id;
