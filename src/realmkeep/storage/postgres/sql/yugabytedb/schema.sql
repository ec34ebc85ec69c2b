-- YugabyteDB, from its documentation; not run.
-- ASC: keys are read in their order; the first column of a key is hashed by default.
CREATE TABLE IF NOT EXISTS realmkeep_entry (
  key text COLLATE "C",
  value bytea,
  first bigint NOT NULL DEFAULT 0,
  next bigint NOT NULL DEFAULT 0,
  expires_us bigint,
  PRIMARY KEY (key ASC)
);

CREATE INDEX IF NOT EXISTS realmkeep_entry_expiry ON realmkeep_entry (expires_us ASC) WHERE expires_us IS NOT NULL;

CREATE TABLE IF NOT EXISTS realmkeep_list (
  key text COLLATE "C",
  position bigint,
  value bytea NOT NULL,
  PRIMARY KEY (key ASC, position ASC)
);
