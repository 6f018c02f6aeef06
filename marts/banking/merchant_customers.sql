-- Which customers completed a transaction at which merchant on which day of one month.
SELECT DISTINCT merchant_key, customer_key, transaction_date FROM fact_transactions
WHERE merchant_key <> -2 AND status = 'COMPLETED' ORDER BY merchant_key, customer_key, transaction_date;
