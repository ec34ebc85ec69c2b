INSERT INTO players AS p (player_id, version, data, updated_at, created_at, revision, body, ops, digest, data_ok, deleted_at)
SELECT %b::bigint, 0, '{}', n, n, %b::bigint, '', '', '', true, n FROM (SELECT now() AT TIME ZONE 'UTC' AS n) AS clock
ON CONFLICT (player_id) DO UPDATE SET version = 0, data = '{}', updated_at = excluded.updated_at,
  created_at = excluded.created_at, revision = greatest(p.revision, excluded.revision), body = '', ops = '', digest = '',
  data_ok = true, deleted_at = excluded.deleted_at
