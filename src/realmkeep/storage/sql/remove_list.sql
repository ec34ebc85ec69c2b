DELETE FROM list_entry WHERE key = :key
