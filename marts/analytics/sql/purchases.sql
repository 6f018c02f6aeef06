-- What customers bought and brought back: a row per transaction, day, place and channel.
--
-- In:  ${fact}  the rows that count, up to as_of; (${customer}, t_id, id_key, day_key, more_key) names a transaction
-- Out: the last SELECT: a row without an id is a transaction of its own, number tells those of a day apart
WITH lines AS (
    SELECT ${customer}, ${at} AS day, ${place}, ${channel} AS channel,
           t_id AS transaction, id_key AS in_id, day_key AS in_day, more_key AS in_more,
           CASE WHEN t_id IS NULL THEN position END AS alone, ${bought} AS is_bought, ${cents} AS cents
    FROM ${fact}
),
transactions AS (
    SELECT ${customer}, day, ${place}, channel, transaction, in_id, in_day, in_more, alone,
           count(*) FILTER (is_bought)                  AS lines,
           count(*) FILTER (NOT is_bought)              AS return_lines,
           coalesce(sum(cents) FILTER (is_bought), 0)     AS gross_cents,
           coalesce(sum(cents) FILTER (NOT is_bought), 0) AS returned_cents
    FROM lines GROUP BY ALL
)
SELECT ${customer}, day, ${place}, channel, transaction, in_id, in_day, in_more, number::BIGINT AS number,
       lines, return_lines, gross_cents::BIGINT AS gross_cents, returned_cents::BIGINT AS returned_cents
FROM (
    SELECT *, 0 AS number FROM transactions WHERE alone IS NULL
    UNION ALL
    SELECT *, row_number() OVER (PARTITION BY ${customer}, day, ${place}, channel ORDER BY gross_cents, returned_cents)
    FROM transactions WHERE alone IS NOT NULL
)
ORDER BY ${customer}, day, ${place}, channel, transaction, in_id, in_day, in_more, number;
