-- YugabyteDB, from its documentation; not run.
SET default_transaction_isolation = 'repeatable read';
-- A server that stands still between its locks and its COMMIT holds them no longer than this: nothing of it happened.
SET idle_in_transaction_session_timeout = '2s';
