SELECT count(*), percentile_disc(ARRAY(SELECT (percent / 100.0)::float8 FROM generate_series(1, 100) AS g (percent)))
  WITHIN GROUP (ORDER BY below)
FROM boards WHERE board = %b AND season = %b::integer
