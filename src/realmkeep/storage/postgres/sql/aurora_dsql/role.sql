-- Aurora DSQL, from its documentation; not run.
SELECT false
