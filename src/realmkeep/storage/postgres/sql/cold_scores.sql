-- Scores of the running season. A record enters it with another score than it had last.
INSERT INTO boards AS b (board, season, id, below, reached_us)
SELECT g.board, s.season, g.id, g.below, g.reached_us
FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::bigint[]) AS g (board, id, below, reached_us)
CROSS JOIN LATERAL (SELECT coalesce(max(season), 1) AS season FROM board_seasons AS t WHERE t.board = g.board) AS s
WHERE g.below IS DISTINCT FROM (
  SELECT p.below FROM boards AS p WHERE p.board = g.board AND p.id = g.id ORDER BY p.season DESC LIMIT 1
)
ORDER BY g.board COLLATE "C", g.id COLLATE "C"
ON CONFLICT (board, id, season) DO UPDATE SET below = excluded.below, reached_us = excluded.reached_us
