-- The transactions that count, each with what its columns mean.
--
-- Out: booked   side: DEBIT or CREDIT, seen from the customer's account · is_done: only such rows move money
--               moment: its place in the order of its customer; a bare date counts as 00:00 · is_spent: a habit

CREATE OR REPLACE TEMP VIEW booked AS
SELECT *,
    coalesce(direction, CASE WHEN transaction_type IN ('DEPOSIT', 'CREDIT', 'REFUND', 'INTEREST')
        THEN 'CREDIT' ELSE 'DEBIT' END) AS side,
    status = 'COMPLETED' AS is_done,
    coalesce(transaction_time, transaction_time_day::TIMESTAMP) AS moment,
    status = 'COMPLETED' AND side = 'DEBIT' AND is_fraudulent IS DISTINCT FROM 'Y' AS is_spent
FROM transactions;
