-- The facts about a server on which `connect` decides.
SELECT
  current_setting('server_version_num')::int AS version_number,
  current_setting('server_version') AS version,
  pg_is_in_recovery() AS is_standby,
  current_setting('transaction_read_only') = 'on' AS is_read_only,
  current_setting('transaction_isolation') AS isolation,
  current_setting('server_encoding') AS encoding,
  current_setting('synchronous_commit') AS synchronous_commit,
  current_setting('fsync') = 'on' AS syncs,
  current_setting('full_page_writes') = 'on' AS writes_full_pages,
  (SELECT setting::float / 1000 FROM pg_settings WHERE name = 'wal_writer_delay') AS wal_writer_delay_s,
  current_setting('synchronous_standby_names') AS synchronous_standbys,
  (SELECT count(*) FROM pg_stat_replication) AS standbys,
  current_user AS role
