-- CockroachDB, from its documentation; not run.
-- A commit is on the disks of most replicas before it is answered.
SELECT
  0 AS version_number,
  current_setting('server_version') AS version,
  false AS is_standby,
  current_setting('transaction_read_only') = 'on' AS is_read_only,
  current_setting('transaction_isolation') AS isolation,
  'UTF8' AS encoding,
  'quorum' AS synchronous_commit,
  true AS syncs,
  true AS writes_full_pages,
  0.0::float AS wal_writer_delay_s,
  '' AS synchronous_standbys,
  0 AS standbys,
  current_user::text AS role
