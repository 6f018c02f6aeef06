-- Transactions of the last minutes of each day, which those of the next days look back to.
SELECT customer_id, transaction_id, transaction_time, status = 'FAILED' AS is_failed
FROM transactions
WHERE transaction_time > transaction_time_day::TIMESTAMP + INTERVAL 1 DAY
    - to_minutes(greatest(getvariable('velocity_minutes'), getvariable('failed_minutes')))
ORDER BY customer_id, transaction_id;
