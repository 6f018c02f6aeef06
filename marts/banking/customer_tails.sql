-- Transactions of the last minutes of a month, which those of the next month look back to.
SELECT customer_id, transaction_id, transaction_time, status = 'FAILED' AS is_failed
FROM transactions
WHERE transaction_time > getvariable('month')::TIMESTAMP + INTERVAL 1 MONTH
    - to_minutes(greatest(getvariable('velocity_minutes'), getvariable('failed_minutes')))
ORDER BY customer_id, transaction_id;
