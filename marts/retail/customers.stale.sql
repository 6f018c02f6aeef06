-- The customers that are inactive on exactly one of two days.
--
-- In:  customer_months  customer_id, last_bought
--      as_of, previous_as_of, inactive_after_days (variables)
-- Out: customer_id; more than needed do no harm

SELECT DISTINCT customer_id FROM customer_months
WHERE (getvariable('as_of') - last_bought > getvariable('inactive_after_days'))
   <> (getvariable('previous_as_of') - last_bought > getvariable('inactive_after_days'));
