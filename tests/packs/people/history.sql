-- The versions of employees.
--
-- In:  employees    their history, and the unknown employee
-- Out: the last SELECT, in any order

SELECT version_key, employee_id, name, department, title, money(salary_cents) AS salary, valid_from, valid_to,
    is_current, end_reason, covers_from, covers_to, last_seen
FROM employees;
