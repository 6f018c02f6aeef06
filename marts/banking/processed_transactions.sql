SELECT f.*, c.full_name AS customer_name, c.segment AS customer_segment, a.account_type, m.merchant_name,
    h.channel_name, i.city_name, i.region
FROM fact_transactions f
LEFT JOIN dim_customer c ON c.customer_key = f.customer_key
    AND f.transaction_date >= c.covers_from AND f.transaction_date < c.covers_to
LEFT JOIN dim_account a ON a.account_key = f.account_key
    AND f.transaction_date >= a.covers_from AND f.transaction_date < a.covers_to
LEFT JOIN dim_merchant m ON m.merchant_key = f.merchant_key
    AND f.transaction_date >= m.covers_from AND f.transaction_date < m.covers_to
LEFT JOIN dim_channel h ON h.channel_key = f.channel_key
    AND f.transaction_date >= h.covers_from AND f.transaction_date < h.covers_to
LEFT JOIN dim_city i ON i.city_key = f.city_key
    AND f.transaction_date >= i.covers_from AND f.transaction_date < i.covers_to;
