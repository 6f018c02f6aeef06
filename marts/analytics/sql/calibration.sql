-- The calibration of the churn probability: customers in tenths, and how many of each did not buy.
--
-- In:  backtest
-- Out: the last SELECT
SELECT model, bin, customers, decimal4(churn) AS churn_probability, decimal4(did_not_buy) AS did_not_buy
FROM backtest WHERE bin > 0;
