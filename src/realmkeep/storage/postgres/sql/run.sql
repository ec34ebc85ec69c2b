SELECT pg_postmaster_start_time()::text || ' ' || id FROM realmkeep_run
