SELECT player_id, revision, version, digest, body, ops FROM players WHERE player_id = ANY (%b::bigint[])
