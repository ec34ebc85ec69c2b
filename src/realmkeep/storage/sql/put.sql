INSERT INTO entry (key, value, expires_us) VALUES (:key, :value, :expires_us)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_us = excluded.expires_us
