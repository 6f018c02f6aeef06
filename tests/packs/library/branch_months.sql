-- Loans of one month by branch.
SELECT branch_id, count(*) AS lines, count(returned_on) AS returned, sum(fee_cents)::BIGINT AS fee_cents,
       count(*) FILTER (returned_on - loaned_on > getvariable('late_after_days')) AS late
FROM loans GROUP BY branch_id ORDER BY branch_id;
