-- The versions of merchants, the entities that only transactions name, and the members that are none.
SELECT version_key, merchant_id AS merchant_key, merchant_name, category, mcc, valid_from, valid_to, is_current, end_reason, covers_from,
    covers_to, last_seen, is_inferred
FROM merchants;
