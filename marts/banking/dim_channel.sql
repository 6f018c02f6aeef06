-- The versions of channels, the entities that only transactions name, and the members that are none.
SELECT version_key, channel_id AS channel_key, channel_name, percent(fee_percent_hundredths) AS fee_percent, valid_from, valid_to, is_current, end_reason, covers_from,
    covers_to, last_seen, is_inferred
FROM channels;
