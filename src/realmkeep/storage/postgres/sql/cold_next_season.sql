INSERT INTO board_seasons (board, season, name, began_us) VALUES (%b, %b::integer, '', %b::bigint)
