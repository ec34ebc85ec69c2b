-- The type of the key and the entries of its list, at one moment; a value or an empty page is one row without an entry.
SELECT entry.value IS NOT NULL, listed.value
FROM realmkeep_entry AS entry LEFT JOIN LATERAL (
  SELECT position, value FROM realmkeep_list
  WHERE realmkeep_list.key = entry.key AND position >= entry.first + %b AND entry.next > entry.first
  ORDER BY position LIMIT %b
) AS listed ON true
WHERE entry.key = %b
  AND (entry.expires_us IS NULL OR entry.expires_us > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
ORDER BY listed.position
