-- The fees that hold in a month, of the channels that its transactions name.
SELECT channel_id, covers_from, covers_to, fee_percent_hundredths
FROM channels SEMI JOIN used_channels USING (channel_id)
ORDER BY channel_id, covers_from;
