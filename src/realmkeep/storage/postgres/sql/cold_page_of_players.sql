SELECT player_id, revision, digest FROM players WHERE player_id > %b ORDER BY player_id LIMIT %b
