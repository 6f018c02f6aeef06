-- Transactions of one month by city.
SELECT city_id, count(*) AS lines FROM transactions WHERE city_id IS NOT NULL GROUP BY city_id ORDER BY city_id;
