DELETE FROM entry WHERE key = :key
