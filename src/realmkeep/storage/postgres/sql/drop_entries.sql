DELETE FROM realmkeep_list USING unnest(%b::text[], %b::bigint[]) AS d (key, first)
WHERE realmkeep_list.key = d.key AND realmkeep_list.position < d.first
