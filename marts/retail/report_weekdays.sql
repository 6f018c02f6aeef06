-- Net revenue and purchases of each weekday of the month; the division is rounded half up.
SELECT strftime(min(day), '%A'), count(*), sum(total_sales), div_half_up(sum(total_sales), count(*)), sum(purchases)
FROM (SELECT sales_date AS day, sum(total_sales) AS total_sales, sum(purchases) AS purchases FROM daily_sales GROUP BY sales_date)
GROUP BY isodow(day) ORDER BY isodow(min(day));
