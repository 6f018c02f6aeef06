-- The versions of one dimension from its snapshots: {kind}, key {key}.
--
-- In:  {kind}, {kind}_days   variables: drops in order of day and delivery, up to as_of, and the day of each
--      {expressions}   typed columns · {bad}: whether a row breaks a rule · {compared}: columns that start a version
-- Out: {kind}_reports  good rows: the last of each entity and day · {kind}: versions

CREATE TEMP TABLE {kind}_rows AS
WITH raw AS (
    FROM ({drops})
    UNION ALL BY NAME
    SELECT NULL::VARCHAR AS {key}, {optional}, NULL::VARCHAR AS op, NULL::VARCHAR AS updated_at WHERE false
), typed AS (
    SELECT list_position(getvariable('{kind}'), drop_name) AS place, lower(op) AS op,
        TRY_CAST(updated_at AS DATE) AS updated, TRY_CAST({key} AS BIGINT) AS {key}, {expressions}, {bad} AS is_bad
    FROM raw
)
SELECT *, getvariable('{kind}_days')[place]::DATE AS day FROM typed;

CREATE TEMP TABLE {kind}_reports AS
FROM {kind}_rows WHERE NOT is_bad AND op IS DISTINCT FROM 'd'
QUALIFY row_number() OVER (PARTITION BY {key}, day ORDER BY place DESC) = 1;

-- What happens to an entity: a row of it, or a full table that lacks it (unless a bad row may be its row).
CREATE TEMP TABLE {kind}_events AS
WITH full_tables AS (
    SELECT place, min(day) AS day FROM {kind}_rows GROUP BY place
    HAVING count(op) = 0 AND count(*) FILTER (is_bad AND ({key} IS NULL OR {key} < 1)) = 0
), stays AS (
    SELECT *, lead(place) OVER (PARTITION BY {key} ORDER BY place) AS next_place
    FROM {kind}_rows WHERE NOT is_bad
), ends AS (
    SELECT s.{key}, s.place AS began, min(f.place) AS place, min(f.day) AS day
    FROM stays s JOIN full_tables f ON f.place > s.place AND f.place < coalesce(s.next_place, 2147483647)
    WHERE NOT EXISTS (FROM {kind}_rows b WHERE b.is_bad AND b.{key} = s.{key} AND b.place = f.place)
    GROUP BY s.{key}, s.place
), events AS (
    SELECT * EXCLUDE (op, is_bad, next_place), coalesce(op, 'r') <> 'd' AS is_present FROM stays
    UNION ALL BY NAME
    SELECT {key}, place, day, false AS is_present FROM ends
)
FROM events QUALIFY row_number() OVER (PARTITION BY {key}, day ORDER BY place DESC) = 1;

CREATE TEMP TABLE {kind} AS
WITH days AS (
    SELECT day, lag(day, 1, DATE '1900-01-01') OVER (ORDER BY day) AS day_before
    FROM (SELECT DISTINCT unnest(getvariable('{kind}_days'))::DATE AS day)
), compared AS (
    SELECT *, ({compared}) AS followed, lag(followed) OVER entity AS followed_before,
         lag(is_present) OVER entity AS was_present
    FROM {kind}_events WINDOW entity AS (PARTITION BY {key} ORDER BY day)
), marked AS (
    SELECT c.*, d.day_before, CASE WHEN is_present AND was_present AND updated > d.day_before AND updated <= c.day
            THEN updated ELSE c.day END AS since,
        is_present IS DISTINCT FROM coalesce(was_present, false) OR (is_present AND followed IS DISTINCT FROM followed_before) AS is_new
    FROM compared c JOIN days d USING (day)
), numbered AS (
    SELECT *, count(*) FILTER (is_new) OVER (PARTITION BY {key} ORDER BY day) AS version FROM marked
), versions AS (
    SELECT {key}, version, min(since) AS valid_from, bool_or(is_present) AS is_present, min(day) AS began_on,
        min(day_before) AS last_day_before, {last}
    FROM numbered WHERE version > 0 GROUP BY {key}, version
), ending AS (
    SELECT *, lead(valid_from) OVER entity AS next_from, lead(is_present) OVER entity AS next_present,
        lead(last_day_before) OVER entity AS next_day_before
    FROM versions WINDOW entity AS (PARTITION BY {key} ORDER BY version)
), kept AS (
    SELECT * EXCLUDE (next_from, next_present, next_day_before, is_present, version, began_on, last_day_before),
        coalesce(next_from, DATE '9999-12-31') AS valid_to,
        CASE WHEN next_from IS NULL THEN NULL WHEN next_present THEN 'CHANGED' ELSE 'DELETED' END AS end_reason,
        coalesce(next_day_before, (SELECT max(day) FROM days)) AS last_seen
    FROM ending WHERE is_present
)
SELECT ({key}::HUGEINT * 100000000 + key_of(valid_from))::DECIMAL(38,0) AS version_key, *,
    valid_from <= getvariable('as_of')::DATE AND valid_to > getvariable('as_of')::DATE AS is_current,
    CASE WHEN lag(valid_from) OVER entity IS NULL THEN DATE '1900-01-01' ELSE valid_from END AS covers_from,
    coalesce(lead(valid_from) OVER entity, DATE '9999-12-31') AS covers_to, false AS is_inferred
FROM kept WINDOW entity AS (PARTITION BY {key} ORDER BY valid_from);
