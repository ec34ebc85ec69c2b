INSERT INTO list_entry (key, position, value)
VALUES (:key, coalesce((SELECT max(position) FROM list_entry WHERE key = :key), -1) + 1, :value)
