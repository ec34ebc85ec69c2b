-- Aurora DSQL, from its documentation; not run.
DELETE FROM realmkeep_entry WHERE key IN (
  SELECT key FROM realmkeep_entry
  WHERE expires_us <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
  ORDER BY expires_us LIMIT %b
)
