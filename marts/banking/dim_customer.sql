-- The versions of customers, the entities that only transactions name, and the members that are none.
SELECT version_key, customer_id AS customer_key, full_name, email, phone, city_id, segment, status, registration_date, credit_score,
    money(monthly_income_cents) AS monthly_income, valid_from, valid_to, is_current, end_reason, covers_from,
    covers_to, last_seen, is_inferred
FROM customers;
