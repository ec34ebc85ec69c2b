SELECT player_id, revision, digest FROM players WHERE player_id = ANY (%b::bigint[])
