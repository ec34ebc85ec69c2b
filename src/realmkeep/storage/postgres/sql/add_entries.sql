INSERT INTO realmkeep_list (key, position, value) SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bytea[])
