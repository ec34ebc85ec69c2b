-- Aurora DSQL, from its documentation; not run.
-- FOR UPDATE takes one key at a time there: nothing is locked, and each row is written instead.
SELECT key, value, first, next, expires_us
FROM realmkeep_entry WHERE key = ANY (%s::text[]) ORDER BY key
