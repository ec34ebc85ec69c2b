SELECT key, expires_us FROM entry WHERE key >= :from_key ORDER BY key LIMIT :count
