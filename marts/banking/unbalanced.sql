-- How many transactions have wrong entries, if they are too many.
WITH counts AS (
    SELECT (SELECT count(*) FROM ledger_checks) AS wrong,
        (SELECT coalesce(sum(transactions), 0) FROM report_parts)
            + (SELECT count(*) FROM ledger_checks WHERE transaction_amount IS NULL) AS transactions
)
SELECT wrong::BIGINT AS wrong, transactions::BIGINT AS transactions FROM counts
WHERE wrong * 10000::HUGEINT > transactions::HUGEINT * getvariable('max_unbalanced_ratio_ten_thousandths');
