SELECT * FROM processed_transactions WHERE is_high_risk ORDER BY risk_score DESC, amount DESC, transaction_id;
