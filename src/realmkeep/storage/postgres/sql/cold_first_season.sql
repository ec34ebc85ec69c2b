INSERT INTO board_seasons (board, season, name) VALUES (%b, 1, '') ON CONFLICT DO NOTHING
