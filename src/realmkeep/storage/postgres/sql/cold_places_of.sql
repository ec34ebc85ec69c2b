-- The places of some records, the best first, with the number of places before each, up to a limit. Each is counted on from the
-- place before it, so no place is counted twice.
WITH RECURSIVE wanted AS (
  SELECT %b::bigint AS most, row_number() OVER (ORDER BY below, reached_us, id) AS n, board, season, id, below, reached_us
  FROM boards WHERE board = %b AND season = %b::integer AND id = ANY (%b::text[])
), counted AS (
  SELECT w.*, (
    SELECT count(*) FROM (
      SELECT 1 FROM boards AS b
      WHERE b.board = w.board AND b.season = w.season AND (b.below, b.reached_us, b.id) < (w.below, w.reached_us, w.id)
      LIMIT w.most
    ) AS before
  ) AS better
  FROM wanted AS w WHERE w.n = 1
  UNION ALL
  SELECT w.*, least(w.most, c.better + 1 + (
    SELECT count(*) FROM (
      SELECT 1 FROM boards AS b
      WHERE b.board = w.board AND b.season = w.season
        AND (b.below, b.reached_us, b.id) > (c.below, c.reached_us, c.id)
        AND (b.below, b.reached_us, b.id) < (w.below, w.reached_us, w.id)
      LIMIT greatest(w.most - c.better - 1, 0)
    ) AS behind
  ))
  FROM counted AS c JOIN wanted AS w ON w.n = c.n + 1
)
SELECT id, below, reached_us, better FROM counted ORDER BY n
