-- Accounts by month, with the total of all months.
--
-- In:  account_months    all months of some accounts; month = its first day
--      accounts          the dimension
--      active_from       (variable) of the policy
-- Out: the last SELECT, in any order

WITH totals AS (
    SELECT account_id, sum(lines) AS lines, sum(amount_cents) AS amount_cents FROM account_months GROUP BY account_id
)
SELECT
    account_id,
    month_name(account_months.month)                    AS month,
    accounts.name,
    account_months.lines                                AS events,
    money(account_months.amount_cents)                  AS amount,
    money(totals.amount_cents)                          AS total,
    totals.lines >= getvariable('active_from')          AS active
FROM account_months JOIN totals USING (account_id) LEFT JOIN accounts USING (account_id);
