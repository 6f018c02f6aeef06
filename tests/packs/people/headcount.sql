-- Employees of each department at the end of each month up to as_of.
--
-- In:  employees    their history, and the unknown employee
--      as_of        (variable)
-- Out: the last SELECT, in any order

WITH people AS (FROM employees WHERE employee_id <> -1),
months AS (
    SELECT unnest(generate_series(
        (SELECT date_trunc('month', min(valid_from)) FROM people), getvariable('as_of')::TIMESTAMP, INTERVAL 1 MONTH
    ))::DATE AS first_day
),
ends AS (SELECT first_day, least(last_day(first_day), getvariable('as_of')) AS day FROM months),
firsts AS (
    SELECT department, date_trunc('month', min(valid_from))::DATE AS first_day
    FROM people GROUP BY employee_id, department
),
joined AS (SELECT department, first_day, count(*) AS joined FROM firsts GROUP BY ALL)
SELECT month_name(ends.first_day) AS month, people.department, count(*) AS employees,
    coalesce(any_value(joined.joined), 0) AS joined
FROM ends
JOIN people ON ends.day >= people.valid_from AND ends.day < people.valid_to
LEFT JOIN joined ON joined.first_day = ends.first_day AND joined.department = people.department
GROUP BY ends.first_day, people.department;
