-- Purchases above what their customer usually spends, or else above what purchases at the place usually cost.
--
-- In:  recent_purchases, usual_purchases; analytics_events (day); as_of, analytics_anomaly_days (variables)
-- Out: the last SELECT, in any order: the calculation leaves those that are unusual
SELECT * FROM (
    SELECT ${customer}, recent_purchases.day, number, ${place}, transaction, cents,
           coalesce(recent_purchases.usual_cents, peers.usual_cents) AS usual_cents,
           CASE WHEN recent_purchases.usual_cents IS NULL THEN peers.spread ELSE recent_purchases.spread END AS spread,
           CASE WHEN recent_purchases.usual_cents IS NULL THEN 'above the ${place_word}''s purchases'
                ELSE 'above own purchases' END AS reason
    FROM recent_purchases LEFT JOIN usual_purchases AS peers USING (${place}, day)
    WHERE day > getvariable('as_of') - getvariable('analytics_anomaly_days')::INTEGER
)
WHERE usual_cents IS NOT NULL AND day NOT IN (SELECT day FROM analytics_events) AND cents::HUGEINT * 1000000 >= usual_cents::HUGEINT * spread
ORDER BY ALL;
