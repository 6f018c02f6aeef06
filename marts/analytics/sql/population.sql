-- Values of all customers that those of one are compared with: the least of each score, and means.
--
-- In:  buyers, purchase_scores, purchase_fit; analytics_segments, analytics_clv_margin_millionths (variables)
-- Out: the last SELECT; score is 0 for means
CREATE TEMP TABLE means AS
SELECT coalesce(div_half_up(sum(gross_cents), nullif(count(first_day), 0)), 0)    AS mean_gross,
       coalesce(div_half_up(sum(returned_cents), nullif(count(first_day), 0)), 0) AS mean_returned
FROM buyers;

${worth}

-- 1 + floor(k (2 below + same) / 2 n): who has just as much has the same score.
WITH measured AS (
    SELECT 'recency' AS measure, newest_day - getvariable('as_of') AS value FROM worth
    UNION ALL SELECT 'frequency', purchases FROM worth
    UNION ALL SELECT 'monetary', gross_cents - returned_cents FROM worth
    UNION ALL SELECT 'clv', clv_cents FROM worth WHERE clv_cents IS NOT NULL
),
counted AS (SELECT measure, value, count(*) AS same FROM measured GROUP BY ALL),
placed AS (
    SELECT *, sum(same) OVER upto - same AS below, sum(same) OVER (PARTITION BY measure) AS n
    FROM counted WINDOW upto AS (PARTITION BY measure ORDER BY value)
)
SELECT measure, (1 + getvariable('analytics_segments') * (2 * below + same) // (2 * n))::BIGINT AS score, min(value)::BIGINT AS least
FROM placed GROUP BY ALL
UNION ALL SELECT 'mean gross', 0, mean_gross::BIGINT FROM means
UNION ALL SELECT 'mean returned', 0, mean_returned::BIGINT FROM means;
