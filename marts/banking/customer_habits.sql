-- What a customer spent in one month: number, sum and sum of squares, in cents.
SELECT customer_id, count(*) AS spent_rows, sum(amount_cents)::HUGEINT::DECIMAL(38,0) AS spent_cents,
    sum(amount_cents::HUGEINT * amount_cents)::DECIMAL(38,0) AS spent_squares
FROM booked WHERE is_spent GROUP BY customer_id ORDER BY customer_id;
