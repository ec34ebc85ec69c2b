-- YugabyteDB, from its documentation; not run.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
  current_setting('transaction_isolation') IN ('repeatable read', 'serializable'),
  'quorum'
