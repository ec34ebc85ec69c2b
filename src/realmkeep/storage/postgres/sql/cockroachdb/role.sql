-- CockroachDB, from its documentation; not run.
SELECT false
