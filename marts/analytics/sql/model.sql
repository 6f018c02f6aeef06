-- Figures of the models and of their backtest, and how many days were judged for anomalies.
--
-- In:  purchase_fit, backtest, unusual_days
-- Out: the last SELECT
SELECT model, figure, value FROM purchase_fit
UNION ALL SELECT model, figure, value FROM backtest WHERE bin = 0
UNION ALL SELECT 'anomalies', measure, value::VARCHAR FROM unusual_days WHERE reason = '';
