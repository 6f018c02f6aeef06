-- Loans of each branch by month.
SELECT branch_id, month_name(month) AS month, sum(lines)::BIGINT AS loans, money(sum(fee_cents)) AS fees,
       rate(div_half_up(sum(returned) * 10000, sum(lines))) AS returned, sum(late)::BIGINT AS late,
       money(div_half_up(sum(fee_cents)::HUGEINT * getvariable('surcharge_ten_thousandths'), 10000)) AS surcharge
FROM branch_months GROUP BY branch_id, month;
