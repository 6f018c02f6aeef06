-- Sales people of the month by store and rank.
SELECT coalesce(s.name, p.store_id::VARCHAR), sales_person_id::VARCHAR, total_sales, total_transactions, top_performance_rank,
    incentive
FROM sales_team p LEFT JOIN stores s USING (store_id)
ORDER BY store_id, top_performance_rank, sales_person_id;
