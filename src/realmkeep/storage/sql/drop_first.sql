DELETE FROM list_entry
WHERE key = :key AND position < (SELECT min(position) FROM list_entry WHERE key = :key) + :count
