-- CockroachDB, from its documentation; not run.
-- A statement may change each table once (sql.multiple_modifications_of_table.enabled).
WITH clock AS MATERIALIZED (
  SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us,
    current_setting('transaction_isolation') IN ('repeatable read', 'serializable') AS isolated
), locked AS MATERIALIZED (
  SELECT key,
    CASE WHEN expires_us IS NULL OR expires_us > (SELECT now_us FROM clock) THEN value END AS value,
    expires_us,
    next > first AS is_list
  FROM realmkeep_entry WHERE key = ANY (%b::text[]) ORDER BY key FOR UPDATE
), guard AS (
  SELECT * FROM unnest(%b::text[], %b::bytea[]) AS g (key, expected)
), change AS (
  SELECT * FROM unnest(%b::text[], %b::bytea[], %b::bigint[], %b::bigint[]) AS c (key, value, appended, lasts_us)
), bad AS (
  SELECT 1 FROM guard LEFT JOIN locked USING (key) WHERE locked.value IS DISTINCT FROM guard.expected OR locked.is_list
  UNION ALL
  SELECT 1 FROM change JOIN locked USING (key)
  WHERE CASE WHEN change.appended > 0 THEN locked.value IS NOT NULL ELSE locked.is_list END
), verdict AS MATERIALIZED (
  SELECT clock.isolated, clock.isolated AND NOT EXISTS (SELECT 1 FROM bad) AS good, clock.now_us FROM clock
), changed AS (
  INSERT INTO realmkeep_entry AS entry (key, value, next, expires_us)
  SELECT change.key,
    CASE WHEN change.appended < 0 THEN coalesce(locked.value, ''::bytea) || change.value ELSE change.value END,
    greatest(change.appended, 0),
    CASE WHEN change.appended >= 0 THEN verdict.now_us + change.lasts_us
      WHEN locked.value IS NOT NULL THEN locked.expires_us END
  FROM change LEFT JOIN locked USING (key) CROSS JOIN verdict
  WHERE verdict.good ORDER BY change.key
  ON CONFLICT (key) DO UPDATE
  SET value = excluded.value, expires_us = excluded.expires_us, next = entry.next + excluded.next
  RETURNING key, next
), appended AS (
  INSERT INTO realmkeep_list (key, position, value)
  SELECT added.key, changed.next - added.back, added.value
  FROM unnest(%b::text[], %b::bigint[], %b::bytea[]) AS added (key, back, value) JOIN changed USING (key)
  RETURNING 1
)
SELECT good, isolated, 'quorum' FROM verdict
