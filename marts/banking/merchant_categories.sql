-- The categories that hold in a month, of the merchants that its transactions name.
SELECT merchant_id, covers_from, covers_to, category, mcc
FROM merchants SEMI JOIN used_merchants USING (merchant_id)
ORDER BY merchant_id, covers_from;
