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

${usual_of_customers}

SELECT ${customer}, (row_number() OVER (PARTITION BY ${customer}
           ORDER BY day, cents DESC, transaction, ${place}, in_id, in_day, in_more, number))::BIGINT AS number,
       day, ${place}, transaction, cents::BIGINT AS cents, usual_cents::BIGINT AS usual_cents, spread::BIGINT AS spread
FROM bought LEFT JOIN usual USING (${customer}, day)
WHERE day > getvariable('as_of') - getvariable('analytics_anomaly_days')::INTEGER - 28;
