-- Transactions of one month by merchant.
SELECT merchant_id, count(*) AS lines FROM transactions WHERE merchant_id IS NOT NULL GROUP BY merchant_id ORDER BY merchant_id;
