-- Customers, those who will probably not come back, and the value to come, by RFM segment.
SELECT coalesce(rfm_segment, 'Only returns'), count(*), count(*) FILTER (churn_risk = 'high'), coalesce(sum(predicted_clv), 0),
    coalesce(sum(predicted_clv) FILTER (churn_risk = 'high'), 0)
FROM customer_analytics GROUP BY 1 ORDER BY 4 DESC, 1;
