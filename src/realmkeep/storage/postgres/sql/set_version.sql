INSERT INTO realmkeep_entry (key, value) VALUES ('', %b) ON CONFLICT (key) DO NOTHING
