-- What sellers took in on the days that are judged and on those that they are compared with, and in the last 28 days.
--
-- In:  seller_days, of all months; analytics_events (day): without a place here; as_of, analytics_anomaly_days, analytics_anomaly_weeks (variables)
-- Out: the last SELECT, in any order: the calculation judges the days
WITH days AS (
    SELECT ${place} AS place, ${seller} AS seller, day, sum(cents)::BIGINT AS cents, sum(gross_cents)::BIGINT AS gross_cents,
           -sum(returned_cents)::BIGINT AS returned_cents, sum(return_lines)::BIGINT AS return_lines
    FROM seller_days GROUP BY ALL
)
SELECT place, seller, '${place_word}' AS place_word, '${seller_word}' AS seller_word, '${measure}' AS measure, (day - getvariable('as_of'))::BIGINT AS day, cents, gross_cents, returned_cents, return_lines,
       (min(day) OVER (PARTITION BY place) - getvariable('as_of'))::BIGINT AS first_day
FROM days
QUALIFY day > getvariable('as_of') - getvariable('analytics_anomaly_days')::INTEGER - 7 * getvariable('analytics_anomaly_weeks')::INTEGER
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, (day - getvariable('as_of'))::BIGINT, 0, 0, 0, 0, 0 FROM analytics_events;
