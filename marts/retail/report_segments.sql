-- Customers with a purchase in the month, by their segment as of the last build.
WITH own AS (
    SELECT customer_segment, strptime(sales_month, '%Y-%m')::DATE = getvariable('month') AS is_now,
        sum(customers) AS customers, sum(new_customers) AS new_customers, sum(total_sales) AS total_sales
    FROM sales_months GROUP BY ALL
)
SELECT customer_segment, coalesce(sum(customers) FILTER (is_now), 0), coalesce(sum(new_customers) FILTER (is_now), 0),
    coalesce(sum(customers - new_customers) FILTER (is_now), 0), coalesce(sum(customers) FILTER (NOT is_now), 0),
    coalesce(sum(total_sales) FILTER (is_now), 0)
FROM own GROUP BY customer_segment ORDER BY coalesce(sum(total_sales) FILTER (is_now), 0) DESC, customer_segment;
