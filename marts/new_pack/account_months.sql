-- Events of one month by account.
--
-- In:  events    the rows that count; amounts in cents
-- Out: the last SELECT, in the order of its key; lines = events that a row stands for

SELECT account_id, count(*) AS lines, sum(amount_cents)::BIGINT AS amount_cents
FROM events GROUP BY account_id ORDER BY account_id;
