SELECT value, expires_us FROM entry WHERE key = :key
