DELETE FROM boards AS b USING unnest(%b::text[], %b::text[]) AS g (board, id) WHERE b.board = g.board AND b.id = g.id
