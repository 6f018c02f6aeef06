-- Customers as they were before the last months, and what they bought in these.
--
-- In:  earlier_buyers; analytics_clv_warm_up_days (variable)
-- Out: the last SELECT, in any order: the calculation fits the models, and compares
SELECT repeat_days, last_day, age_days, repeat_cents, later_days, later_cents, held_days,
       first_day >= min(first_day) OVER () + getvariable('analytics_clv_warm_up_days')::INTEGER AS is_fitted
FROM earlier_buyers;
