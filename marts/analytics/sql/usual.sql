-- What purchases before a day usually cost: their median, and the factor within which half of them are, in millionths.
-- The median of whole numbers is the middle one; of two their mean, half up.
--
-- In:  earlier  ${of}, day, cents of the purchases before that day
-- Out: usual  ${of}, day, usual_cents, spread; no row with too few of them
CREATE TEMP TABLE histories AS
SELECT *, row_number() OVER (PARTITION BY ${of}, day ORDER BY cents) AS place_in, count(*) OVER (PARTITION BY ${of}, day) AS n
FROM earlier;

CREATE TEMP TABLE medians AS
SELECT ${of}, day, n, div_half_up(sum(cents), count(*)) AS usual_cents
FROM histories WHERE place_in IN ((n + 1) // 2, (n + 2) // 2) AND n >= ${least}
GROUP BY ${of}, day, n;

CREATE TEMP TABLE usual AS
SELECT ${of}, day, usual_cents, greatest(div_half_up(sum(ratio), count(*)), 1250000) AS spread
FROM (
    SELECT *, row_number() OVER (PARTITION BY ${of}, day ORDER BY ratio) AS place_in
    FROM (
        SELECT ${of}, day, n, usual_cents,
               CASE WHEN above >= 1000000 THEN above ELSE div_half_up(usual_cents * 1000000, cents) END AS ratio
        FROM (SELECT *, div_half_up(cents * 1000000, usual_cents) AS above FROM histories JOIN medians USING (${of}, day, n))
    )
)
WHERE place_in IN ((n + 1) // 2, (n + 2) // 2)
GROUP BY ${of}, day, usual_cents;
