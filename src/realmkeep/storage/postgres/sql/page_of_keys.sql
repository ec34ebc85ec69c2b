-- The key '' holds the version of these tables; no key of the protocol is empty.
SELECT key,
  (expires_us IS NULL OR expires_us > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
  AND (value IS NOT NULL OR next > first)
FROM realmkeep_entry WHERE key >= %b AND key > '' ORDER BY key LIMIT %b
