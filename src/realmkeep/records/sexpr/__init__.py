"""The S-expressions of the Lisp server: read for ever, written on request."""
