-- A key has one row here, for a value or a list. The table has rowids: values are too large for WITHOUT ROWID (which suits
-- rows up to about a twentieth of a page).
CREATE TABLE entry (
  key TEXT PRIMARY KEY NOT NULL,
  value BLOB,          -- NULL: a list, whose entries are in list_entry
  expires_us INTEGER   -- microseconds since the epoch; NULL: never
) STRICT;

CREATE INDEX entry_expiry ON entry (expires_us) WHERE expires_us IS NOT NULL;

-- Letters are small, and are read in order.
CREATE TABLE list_entry (
  key TEXT NOT NULL,
  position INTEGER NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (key, position)
) STRICT, WITHOUT ROWID;
