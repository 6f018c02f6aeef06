-- Identity: which lines of a month count, and which were delivered before (docs/data.md, Identity).
--
-- In:  suspects   lines that may be delivered twice, with all their columns; delivery = place of the drop in the order
--                 of deliveries, position = place of the line in that order. A line is part of a transaction if it has
--                 an id: (t_shard, id_key, day_key, more_key, t_id) names it, t_line is its number.
--      $bought, $item, $columns: expressions over the columns of the fact, from its pack
--      redelivered  (variable) 'line', 'transaction' or 'add'
--      equal_lines  (variable) 'keep' or 'drop'
-- Out: marks      what is to know of a line: position, and some of
--                   repeated     it does not count: an equal line of the same transaction does
--                   replaced     it does not count: a later line of the same transaction, or of its number, does
--                   equal        it counts beside an equal line of the same drop
--                   conflicting  replaced by a line of the same drop that has the same number
--                   overlapping  it begins a part of a transaction that counts beside a part of an earlier delivery
--      shared_lines  delivery, other (a later one), lines: equal lines without an id, each as often as both have it

CREATE OR REPLACE TEMP TABLE candidates AS
SELECT
    position, delivery, t_line AS line_no, t_id IS NOT NULL AS has_id,
    $bought AS t_bought,
    $item || CASE WHEN t_bought THEN '+' ELSE '-' END                               AS item,
    dense_rank() OVER (ORDER BY t_shard, id_key, day_key, more_key, t_id)           AS basket,
    dense_rank() OVER (ORDER BY $columns)                                           AS content
FROM suspects;

CREATE OR REPLACE TEMP TABLE basket_lines AS
SELECT *,
    row_number() OVER (PARTITION BY delivery, basket, content ORDER BY position)    AS nth,
    max(delivery) OVER (PARTITION BY basket)                                        AS last_delivery,
    -- With line_no, a line is (transaction, line_no): the last one counts.
    line_no IS NOT NULL AND position < max(position) OVER (PARTITION BY delivery, basket, line_no) AS numbered_again,
    line_no IS NOT NULL AND position < max(position) OVER (PARTITION BY basket, line_no)    AS numbered_later
FROM candidates WHERE has_id;

-- Without line_no: the lines that a delivery has of a transaction, as a set of (product, sold or returned).
CREATE OR REPLACE TEMP TABLE parts AS
SELECT basket, delivery, list_sort(list(DISTINCT item)) AS items, bool_or(t_bought) AS sells
FROM candidates WHERE has_id AND line_no IS NULL GROUP BY basket, delivery;

-- A part corrects an earlier one if it has all of its items, and is no mere return. Of equal parts, the last is enough.
CREATE OR REPLACE TEMP TABLE corrected AS
WITH latest AS (SELECT basket, items, sells, max(delivery) AS delivery FROM parts GROUP BY basket, items, sells)
SELECT DISTINCT parts.basket, parts.delivery
FROM parts JOIN latest ON latest.basket = parts.basket AND latest.delivery > parts.delivery
WHERE latest.sells AND list_has_all(latest.items, parts.items);

CREATE OR REPLACE TEMP TABLE dropped AS
SELECT basket_lines.* FROM basket_lines LEFT JOIN corrected USING (basket, delivery)
WHERE numbered_again
   OR (line_no IS NULL AND nth > 1 AND getvariable('equal_lines') = 'drop')
   OR (line_no IS NOT NULL AND numbered_later AND getvariable('redelivered') <> 'add')
   OR (line_no IS NULL AND corrected.delivery IS NOT NULL AND getvariable('redelivered') = 'line')
   OR (delivery < last_delivery AND getvariable('redelivered') = 'transaction');

CREATE OR REPLACE TEMP TABLE counting AS SELECT * FROM basket_lines ANTI JOIN dropped USING (position);

-- Repeated is what equals a line that counts, each as often as it is there; with a line_no, or where equal lines are
-- one, once is enough.
CREATE OR REPLACE TEMP TABLE settled AS
WITH kept AS (SELECT basket, content, count(*) AS lines FROM counting GROUP BY basket, content)
SELECT position, numbered_again,
    kept.lines IS NOT NULL AND (line_no IS NOT NULL OR getvariable('equal_lines') = 'drop' OR nth <= kept.lines)
        AS equal_counts
FROM dropped LEFT JOIN kept USING (basket, content);

CREATE OR REPLACE TEMP TABLE marks AS
WITH begun AS (
    -- Lines with and without line_no settle apart: a part with numbers may hold the lines of one without.
    SELECT basket, delivery, coalesce(min(position) FILTER (line_no IS NULL), min(position)) AS position,
           bool_or(line_no IS NULL) AS unnumbered, min(delivery) OVER (PARTITION BY basket) AS first_delivery,
           min(min(delivery) FILTER (line_no IS NULL)) OVER (PARTITION BY basket) AS first_unnumbered
    FROM counting GROUP BY basket, delivery
)
SELECT position, CASE WHEN equal_counts THEN 'repeated' ELSE 'replaced' END AS mark FROM settled
UNION ALL SELECT position, 'conflicting' FROM settled WHERE numbered_again AND NOT equal_counts
UNION ALL SELECT position, 'equal' FROM counting WHERE line_no IS NULL AND nth > 1
UNION ALL SELECT position, 'overlapping' FROM begun
    WHERE delivery > (CASE WHEN unnumbered THEN first_delivery ELSE first_unnumbered END)
      AND getvariable('redelivered') = 'line';

CREATE OR REPLACE TEMP TABLE shared_lines AS
WITH often AS (SELECT content, delivery, count(*) AS lines FROM candidates WHERE NOT has_id GROUP BY content, delivery)
SELECT a.delivery, b.delivery AS other, sum(least(a.lines, b.lines))::BIGINT AS lines
FROM often a JOIN often b ON a.content = b.content AND a.delivery < b.delivery
GROUP BY a.delivery, b.delivery ORDER BY a.delivery, b.delivery;
