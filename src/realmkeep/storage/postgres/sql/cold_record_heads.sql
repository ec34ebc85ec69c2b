SELECT key, revision, digest FROM records WHERE key = ANY (%b::text[])
