-- Customers as they were before the last months, and what they bought in these: the fewest last whole months with at
-- least churn_days days.
--
-- In:  purchases  of purchases.sql: all rows of the customers of one key range
--      as_of, the last day of a month, and analytics_churn_days (variables)
-- Out: the last SELECT: who was a customer then
CREATE TEMP TABLE held_back AS
SELECT max(month)::DATE AS first_held
FROM (SELECT date_trunc('month', getvariable('as_of')) - to_months(months::INTEGER) AS month FROM range(1200) AS past(months))
WHERE getvariable('as_of') - month::DATE + 1 >= getvariable('analytics_churn_days');

CREATE TEMP TABLE earlier_days AS
SELECT ${customer}, day, sum(gross_cents) AS gross_cents, sum(lines) > 0 AS bought, day >= first_held AS is_held
FROM purchases, held_back WHERE day <= getvariable('as_of') GROUP BY ALL;

WITH histories AS (
    SELECT ${customer}, min(day) FILTER (bought AND NOT is_held) AS first_day,
           max(day) FILTER (bought AND NOT is_held) AS newest_day,
           count(*) FILTER (bought AND NOT is_held) AS days,
           coalesce(sum(gross_cents) FILTER (NOT is_held), 0) AS gross_cents,
           count(*) FILTER (bought AND is_held) AS later_days,
           coalesce(sum(gross_cents) FILTER (is_held), 0)::BIGINT AS later_cents
    FROM earlier_days GROUP BY ${customer}
)
SELECT ${customer}, first_day, days - 1 AS repeat_days, newest_day - first_day AS last_day,
       first_held - 1 - first_day AS age_days, (gross_cents - first_cents)::BIGINT AS repeat_cents, later_days,
       later_cents, getvariable('as_of') - first_held + 1 AS held_days
FROM histories CROSS JOIN held_back
JOIN (SELECT ${customer}, day AS first_day, gross_cents AS first_cents FROM earlier_days) USING (${customer}, first_day)
WHERE first_day IS NOT NULL;
