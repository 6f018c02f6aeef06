-- The segments that hold in a month, of the customers who have transactions in it.
SELECT customer_id, covers_from, covers_to, segment
FROM customers SEMI JOIN customer_months USING (customer_id)
ORDER BY customer_id, covers_from;
