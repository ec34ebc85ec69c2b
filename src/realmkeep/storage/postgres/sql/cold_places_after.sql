SELECT id, below, reached_us FROM boards
WHERE board = %b AND season = %b::integer AND (below, reached_us, id) > (%b::bigint, %b::bigint, %b::text)
ORDER BY below, reached_us, id LIMIT %b::bigint
