-- An existing row is a list already, or a value that has expired.
INSERT INTO entry (key) VALUES (:key) ON CONFLICT (key) DO UPDATE SET value = NULL, expires_us = NULL
