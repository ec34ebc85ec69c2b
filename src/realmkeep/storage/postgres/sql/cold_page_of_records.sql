SELECT key, revision, digest FROM records WHERE key > %b ORDER BY key LIMIT %b
