-- Loans of each branch by month.
SELECT branch_id, month_name(month) AS month, sum(lines)::BIGINT AS loans, money(sum(fee_cents)) AS fees,
       rate(div_half_up(sum(returned) * 10000, sum(lines))) AS returned
FROM branch_months GROUP BY branch_id, month;
