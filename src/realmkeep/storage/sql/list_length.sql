-- Entries are only ever added at the end and removed at the start, so there are no gaps.
SELECT
  (SELECT max(position) FROM list_entry WHERE key = :key) - (SELECT min(position) FROM list_entry WHERE key = :key) + 1
