SELECT to_regclass('realmkeep_entry') IS NOT NULL AND to_regclass('realmkeep_list') IS NOT NULL
