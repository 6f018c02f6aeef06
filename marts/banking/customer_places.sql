-- The merchants and cities at which a customer spent in one month.
SELECT DISTINCT customer_id, place, place_id
FROM (
    SELECT customer_id, 'merchant' AS place, merchant_id AS place_id FROM booked WHERE is_spent
    UNION ALL
    SELECT customer_id, 'city', city_id FROM booked WHERE is_spent
)
WHERE place_id IS NOT NULL
ORDER BY ALL;
