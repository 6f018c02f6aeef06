-- Purchases of which the calculation takes what those at a place usually cost in the 28 days before a day that is judged.
--
-- In:  recent_purchases; as_of, analytics_anomaly_days (variables)
-- Out: the last SELECT, in any order; is_judged: a customer of that day has too few purchases to be compared with
SELECT ${place}, day, cents,
       day > getvariable('as_of') - getvariable('analytics_anomaly_days')::INTEGER AND usual_cents IS NULL AS is_judged
FROM recent_purchases;
