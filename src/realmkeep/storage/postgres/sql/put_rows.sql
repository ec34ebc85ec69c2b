-- The slow path: the rows that a chunk has changed, as they are now.
INSERT INTO realmkeep_entry (key, value, first, next, expires_us)
SELECT * FROM unnest(%b::text[], %b::bytea[], %b::bigint[], %b::bigint[], %b::bigint[]) AS c (key, value, first, next, expires_us)
ORDER BY c.key COLLATE "C"
ON CONFLICT (key) DO UPDATE
SET value = excluded.value, first = excluded.first, next = excluded.next, expires_us = excluded.expires_us
