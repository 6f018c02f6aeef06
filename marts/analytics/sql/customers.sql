-- One row per customer: recency, frequency and money, their segment, and what is to be expected of them.
--
-- In:  buyers           of one key range
--      purchase_scores, purchase_fit, population
--      analytics_rfm_segments     place, name, min_r, min_v: the policy's rules
--      as_of, analytics_segments, inactive_after_days, analytics_clv_margin_millionths, analytics_churn_threshold_ten_thousandths (variables)
-- Out: the last SELECT, in any order
CREATE TEMP TABLE means AS
SELECT max(least) FILTER (measure = 'mean gross') AS mean_gross, max(least) FILTER (measure = 'mean returned') AS mean_returned
FROM population;

${worth}

CREATE TEMP TABLE scored AS
SELECT worth.*, r.score AS r_score, f.score AS f_score, m.score AS m_score, c.score AS clv_tier,
       div_half_up(f.score + m.score, 2) AS v, getvariable('as_of') - newest_day AS recency_days
FROM worth
ASOF LEFT JOIN (SELECT score, least FROM population WHERE measure = 'recency') r ON newest_day - getvariable('as_of') >= r.least
ASOF LEFT JOIN (SELECT score, least FROM population WHERE measure = 'frequency') f ON purchases >= f.least
ASOF LEFT JOIN (SELECT score, least FROM population WHERE measure = 'monetary') m ON gross_cents - returned_cents >= m.least
ASOF LEFT JOIN (SELECT score, least FROM population WHERE measure = 'clv') c ON clv_cents >= c.least;

CREATE TEMP TABLE named AS
SELECT ${customer}, arg_min(name, place) AS segment
FROM scored JOIN analytics_rfm_segments ON (min_r IS NULL OR r_score >= min_r) AND (min_v IS NULL OR v >= min_v)
GROUP BY ${customer};

SELECT
    ${customer},
    buyers.first_day                                                AS first_purchase_date,
    buyers.newest_day                                               AS last_purchase_date,
    scored.recency_days,
    buyers.purchases                                                AS frequency,
    money(buyers.gross_cents - buyers.returned_cents)               AS monetary,
    r_score, f_score, m_score,
    segment                                                         AS rfm_segment,
    scored.repeat_days, scored.last_day, scored.age_days,
    money(scored.repeat_cents)                                      AS repeat_value,
    decimal4(alive)                                                 AS probability_alive,
    decimal6(expected)                                              AS expected_purchases,
    decimal6(discounted)                                            AS discounted_purchases,
    money(CASE WHEN discounted IS NOT NULL THEN expected_cents END) AS expected_value,
    money(clv_cents)                                                AS predicted_clv,
    clv_tier,
    decimal4(churn)                                                 AS churn_probability,
    CASE WHEN churn IS NULL THEN NULL
         WHEN scored.recency_days > getvariable('inactive_after_days') THEN 'inactive'
         WHEN churn >= getvariable('analytics_churn_threshold_ten_thousandths') THEN 'high'
         ELSE 'low' END                                             AS churn_risk,
    CASE WHEN buyers.first_day IS NULL THEN 'no purchase'
         WHEN alive IS NULL OR spend_status = 'ok' THEN purchase_status
         ELSE spend_status END                                      AS model_status
FROM buyers
LEFT JOIN scored USING (${customer})
LEFT JOIN named USING (${customer}) CROSS JOIN fitted;
