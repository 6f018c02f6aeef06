-- The versions of cities, the entities that only transactions name, and the members that are none.
SELECT version_key, city_id AS city_key, city_name, state, region, valid_from, valid_to, is_current, end_reason, covers_from,
    covers_to, last_seen, is_inferred
FROM cities;
