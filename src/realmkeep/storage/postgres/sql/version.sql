SELECT value FROM realmkeep_entry WHERE key = ''
