-- The stores data mart: the stores of the current table, and those that only lines name.
--
-- In:  daily_sales  the daily sales data mart
--      stores       the dimension
-- Out: the last SELECT, in any order
SELECT store_id, coalesce(stores.name, 'Store ' || store_id) AS name, city, state, region,
       store_opening_date AS opened, stores.id IS NOT NULL AS is_known
FROM (SELECT store_id FROM daily_sales UNION SELECT id FROM stores)
LEFT JOIN stores ON stores.id = store_id;
