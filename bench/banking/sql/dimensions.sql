-- The published dimension {table}: versions, ids that only facts name, and members that stand for none.
COPY (
    WITH unseen AS (
        SELECT id, 'UNKNOWN' AS word, true AS is_inferred
        FROM (SELECT DISTINCT id FROM ({used}) used(id) WHERE id IS NOT NULL) ANTI JOIN {kind} ON {key} = id
        UNION ALL
        (SELECT unnest([-1, -2]), unnest(['UNKNOWN', 'NOT APPLICABLE']), false LIMIT {members})
    )
    SELECT version_key, {key} AS {durable}, {published}, valid_from, valid_to, is_current, end_reason, covers_from,
        covers_to, last_seen, is_inferred
    FROM {kind}
    UNION ALL BY NAME
    SELECT CASE WHEN id < 0 THEN id ELSE id::HUGEINT * 100000000 + 19000101 END::DECIMAL(38,0) AS version_key,
        id AS {durable}, {worded}, DATE '1900-01-01' AS valid_from, DATE '9999-12-31' AS valid_to, true AS is_current,
        DATE '1900-01-01' AS covers_from, DATE '9999-12-31' AS covers_to, is_inferred
    FROM unseen
) TO '{folder}/part.parquet' (FORMAT parquet, COMPRESSION zstd);
