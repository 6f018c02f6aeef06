-- What each seller took in at a place on a day.
--
-- In:  ${fact}  the rows that count, up to as_of
-- Out: the last SELECT
SELECT ${place}, ${seller}, ${at} AS day,
       sum(${cents})::BIGINT                                             AS cents,
       coalesce(sum(${cents}) FILTER (${bought}), 0)::BIGINT             AS gross_cents,
       coalesce(sum(${cents}) FILTER (NOT ${bought}), 0)::BIGINT         AS returned_cents,
       count(*) FILTER (NOT ${bought})                                   AS return_lines
FROM ${fact} GROUP BY ALL
ORDER BY ${place}, ${seller}, day;
