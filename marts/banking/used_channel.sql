-- Transactions of one month by channel.
SELECT channel_id, count(*) AS lines FROM transactions WHERE channel_id IS NOT NULL GROUP BY channel_id ORDER BY channel_id;
