-- What each drop brings on each day, and which of its lines count.
--
-- In:  lines      one row per clean line of the live drops of a month; delivery = place of the drop in the order of
--                 deliveries, position = place of the line in that order; t_id is NULL where it has no id
--      marks      of identity.sql: what is to know of some lines
--      last_day   (variable) lines after it are left out (as_of)
--      $at, $control, $guest: expressions over the columns of the fact, from its pack
-- Out: drop_facts, left_out_lines (positions)

CREATE OR REPLACE TEMP TABLE line_marks AS
SELECT position, first(mark) FILTER (mark IN ('repeated', 'replaced')) AS left_out,
       bool_or(mark = 'equal') AS equal, bool_or(mark = 'conflicting') AS conflicting,
       bool_or(mark = 'overlapping') AS overlapping
FROM marks GROUP BY position;

-- What each drop brings on each day.
CREATE OR REPLACE TEMP TABLE drop_facts AS
WITH known AS (
    SELECT delivery, $at AS day, $guest AS is_guest, t_id, t_line, $control AS cents, m.left_out, m.equal,
           m.conflicting, m.overlapping, m.left_out IS NULL AND $at <= getvariable('last_day') AS counts
    FROM lines LEFT JOIN line_marks m USING (position)
)
SELECT
    delivery,
    day,
    count(*)                                                                        AS lines,
    count(*) FILTER (left_out = 'repeated')                                         AS repeated,
    count(*) FILTER (left_out = 'replaced')                                         AS replaced,
    count(*) FILTER (left_out = 'replaced' AND t_line IS NULL)                     AS replaced_unnumbered,
    coalesce(sum(cents) FILTER (left_out = 'repeated'), 0)::DECIMAL(38,0)     AS repeated_cents,
    coalesce(sum(cents) FILTER (left_out = 'replaced'), 0)::DECIMAL(38,0)     AS replaced_cents,
    coalesce(sum(cents) FILTER (left_out = 'replaced' AND t_line IS NULL), 0)::DECIMAL(38,0)
                                                                                    AS replaced_unnumbered_cents,
    count(*) FILTER (counts)                                                        AS counted,
    coalesce(sum(cents) FILTER (counts), 0)::DECIMAL(38,0)                    AS counted_cents,
    count(*) FILTER (counts AND is_guest)                                    AS guests,
    coalesce(sum(cents) FILTER (counts AND is_guest), 0)::DECIMAL(38,0) AS guest_cents,
    count(*) FILTER (t_id IS NULL)                                        AS without_transaction,
    count(*) FILTER (equal)                                                         AS equal,
    count(*) FILTER (conflicting)                                                   AS conflicting,
    count(*) FILTER (overlapping)                                                   AS overlapping
FROM known
GROUP BY delivery, day
ORDER BY delivery, day;

CREATE OR REPLACE TEMP TABLE left_out_lines AS SELECT position FROM line_marks WHERE left_out IS NOT NULL;
