CREATE TEMP TABLE fitted AS
SELECT
    max(value) FILTER (figure = 'status' AND model <> 'gamma_gamma')                          AS purchase_status,
    max(value) FILTER (figure = 'status' AND model = 'gamma_gamma')                           AS spend_status,
    (max(value) FILTER (figure = 'p')::DECIMAL(18,6) * 1000000)::HUGEINT                     AS p,
    (max(value) FILTER (figure = 'q')::DECIMAL(18,6) * 1000000)::HUGEINT                     AS q,
    (max(value) FILTER (figure = 'gamma_cents')::DECIMAL(18,2) * 100)::HUGEINT               AS g
FROM purchase_fit;

-- Money of a purchase day to come: that of the model, less what is brought back, times the margin. Who is new returns
-- like everybody.
CREATE TEMP TABLE worth AS
WITH days AS (
    SELECT buyers.*, alive, expected, discounted, churn,
           CASE WHEN spend_status = 'ok' THEN
               div_half_up(p * (g + 100 * repeat_cents), 100 * (p * repeat_days + q - 1000000)) END AS day_cents,
           greatest(gross_cents - returned_cents + mean_gross - mean_returned, 0)                 AS kept_cents,
           gross_cents + mean_gross                                                                AS all_cents
    FROM buyers CROSS JOIN fitted CROSS JOIN means
    LEFT JOIN purchase_scores USING (repeat_days, last_day, age_days)
    WHERE first_day IS NOT NULL
),
valued AS (
    SELECT * EXCLUDE (day_cents, kept_cents, all_cents),
           CASE WHEN all_cents <= 0 THEN 0
                ELSE div_half_up(day_cents * least(kept_cents, all_cents) * getvariable('analytics_clv_margin_millionths'),
                                 all_cents::HUGEINT * 1000000) END AS expected_cents
    FROM days
)
SELECT *, div_half_up(discounted * expected_cents, 1000000) AS clv_cents FROM valued;
