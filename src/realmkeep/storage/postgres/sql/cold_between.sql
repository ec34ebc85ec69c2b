SELECT count(*) FROM (
  SELECT 1 FROM boards
  WHERE board = %b AND season = %b::integer AND (below, reached_us, id) > (%b::bigint, %b::bigint, %b::text)
    AND (below, reached_us, id) < (%b::bigint, %b::bigint, %b::text)
  LIMIT %b::bigint
) AS counted
