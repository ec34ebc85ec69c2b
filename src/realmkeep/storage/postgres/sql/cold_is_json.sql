-- Whether the database takes each of these texts for JSON: it raises for the first one that it does not.
SELECT count(given::jsonb) FROM unnest(%b::text[]) AS g (given)
