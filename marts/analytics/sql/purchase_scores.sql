-- The different histories of customers, with the model that they are scored by.
--
-- In:  buyers, purchase_fit
-- Out: the last SELECT, in any order: the calculation scores each history; none if there is no model
SELECT DISTINCT repeat_days, last_day, age_days, model, r, alpha, a, b
FROM buyers, (
    SELECT model, max(value) FILTER (figure = 'r') AS r, max(value) FILTER (figure = 'alpha') AS alpha,
           max(value) FILTER (figure = 'a') AS a, max(value) FILTER (figure = 'b') AS b
    FROM purchase_fit WHERE model <> 'gamma_gamma' GROUP BY model
)
WHERE first_day IS NOT NULL AND r IS NOT NULL;
