-- The sales team data mart: one row per store, sales person and month with any line.
--
-- In:  sales_team_months  month (first day), store_id, sales_person_id, lines, total_cents, purchases, largest_cents;
--                         the parts of a month are added here
--      sales_team         the dimension
--      incentive_rate_millionths (of total_sales), incentive_ties (variables)
-- Out: the last SELECT

CREATE TEMP TABLE months AS
SELECT
    store_id, sales_person_id, month,
    sum(lines)::BIGINT          AS lines,
    sum(total_cents)::HUGEINT   AS total_cents,
    sum(purchases)::BIGINT      AS purchases,
    max(largest_cents)          AS largest_cents
FROM sales_team_months GROUP BY store_id, sales_person_id, month;

CREATE TEMP TABLE people AS
SELECT
    sales_person_id,
    sum(total_cents)::HUGEINT   AS all_cents,
    count(DISTINCT month)       AS all_months,
    min(month)                  AS first_month,
    max(month)                  AS last_month
FROM months GROUP BY sales_person_id;

CREATE TEMP TABLE ranked AS
SELECT *,
    dense_rank() OVER (PARTITION BY store_id, month ORDER BY total_cents DESC)      AS place,
    count(*) OVER (PARTITION BY store_id, month, total_cents)                       AS tied,
    sum(total_cents) OVER (PARTITION BY store_id, month)                            AS store_cents,
    sum(total_cents) OVER (PARTITION BY store_id, sales_person_id, year(month) ORDER BY month) AS year_cents,
    -- The calendar month before: NULL in the person's first month at this store, 0 for a month without lines.
    CASE lag(month) OVER person
        WHEN month - INTERVAL 1 MONTH THEN lag(total_cents) OVER person
        ELSE CASE WHEN lag(month) OVER person IS NOT NULL THEN 0 END
    END                                                                             AS before_cents
FROM months
WINDOW person AS (PARTITION BY store_id, sales_person_id ORDER BY month);

SELECT
    store_id,
    sales_person_id,
    CASE WHEN sales_team.id IS NULL THEN 'UNKNOWN' ELSE concat_ws(' ', first_name, last_name) END AS full_name,
    month_name(month)                                                                   AS sales_month,
    money(total_cents)                                                                  AS total_sales,
    money(div_half_up(all_cents, all_months))                                           AS avg_sales_per_month,
    place                                                                               AS top_performance_rank,
    CASE WHEN place = 1 AND total_cents > 0
         THEN money(div_half_up(total_cents * getvariable('incentive_rate_millionths'),
                                1000000 * CASE WHEN getvariable('incentive_ties') = 'split' THEN tied ELSE 1 END))
         ELSE money(0) END                                                              AS incentive,
    money(total_cents - before_cents)                                                   AS month_over_month_variance,
    CASE WHEN before_cents > 0
         THEN rate(div_half_up((total_cents - before_cents) * 10000, before_cents)) END AS sales_growth_rate,
    money(year_cents)                                                                   AS year_to_date_sales,
    month_name(first_month)                                                             AS first_sale_month,
    month_name(last_month)                                                              AS last_sale_month,
    purchases                                                                           AS total_transactions,
    CASE WHEN purchases > 0 THEN money(div_half_up(total_cents, purchases)) END         AS avg_transaction_value,
    money(largest_cents)                                                                AS max_single_transaction,
    CASE WHEN store_cents > 0 THEN rate(div_half_up(total_cents * 10000, store_cents)) END
                                                                                        AS sales_contribution_percentage
FROM ranked
JOIN people USING (sales_person_id)
LEFT JOIN sales_team ON sales_team.id = sales_person_id
ORDER BY store_id, sales_person_id, month;
