SELECT id, below, reached_us FROM boards WHERE board = %b AND season = %b::integer
ORDER BY below, reached_us, id LIMIT %b::bigint OFFSET %b::bigint
