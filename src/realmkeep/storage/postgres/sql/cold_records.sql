-- Rows of every other record; as `cold_players`.
INSERT INTO records AS p
  (key, kind, id, version, data, updated_at, created_at, revision, body, ops, digest, data_ok, deleted_at)
SELECT c.key, split_part(c.key, ':', 1), split_part(c.key, ':', 2), c.version, coalesce(nullif(c.data, ''), '{}')::jsonb,
  c.at, c.at, c.revision, c.body, c.ops, c.digest, c.data <> '', CASE WHEN c.digest = '' THEN c.at END
FROM (
  SELECT *, to_timestamp(revision / 1000000.0) AT TIME ZONE 'UTC' AS at
  FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bigint[], %b::bytea[], %b::bytea[], %b::bytea[])
    AS given (key, version, data, revision, body, ops, digest)
) AS c
ORDER BY c.key COLLATE "C"
ON CONFLICT (key) DO UPDATE SET
  version = excluded.version, data = excluded.data, updated_at = excluded.updated_at, revision = excluded.revision,
  body = excluded.body, ops = excluded.ops, digest = excluded.digest, data_ok = excluded.data_ok,
  deleted_at = excluded.deleted_at
WHERE p.revision < excluded.revision
  OR (%b::boolean AND p.revision = excluded.revision AND p.digest <> excluded.digest)
RETURNING key
