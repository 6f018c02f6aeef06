-- What purchases at a place usually cost in the 28 days before each day that is judged.
--
-- In:  recent_purchases; as_of, analytics_anomaly_days (variables)
-- Out: the last SELECT, in any order
CREATE TEMP TABLE histories AS
SELECT *, row_number() OVER (PARTITION BY ${place}, day ORDER BY cents) AS place_in, count(*) OVER (PARTITION BY ${place}, day) AS n
FROM (
    SELECT judged.${place}, judged.day, recent_purchases.cents
    FROM (
        SELECT DISTINCT ${place}, day FROM recent_purchases
        WHERE day > getvariable('as_of') - getvariable('analytics_anomaly_days')::INTEGER AND usual_cents IS NULL
    ) judged
    JOIN recent_purchases ON recent_purchases.${place} = judged.${place}
        AND recent_purchases.day < judged.day AND recent_purchases.day >= judged.day - 28
);

CREATE TEMP TABLE usual AS
SELECT ${place}, day, n, div_half_up(sum(cents), count(*)) AS usual_cents
FROM histories WHERE place_in IN ((n + 1) // 2, (n + 2) // 2) AND n >= getvariable('analytics_anomaly_min_purchases')
GROUP BY ${place}, day, n;

SELECT ${place}, day, usual_cents::BIGINT AS usual_cents, greatest(div_half_up(sum(ratio), count(*)), 1250000)::BIGINT AS spread
FROM (
    SELECT ${place}, day, usual_cents, ratio, row_number() OVER (PARTITION BY ${place}, day ORDER BY ratio) AS place_in, n
    FROM (
        SELECT ${place}, day, n, usual_cents, CASE WHEN above >= 1000000 THEN above
                                              ELSE div_half_up(usual_cents * 1000000, cents) END AS ratio
        FROM (SELECT *, div_half_up(cents * 1000000, usual_cents) AS above FROM histories JOIN usual USING (${place}, day, n))
    )
)
WHERE place_in IN ((n + 1) // 2, (n + 2) // 2)
GROUP BY ${place}, day, usual_cents;
