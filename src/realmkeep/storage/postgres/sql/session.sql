-- The settings of a connection. Without the first one two creators of one key could both win; each chunk checks it.
SET default_transaction_isolation = 'repeatable read';
-- The statements are the same for each chunk, and so are their best plans.
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
-- A server that stands still between its locks and its COMMIT holds them no longer than this: nothing of it happened.
SET idle_in_transaction_session_timeout = '2s';
-- The same in the middle of its statements, where that clock does not run; PostgreSQL has this one since 17.
SELECT set_config(name, '5s', false) FROM pg_settings WHERE name = 'transaction_timeout';
