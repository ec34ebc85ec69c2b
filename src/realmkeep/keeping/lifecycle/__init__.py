"""The lifecycle of sessions and of the keeper: entering, leaving, shutdown."""
