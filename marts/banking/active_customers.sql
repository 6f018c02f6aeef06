-- Customers with a completed transaction in one month, of some customers.
SELECT 'active' AS figure, count(*) AS customers FROM customer_months WHERE completed_count > 0 GROUP BY ALL;
