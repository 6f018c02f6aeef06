-- Keys that transactions name and a dimension lacks, and those with two versions of a day, or a day without one.
SELECT 'dim_customer' AS name, id
FROM (
    SELECT DISTINCT customer_id AS id FROM customer_months ANTI JOIN dim_customer ON customer_key = customer_id
    UNION
    SELECT customer_key
    FROM (SELECT customer_key, covers_from, lag(covers_to, 1, DATE '1900-01-01') OVER w AS ended FROM dim_customer
        WINDOW w AS (PARTITION BY customer_key ORDER BY covers_from))
    WHERE covers_from <> ended
)
UNION ALL
SELECT 'dim_account' AS name, id
FROM (
    SELECT DISTINCT account_id AS id FROM used_accounts ANTI JOIN dim_account ON account_key = account_id
    UNION
    SELECT account_key
    FROM (SELECT account_key, covers_from, lag(covers_to, 1, DATE '1900-01-01') OVER w AS ended FROM dim_account
        WINDOW w AS (PARTITION BY account_key ORDER BY covers_from))
    WHERE covers_from <> ended
)
UNION ALL
SELECT 'dim_merchant' AS name, id
FROM (
    SELECT DISTINCT merchant_id AS id FROM used_merchants ANTI JOIN dim_merchant ON merchant_key = merchant_id
    UNION
    SELECT merchant_key
    FROM (SELECT merchant_key, covers_from, lag(covers_to, 1, DATE '1900-01-01') OVER w AS ended FROM dim_merchant
        WINDOW w AS (PARTITION BY merchant_key ORDER BY covers_from))
    WHERE covers_from <> ended
)
UNION ALL
SELECT 'dim_channel' AS name, id
FROM (
    SELECT DISTINCT channel_id AS id FROM used_channels ANTI JOIN dim_channel ON channel_key = channel_id
    UNION
    SELECT channel_key
    FROM (SELECT channel_key, covers_from, lag(covers_to, 1, DATE '1900-01-01') OVER w AS ended FROM dim_channel
        WINDOW w AS (PARTITION BY channel_key ORDER BY covers_from))
    WHERE covers_from <> ended
)
UNION ALL
SELECT 'dim_city' AS name, id
FROM (
    SELECT DISTINCT city_id AS id FROM used_cities ANTI JOIN dim_city ON city_key = city_id
    UNION
    SELECT city_key
    FROM (SELECT city_key, covers_from, lag(covers_to, 1, DATE '1900-01-01') OVER w AS ended FROM dim_city
        WINDOW w AS (PARTITION BY city_key ORDER BY covers_from))
    WHERE covers_from <> ended
);
