-- What purchases at a place usually cost in the 28 days before each day that is judged.
--
-- In:  recent_purchases; as_of, analytics_anomaly_days, analytics_anomaly_min_purchases (variables)
-- Out: the last SELECT, in any order
CREATE TEMP TABLE earlier AS
SELECT judged.${place}, judged.day, recent_purchases.cents
FROM (
    SELECT DISTINCT ${place}, day FROM recent_purchases
    WHERE day > getvariable('as_of') - getvariable('analytics_anomaly_days')::INTEGER AND usual_cents IS NULL
) judged
JOIN recent_purchases ON recent_purchases.${place} = judged.${place}
    AND recent_purchases.day < judged.day AND recent_purchases.day >= judged.day - 28;

${usual_of_places}

SELECT ${place}, day, usual_cents::BIGINT AS usual_cents, spread::BIGINT AS spread FROM usual;
