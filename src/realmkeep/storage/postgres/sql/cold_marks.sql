INSERT INTO meta AS m (name, value) SELECT * FROM unnest(%b::text[], %b::bigint[]) AS g (name, value) ORDER BY name
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE m.value < excluded.value
