-- CockroachDB, from its documentation; not run.
-- Text is ordered by its bytes.
CREATE TABLE IF NOT EXISTS realmkeep_entry (
  key text PRIMARY KEY,
  value bytea,
  first bigint NOT NULL DEFAULT 0,
  next bigint NOT NULL DEFAULT 0,
  expires_us bigint
);

CREATE INDEX IF NOT EXISTS realmkeep_entry_expiry ON realmkeep_entry (expires_us) WHERE expires_us IS NOT NULL;

CREATE TABLE IF NOT EXISTS realmkeep_list (
  key text,
  position bigint,
  value bytea NOT NULL,
  PRIMARY KEY (key, position)
);
