-- Customers with purchases, counted by their history.
--
-- In:  buyers; analytics_clv_warm_up_days (variable): who came in the first days of the data is left out of the fit
-- Out: the last SELECT, in any order: the calculation fits the models
SELECT repeat_days, last_day, age_days, repeat_cents,
       first_day >= min(first_day) OVER () + getvariable('analytics_clv_warm_up_days')::INTEGER AS is_fitted
FROM buyers WHERE first_day IS NOT NULL;
