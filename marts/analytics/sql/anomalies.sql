-- What is unusual in the last days: of the company, of places, of sellers and of purchases.
--
-- In:  unusual_days, unusual_purchases
-- Out: the last SELECT, in any order
SELECT entity, entity_id, place AS ${place}, day, measure, 1 AS number,
       money(value) AS value, money(expected) AS expected, money(lower_limit) AS lower, money(upper_limit) AS upper,
       rate(score) AS score, reason, NULL AS ${customer}, NULL::VARCHAR AS transaction_id
FROM unusual_days WHERE reason <> ''
UNION ALL
SELECT 'purchase', ${customer}, ${place}, day, '${measure}',
       row_number() OVER (PARTITION BY ${customer}, day ORDER BY cents DESC, transaction, number),
       money(cents), money(usual_cents), NULL, money(upper_limit), rate(score), reason, ${customer}, transaction
FROM unusual_purchases;
