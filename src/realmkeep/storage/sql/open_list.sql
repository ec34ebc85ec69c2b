-- Whatever the row still said had expired, or was this already.
INSERT INTO entry (key) VALUES (:key) ON CONFLICT (key) DO UPDATE SET value = NULL, expires_us = NULL
