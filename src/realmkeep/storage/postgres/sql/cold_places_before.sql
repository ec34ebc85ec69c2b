SELECT id, below, reached_us FROM boards
WHERE board = %b AND season = %b::integer AND (below, reached_us, id) < (%b::bigint, %b::bigint, %b::text)
ORDER BY below DESC, reached_us DESC, id DESC LIMIT %b::bigint
