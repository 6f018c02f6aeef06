-- Keys that transactions name and a dimension lacks, and those with two versions of a day, or a day without one.
WITH named AS (
    SELECT 'dim_customer' AS name, customer_id AS id FROM customer_months UNION ALL
    SELECT 'dim_account' AS name, account_id AS id FROM used_accounts UNION ALL
    SELECT 'dim_merchant' AS name, merchant_id AS id FROM used_merchants UNION ALL
    SELECT 'dim_channel' AS name, channel_id AS id FROM used_channels UNION ALL
    SELECT 'dim_city' AS name, city_id AS id FROM used_cities
),
versions AS (
    SELECT 'dim_customer' AS name, customer_key AS id, covers_from, covers_to FROM dim_customer UNION ALL
    SELECT 'dim_account' AS name, account_key AS id, covers_from, covers_to FROM dim_account UNION ALL
    SELECT 'dim_merchant' AS name, merchant_key AS id, covers_from, covers_to FROM dim_merchant UNION ALL
    SELECT 'dim_channel' AS name, channel_key AS id, covers_from, covers_to FROM dim_channel UNION ALL
    SELECT 'dim_city' AS name, city_key AS id, covers_from, covers_to FROM dim_city
),
following AS (
    SELECT name, id, covers_from,
        lag(covers_to, 1, DATE '1900-01-01') OVER (PARTITION BY name, id ORDER BY covers_from) AS ended
    FROM versions
)
SELECT name, id FROM named ANTI JOIN versions USING (name, id)
UNION
SELECT name, id FROM following WHERE covers_from <> ended;
