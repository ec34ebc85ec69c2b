SELECT id, below, reached_us FROM boards WHERE board = %b AND season = %b::integer AND id = ANY (%b::text[])
ORDER BY below, reached_us, id
