SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
  current_setting('transaction_isolation') IN ('repeatable read', 'serializable'),
  current_setting('synchronous_commit')
