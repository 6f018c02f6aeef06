-- Entries of one month by account and day.
SELECT account_key, day, sum(lines)::BIGINT AS lines, sum(debit_cents)::BIGINT AS debit_cents,
    sum(credit_cents)::BIGINT AS credit_cents
FROM account_entries GROUP BY account_key, day ORDER BY account_key, day;
