-- Net revenue and incentives of the month and the twelve before it.
SELECT sales_month, sum(total_sales), sum(incentive), sum(total_sales) - sum(incentive),
    CASE WHEN sum(total_sales) > 0 THEN div_half_up(sum(incentive) * 10000, sum(total_sales)) END
FROM sales_team GROUP BY sales_month ORDER BY sales_month DESC;
