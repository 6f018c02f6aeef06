-- Customers and their history up to as_of.
--
-- In:  purchases  of purchases.sql: all rows of the customers of one key range
--      as_of (variable)
-- Out: the last SELECT; a customer with returns only has no days
CREATE TEMP TABLE buyer_days AS
SELECT ${customer}, day, sum(gross_cents) AS gross_cents, -sum(returned_cents) AS returned_cents, sum(lines) > 0 AS bought
FROM purchases WHERE day <= getvariable('as_of') GROUP BY ${customer}, day;

-- A transaction may have rows of several days, places and channels.
CREATE TEMP TABLE buyer_transactions AS
SELECT ${customer}, count(*) AS purchases
FROM (
    SELECT ${customer} FROM purchases WHERE day <= getvariable('as_of') AND transaction IS NULL AND lines > 0
    UNION ALL
    SELECT ${customer} FROM (
        SELECT DISTINCT ${customer}, transaction, in_id, in_day, in_more FROM purchases
        WHERE day <= getvariable('as_of') AND transaction IS NOT NULL AND lines > 0
    )
)
GROUP BY ${customer};

WITH histories AS (
    SELECT ${customer}, min(day) FILTER (bought) AS first_day, max(day) FILTER (bought) AS newest_day,
           count(*) FILTER (bought) AS days, sum(gross_cents)::BIGINT AS gross_cents,
           sum(returned_cents)::BIGINT AS returned_cents
    FROM buyer_days GROUP BY ${customer}
)
SELECT ${customer}, first_day, newest_day, days - 1 AS repeat_days, newest_day - first_day AS last_day,
       getvariable('as_of') - first_day AS age_days, coalesce(purchases, 0) AS purchases, gross_cents, returned_cents,
       CASE WHEN days > 0 THEN gross_cents - coalesce(first_cents, 0) END::BIGINT AS repeat_cents
FROM histories
LEFT JOIN buyer_transactions USING (${customer})
LEFT JOIN (SELECT ${customer}, day AS first_day, gross_cents AS first_cents FROM buyer_days) USING (${customer}, first_day);
