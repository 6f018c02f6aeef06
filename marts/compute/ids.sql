-- Ids of transactions that are live under several customers, stores or months.
--
-- In:  seen  transaction_id, customer_id, store_id, month, lines, total_cents: each combination once or more
-- Out: shared_ids

CREATE TEMP TABLE shared_ids AS
SELECT
    transaction_id,
    count(DISTINCT customer_id)     AS customers,
    count(DISTINCT store_id)        AS stores,
    count(DISTINCT month)           AS months,
    min(month)                      AS first_month,
    max(month)                      AS last_month,
    sum(lines)::BIGINT              AS lines,
    money(sum(total_cents))         AS total_cost
FROM seen GROUP BY transaction_id
HAVING count(DISTINCT customer_id) > 1 OR count(DISTINCT store_id) > 1 OR count(DISTINCT month) > 1
ORDER BY total_cost DESC, transaction_id;
