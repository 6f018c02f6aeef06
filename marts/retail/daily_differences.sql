-- What differs between the daily sales data mart and the other marts: nothing, or the build stops.
--
-- In:  daily_sales        the daily sales data mart
--      sales_team_months  lines and sums of each month, which the sales team data mart adds up
--      customers          customer_id, purchase_frequency of the customers mart
-- Out: the last SELECT
WITH daily AS (
    SELECT month_name(date_trunc('month', sales_date)::DATE) AS period, sum(total_sales) AS total_sales,
           sum(sale_lines + return_lines) AS lines
    FROM daily_sales GROUP BY ALL
),
monthly AS (
    SELECT month_name(month) AS period, money(sum(total_cents)::HUGEINT) AS total_sales, sum(lines) AS lines
    FROM sales_team_months GROUP BY ALL
),
compared AS (
    SELECT 'total_sales' AS what, coalesce(daily.period, monthly.period) AS period, daily.total_sales AS daily, monthly.total_sales AS others
    FROM daily FULL JOIN monthly ON daily.period = monthly.period
    UNION ALL
    SELECT 'lines', coalesce(daily.period, monthly.period), daily.lines, monthly.lines
    FROM daily FULL JOIN monthly ON daily.period = monthly.period
    UNION ALL
    SELECT 'purchases', 'all months',
           (SELECT sum(purchases) FROM daily_sales WHERE customer_segment <> 'Guest'),
           (SELECT sum(bought) FROM (SELECT any_value(purchase_frequency) AS bought FROM customers GROUP BY customer_id))
)
SELECT what, period, coalesce(daily, 0)::VARCHAR AS daily, coalesce(others, 0)::VARCHAR AS others
FROM compared WHERE coalesce(daily, 0) <> coalesce(others, 0);
