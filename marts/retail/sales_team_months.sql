-- Purchases of one month by store and sales person. A basket that two persons share counts once for each of them.
--
-- In:  baskets    of baskets.sql
-- Out: the last SELECT, in the order of its key

SELECT
    store_id, sales_person_id,
    sum(lines)::BIGINT              AS lines,
    sum(total_cents)::BIGINT       AS total_cents,
    count(bought_cents)             AS purchases,
    max(bought_cents)::BIGINT      AS largest_cents
FROM baskets GROUP BY store_id, sales_person_id ORDER BY store_id, sales_person_id;
