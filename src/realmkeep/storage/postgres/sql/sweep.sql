-- Expired keys count as absent already, but take up room; they have no list.
DELETE FROM realmkeep_entry WHERE key IN (
  SELECT key FROM realmkeep_entry
  WHERE expires_us <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
  ORDER BY expires_us LIMIT %b FOR UPDATE SKIP LOCKED
)
