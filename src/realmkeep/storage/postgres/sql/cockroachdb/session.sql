-- CockroachDB, from its documentation; not run.
SET default_transaction_isolation = 'serializable';
