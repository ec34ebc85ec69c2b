SELECT key, value, next > first FROM realmkeep_entry
WHERE key = ANY (%b::text[])
  AND (expires_us IS NULL OR expires_us > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
  AND (value IS NOT NULL OR next > first)
