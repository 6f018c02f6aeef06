-- Purchases of the days that are judged and of the 28 before, each with what its customer usually spent in the year before.
--
-- In:  purchases  of the last months, of the customers of one key range
--      as_of, analytics_anomaly_days (variables)
-- Out: the last SELECT, in any order
CREATE TEMP TABLE bought AS
SELECT ${customer}, transaction, min(day) AS day, min(${place}) AS ${place}, sum(gross_cents) AS cents,
       min(in_id) AS in_id, min(in_day) AS in_day, min(in_more) AS in_more, min(number) AS number
FROM (SELECT * FROM purchases WHERE lines > 0 AND transaction IS NOT NULL)
GROUP BY ${customer}, transaction, in_id, in_day, in_more
HAVING sum(gross_cents) > 0
UNION ALL
SELECT ${customer}, NULL, day, ${place}, gross_cents, NULL, NULL, NULL, number
FROM purchases WHERE lines > 0 AND transaction IS NULL AND gross_cents > 0;

CREATE TEMP TABLE judged_days AS
SELECT DISTINCT ${customer}, day FROM bought WHERE day > getvariable('as_of') - getvariable('analytics_anomaly_days')::INTEGER;

CREATE TEMP TABLE earlier AS
SELECT judged_days.${customer}, judged_days.day, bought.cents
FROM judged_days JOIN bought ON bought.${customer} = judged_days.${customer}
    AND bought.day < judged_days.day AND bought.day >= judged_days.day - 365;

-- The median of the purchases before a day, if they are 8 or more, and the factor within which half of them are, in
-- millionths. The median of whole numbers is the middle one; of two their mean, half up.
CREATE TEMP TABLE histories AS
SELECT *, row_number() OVER (PARTITION BY ${customer}, day ORDER BY cents) AS place_in, count(*) OVER (PARTITION BY ${customer}, day) AS n
FROM earlier;

CREATE TEMP TABLE medians AS
SELECT ${customer}, day, n, div_half_up(sum(cents), count(*)) AS usual_cents
FROM histories WHERE place_in IN ((n + 1) // 2, (n + 2) // 2) AND n >= 8
GROUP BY ${customer}, day, n;

CREATE TEMP TABLE usual AS
SELECT ${customer}, day, usual_cents, greatest(div_half_up(sum(ratio), count(*)), 1250000) AS spread
FROM (
    SELECT *, row_number() OVER (PARTITION BY ${customer}, day ORDER BY ratio) AS place_in
    FROM (
        SELECT ${customer}, day, n, usual_cents,
               CASE WHEN above >= 1000000 THEN above ELSE div_half_up(usual_cents * 1000000, cents) END AS ratio
        FROM (SELECT *, div_half_up(cents * 1000000, usual_cents) AS above FROM histories JOIN medians USING (${customer}, day, n))
    )
)
WHERE place_in IN ((n + 1) // 2, (n + 2) // 2)
GROUP BY ${customer}, day, usual_cents;

SELECT ${customer}, (row_number() OVER (PARTITION BY ${customer}
           ORDER BY day, cents DESC, transaction, ${place}, in_id, in_day, in_more, number))::BIGINT AS number,
       day, ${place}, transaction, cents::BIGINT AS cents, usual_cents::BIGINT AS usual_cents, spread::BIGINT AS spread
FROM bought LEFT JOIN usual USING (${customer}, day)
WHERE day > getvariable('as_of') - getvariable('analytics_anomaly_days')::INTEGER - 28;
