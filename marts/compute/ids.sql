-- Ids of transactions that are live under several owners or months.
--
-- In:  seen  t_id, the columns $owners, month, lines, cents: each combination once or more
-- Out: shared_ids

CREATE TEMP TABLE shared_ids AS
SELECT
    t_id,
    $counts,
    count(DISTINCT month)           AS months,
    min(month)                      AS first_month,
    max(month)                      AS last_month,
    sum(lines)::BIGINT              AS lines,
    money(sum(cents))               AS total
FROM seen GROUP BY t_id
HAVING greatest($counted, count(DISTINCT month)) > 1
ORDER BY total DESC, t_id;
