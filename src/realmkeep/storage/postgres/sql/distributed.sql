SELECT logicalrelid::regclass::text FROM pg_dist_partition
WHERE logicalrelid IN (to_regclass('realmkeep_entry'), to_regclass('realmkeep_list'))
