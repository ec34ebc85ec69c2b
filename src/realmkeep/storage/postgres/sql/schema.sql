-- A key has one row here. It holds a value (value IS NOT NULL), a list (next > first), or nothing: a row of an absent key lets
-- two transactions that both found the key absent meet, and keeps the positions of a former list from being used again.
-- `COLLATE "C"`: keys are locked and paged in the order of their bytes, whatever the language of the database is.
CREATE TABLE IF NOT EXISTS realmkeep_entry (
  key text COLLATE "C" PRIMARY KEY,
  value bytea,
  first bigint NOT NULL DEFAULT 0,  -- the position of a list's first entry
  next bigint NOT NULL DEFAULT 0,   -- the position after its last; it only rises
  expires_us bigint                 -- microseconds since the epoch, by the clock of the server; NULL: never
) WITH (fillfactor = 80);           -- room for the next version of a row in its page

CREATE INDEX IF NOT EXISTS realmkeep_entry_expiry ON realmkeep_entry (expires_us) WHERE expires_us IS NOT NULL;

CREATE TABLE IF NOT EXISTS realmkeep_list (
  key text COLLATE "C",
  position bigint,
  value bytea NOT NULL,
  PRIMARY KEY (key, position)
);

-- A crash of the server empties an unlogged table, so its row names a run of the server.
CREATE UNLOGGED TABLE IF NOT EXISTS realmkeep_run (only_row boolean PRIMARY KEY, id uuid NOT NULL);
