INSERT INTO realmkeep_run VALUES (true, gen_random_uuid()) ON CONFLICT (only_row) DO NOTHING
