-- The slow path: the rows of all keys of a chunk, locked in the order of their keys, so that two servers cannot block each other.
SELECT key, value, first, next, expires_us
FROM realmkeep_entry WHERE key = ANY (%s::text[]) ORDER BY key FOR UPDATE
