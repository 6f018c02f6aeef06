-- What customers bought and brought back: a row per transaction, day, place and channel.
--
-- In:  ${fact}  the rows that count, up to as_of; (${customer}, t_id, id_key, day_key, more_key) names a transaction
-- Out: the last SELECT: a row without an id is a transaction of its own, number tells those of a day apart; is_first
--      tells the first row with a purchase of a transaction on its day, by number of the line, place and channel
WITH fact_lines AS (
    SELECT ${customer}, ${at} AS day, ${place}, ${channel} AS channel,
           t_id AS transaction, id_key AS in_id, day_key AS in_day, more_key AS in_more, t_line AS line,
           CASE WHEN t_id IS NULL THEN position END AS alone, ${bought} AS is_bought, ${cents} AS cents
    FROM ${fact}
),
summed AS (
    SELECT ${customer}, day, ${place}, channel, transaction, in_id, in_day, in_more, alone,
           min(line) FILTER (is_bought)                            AS first_line,
           count(*) FILTER (is_bought)                             AS lines,
           count(*) FILTER (NOT is_bought)                         AS return_lines,
           coalesce(sum(cents) FILTER (is_bought), 0)::BIGINT      AS gross_cents,
           coalesce(sum(cents) FILTER (NOT is_bought), 0)::BIGINT  AS returned_cents,
           hash(${customer}, day, transaction, in_id, in_day, in_more) AS name
    FROM fact_lines GROUP BY ALL
),

-- Few transactions have several rows on a day: candidates are those whose hash repeats.
repeated AS (SELECT name FROM summed WHERE transaction IS NOT NULL GROUP BY name HAVING count(*) > 1),
numbered AS (
    SELECT *, lines > 0 AS is_first, 0 AS number
    FROM summed ANTI JOIN repeated USING (name) WHERE transaction IS NOT NULL
    UNION ALL
    SELECT *, lines > 0 AND row_number() OVER (
                  PARTITION BY ${customer}, day, transaction, in_id, in_day, in_more, lines > 0
                  ORDER BY first_line NULLS LAST, ${place}, channel
              ) = 1, 0
    FROM summed SEMI JOIN repeated USING (name) WHERE transaction IS NOT NULL
    UNION ALL
    SELECT *, lines > 0,
           row_number() OVER (PARTITION BY ${customer}, day, ${place}, channel ORDER BY gross_cents, returned_cents)
    FROM summed WHERE transaction IS NULL
)
SELECT ${customer}, day, ${place}, channel, transaction, in_id, in_day, in_more, number::BIGINT AS number, is_first,
       first_line, lines, return_lines, gross_cents, returned_cents
FROM numbered
ORDER BY ${customer}, day, ${place}, channel, transaction, in_id, in_day, in_more, number;
