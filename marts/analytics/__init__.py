"""Models of customers and of sales: purchases to come, churn, anomalies. No word of a pack."""
