SELECT value FROM list_entry
WHERE key = :key AND position >= (SELECT min(position) FROM list_entry WHERE key = :key) + :start
ORDER BY position LIMIT :count
