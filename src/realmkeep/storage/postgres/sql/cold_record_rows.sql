SELECT key, revision, version, digest, body, ops FROM records WHERE key = ANY (%b::text[])
