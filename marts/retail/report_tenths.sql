-- Net revenue of the best hundredth and the best tenth of the month's customers, and of all.
WITH ordered AS (
    SELECT total_sales, row_number() OVER (ORDER BY total_sales DESC, customer_id) AS place, count(*) OVER () AS every
    FROM customers
),
groups AS (
    SELECT 1 AS number, 'Best hundredth' AS name, * FROM ordered WHERE place <= (every + 99) // 100
    UNION ALL SELECT 2, 'Best tenth', * FROM ordered WHERE place <= (every + 9) // 10
    UNION ALL SELECT 3, 'All', * FROM ordered
)
SELECT name, count(*), sum(total_sales),
    CASE WHEN (SELECT sum(total_sales) FROM customers) > 0
        THEN div_half_up(sum(total_sales) * 10000, (SELECT sum(total_sales) FROM customers)) END
FROM groups GROUP BY number, name ORDER BY number;
