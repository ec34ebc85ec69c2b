SELECT key, expires_us - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM realmkeep_entry
WHERE key = ANY (%b::text[]) AND expires_us > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
